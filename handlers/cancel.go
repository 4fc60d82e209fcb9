package handlers

import "context"

// watched is a run that a cancel may concern: from before its begin, because the
// cancel can overtake the answer, to the end of its attempt. The handler's lock guards
// it.
type watched struct {
	run   string
	lease *lease // once it has begun
	told  bool   // of a cancel, before that
}

// watchCancels aborts attempts whose run was cancelled, until ctx ends.
func (h *runHandler) watchCancels(ctx context.Context) {
	h.store.Cancelled(ctx, func(run string) { h.told(ctx, run) })
}

// told looks into the cancel of a run, of all with "". What is told is only a reason
// to ask: the renewal knows.
func (h *runHandler) told(ctx context.Context, run string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for w := range h.watched {
		switch {
		case run != "" && run != w.run:
		case w.lease == nil:
			w.told = true
		default:
			// An error is the next renewal's to deal with.
			l := w.lease
			go func() { _ = l.confirm(ctx, freshFor) }()
		}
	}
}

// watch remembers what is told of a run until it is forgotten.
func (h *runHandler) watch(run string) (w *watched, forget func()) {
	w = &watched{run: run}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.watched[w] = struct{}{}
	return w, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.watched, w)
	}
}

// leased gives a run the lease by which cancels are looked into from now on, and
// reports whether one was told before.
func (h *runHandler) leased(w *watched, l *lease) (told bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	w.lease = l
	return w.told
}
