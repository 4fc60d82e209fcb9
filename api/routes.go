package api

import (
	"net/http"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
)

// routes is the whole API on one page.
func (s *server) routes() http.Handler {
	r := chi.NewRouter()
	r.Use(identify, s.logRequests, s.recoverPanics, secureHeaders, middleware.GetHead)
	r.NotFound(s.handle(noRoute))
	r.MethodNotAllowed(s.handle(wrongMethod(r)))

	// Open to everybody: probes, the page that looks for a gateway, and what the API is.
	r.Get("/health", s.health)
	r.Get("/openapi.json", s.openAPI)
	r.Get("/docs", s.handle(s.docs))
	r.Get("/readyz", s.handle(s.readyz))

	// What a route has before it follows from what it is declared with. Those with a
	// reserve stop things, let them go on or say how they stand: no other request can use up
	// what they need, and what is kept for one kind is bounded, and no other's. An edit is
	// among them because it may say "enabled":false.
	guard := s.guard()
	ordinary := r.With(guard, s.limitRate(s.ordinary), s.limitUnread, limitTime, s.limitReads)
	reserve := func() chi.Router { return r.With(onReserve, guard, s.limitRate(s.newReserve()), limitTime) }
	// These take as long as they take; each of their steps is limited.
	lasting := r.With(guard, s.limitRate(s.ordinary), s.limitUnread)

	ordinary.Get("/api/cron/jobs", s.handle(s.listJobs))
	ordinary.Get("/api/cron/jobs/{id}", s.handle(s.getJob))
	ordinary.Get("/api/cron/jobs/{id}/runs", s.handle(s.listRuns))
	ordinary.Get("/api/cron/runs", s.handle(s.listAllRuns))
	ordinary.Get("/api/cron/runs/{id}", s.handle(s.getRun))
	lasting.Get("/api/cron/runs/{id}/events", s.handle(s.runEvents))
	ordinary.Get("/api/sessions/{key}", s.handle(s.getSession))
	ordinary.Post("/api/cron/preview", s.handle(s.preview))
	ordinary.Get("/api/cron/upcoming", s.handle(s.upcoming))
	reserve().Get("/api/cron/status", s.handle(s.status))
	reserve().Get("/api/cron/doctor", s.handle(s.doctor))
	ordinary.Get("/api/cron/jobs/{id}/explain", s.handle(s.explainJob))
	ordinary.Get("/api/cron/audit", s.handle(s.listAudit))
	lasting.Get("/api/cron/export", s.handle(s.exportJobs))

	// What agents change, perhaps in a run.
	ordinary.With(s.inRun).Post("/api/cron/jobs", s.handle(s.createJob))
	reserve().With(s.inRun).Patch("/api/cron/jobs/{id}", s.handle(s.patchJob))
	reserve().With(s.inRun).Delete("/api/cron/jobs/{id}", s.handle(s.deleteJob))
	ordinary.With(s.inRun).Post("/api/cron/jobs/{id}/run", s.handle(s.runJob))
	reserve().With(s.inRun).Post("/api/cron/jobs/{id}/pause", s.handle(s.pauseJob))
	reserve().With(s.inRun).Post("/api/cron/jobs/{id}/resume", s.handle(s.resumeJob))
	reserve().With(s.inRun).Post("/api/cron/runs/{id}/cancel", s.handle(s.cancelRun))
	ordinary.With(s.inRun).Post("/api/cron/runs/{id}/redeliver", s.handle(s.redeliverRun))

	// What concerns everything. Under "all": clients make /api/cron/pause of the pause of a
	// job whose id is "..".
	reserve().With(s.administrators).Post("/api/cron/all/pause", s.handle(s.pauseAll))
	reserve().With(s.administrators).Post("/api/cron/all/resume", s.handle(s.resumeAll))
	ordinary.With(s.administrators).Post("/api/cron/tokens", s.handle(s.createToken))
	ordinary.With(s.administrators).Get("/api/cron/tokens", s.handle(s.listTokens))
	reserve().With(s.administrators).Delete("/api/cron/tokens/{id}", s.handle(s.revokeToken))
	lasting.With(s.administrators, s.inRun).Post("/api/cron/import", s.handle(s.importJobs))
	return r
}

// noRoute answers paths that are none of ours, a missing id among them: no
// redirect to a neighbouring path, which might mean something else.
func noRoute(http.ResponseWriter, *http.Request) error {
	return &apiError{status: http.StatusNotFound, detail: "There is no such path. Jobs are at /api/cron/jobs and /api/cron/jobs/{id}."}
}

// wrongMethod answers a known path with an unknown method. The router forgets
// the allowed methods when it is given a handler of ours, so they are looked up.
func wrongMethod(routes chi.Routes) handlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		path := chi.RouteContext(r.Context()).RoutePath
		if path == "" {
			path = r.URL.EscapedPath()
		}
		for _, m := range []string{http.MethodGet, http.MethodPost, http.MethodPatch, http.MethodDelete} {
			if routes.Match(chi.NewRouteContext(), m, path) {
				w.Header().Add("Allow", m)
			}
		}
		return &apiError{status: http.StatusMethodNotAllowed, detail: "This path does not support the method " + clip(r.Method, 20) + "."}
	}
}
