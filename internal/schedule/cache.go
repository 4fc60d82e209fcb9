package schedule

import (
	"container/list"
	"sync"
)

// Cache keeps the schedules that were parsed last, so that a scheduler does not
// read the zone database and parse text for each slot. It is bounded and safe
// for concurrent use.
type Cache struct {
	size int

	mu      sync.Mutex
	entries map[cacheKey]*list.Element
	recent  *list.List // of cacheEntry, the last used in front
}

type cacheKey struct{ expr, zone string }

type cacheEntry struct {
	key      cacheKey
	schedule *Schedule
}

// NewCache returns a cache of at most size schedules, at least one.
func NewCache(size int) *Cache {
	return &Cache{size: max(size, 1), entries: map[cacheKey]*list.Element{}, recent: list.New()}
}

// Parse is the function Parse, remembered. Errors are not: a bad expression can
// be of any length, a good one cannot.
func (c *Cache) Parse(expr, zone string) (*Schedule, error) {
	key := cacheKey{expr, zone}
	if s, ok := c.get(key); ok {
		return s, nil
	}
	s, err := Parse(expr, zone)
	if err != nil {
		return nil, err
	}
	c.put(key, s)
	return s, nil
}

func (c *Cache) get(key cacheKey) (*Schedule, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.entries[key]
	if !ok {
		return nil, false
	}
	c.recent.MoveToFront(e)
	return e.Value.(cacheEntry).schedule, true //nolint:forcetypeassert // nothing else is put in
}

func (c *Cache) put(key cacheKey, s *Schedule) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.entries[key]; ok {
		return // another goroutine parsed the same text meanwhile
	}
	c.entries[key] = c.recent.PushFront(cacheEntry{key, s})
	if c.recent.Len() > c.size {
		oldest := c.recent.Remove(c.recent.Back()).(cacheEntry) //nolint:forcetypeassert // nothing else is put in
		delete(c.entries, oldest.key)
	}
}
