package handlers

import (
	"context"
	"slices"
	"sync"
	"time"
)

// memory bounds the bytes of transcripts and replies that the turns in hand hold together. A
// turn with a long transcript waits for room, the first to come first; one alone always has
// it, however long its own is. Short ones are counted and never wait. The long ones of one
// agent have half of it, so that the turns of others find room beside them.
type memory struct {
	most int64

	mu      sync.Mutex
	held    int64
	long    map[string]room // what the long turns that have room hold, by agent
	waiting []*waiter       // by when they came
}

type room struct {
	turns int
	bytes int64
}

type waiter struct {
	agent, job string
	bytes      int64
	since      time.Time
	room       chan struct{} // closed when it has room
}

// holding is what one turn holds.
type holding struct {
	memory *memory
	agent  string
	bytes  int64
	long   bool
}

func newMemory(most int64) *memory { return &memory{most: most, long: map[string]room{}} }

func (m *memory) open(agent string) *holding { return &holding{memory: m, agent: agent} }

// wait returns when there is room for so many bytes, which are held then; or why ctx ended.
func (h *holding) wait(ctx context.Context, job string, bytes int64) error {
	m := h.memory
	m.mu.Lock()
	w := &waiter{agent: h.agent, job: job, bytes: bytes, since: time.Now(), room: make(chan struct{})}
	m.waiting = append(m.waiting, w)
	m.admit()
	m.mu.Unlock()
	select {
	case <-w.room:
		h.bytes, h.long = h.bytes+bytes, true
		return nil
	case <-ctx.Done():
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if i := slices.Index(m.waiting, w); i >= 0 {
		m.waiting = slices.Delete(m.waiting, i, i+1)
	} else { // it had room in that very moment
		m.held -= bytes
		m.count(h.agent, -1, -bytes)
	}
	m.admit()
	return context.Cause(ctx)
}

// count notes what the long turns of an agent hold. The lock is held.
func (m *memory) count(agent string, turns int, bytes int64) {
	r := m.long[agent]
	r.turns, r.bytes = r.turns+turns, r.bytes+bytes
	if m.long[agent] = r; r.turns == 0 {
		delete(m.long, agent)
	}
}

// admit gives room to those who come next. Whose agent has its half steps aside for others,
// but for none of its own; behind one that finds no room nobody does. So nobody waits for ever.
// The lock is held.
func (m *memory) admit() {
	aside := map[string]bool{} // agents
	for i := 0; i < len(m.waiting); {
		w := m.waiting[i]
		its := m.long[w.agent]
		switch alone := len(m.long) == 0; {
		case aside[w.agent] || !alone && its.turns > 0 && its.bytes+w.bytes > m.most/2:
			aside[w.agent] = true
			i++
			continue
		case !alone && m.held+w.bytes > m.most:
			return
		}
		m.waiting = slices.Delete(m.waiting, i, i+1)
		m.held += w.bytes
		m.count(w.agent, 1, w.bytes)
		close(w.room)
	}
}

// set says how much the turn holds from now on; it waits for nothing, because it has that.
func (h *holding) set(bytes int64) {
	h.memory.mu.Lock()
	defer h.memory.mu.Unlock()
	h.memory.held += bytes - h.bytes
	if h.long {
		h.memory.count(h.agent, 0, bytes-h.bytes)
	}
	h.bytes = bytes
	h.memory.admit()
}

// release says that the turn holds nothing any more.
func (h *holding) release() {
	h.memory.mu.Lock()
	defer h.memory.mu.Unlock()
	h.memory.held -= h.bytes
	if h.long {
		h.memory.count(h.agent, -1, -h.bytes)
	}
	h.bytes, h.long = 0, false
	h.memory.admit()
}

// Waiting is what waits for room in a worker.
type Waiting struct {
	Jobs  []string  // of the turns that wait, in their order
	Since time.Time // when the first came; zero if none waits
}

func (m *memory) whoWaits() Waiting {
	m.mu.Lock()
	defer m.mu.Unlock()
	var w Waiting
	for _, turn := range m.waiting {
		w.Jobs = append(w.Jobs, turn.job)
	}
	if len(m.waiting) > 0 {
		w.Since = m.waiting[0].since
	}
	return w
}
