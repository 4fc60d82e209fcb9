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

	r.Group(func(r chi.Router) {
		r.Use(s.guard(), s.limitRate, limitTime)

		r.Get("/api/cron/jobs", s.handle(s.listJobs))
		r.Get("/api/cron/jobs/{id}", s.handle(s.getJob))
		r.Get("/api/cron/jobs/{id}/runs", s.handle(s.listRuns))
		r.Get("/api/cron/runs", s.handle(s.listAllRuns))
		r.Get("/api/cron/runs/{id}", s.handle(s.getRun))
		r.Get("/api/sessions/{key}", s.handle(s.getSession))
		r.Post("/api/cron/preview", s.handle(s.preview))

		r.Get("/api/cron/upcoming", s.handle(s.upcoming))
		r.Get("/api/cron/status", s.handle(s.status))
		r.Get("/api/cron/doctor", s.handle(s.doctor))
		r.Get("/api/cron/jobs/{id}/explain", s.handle(s.explainJob))
		r.Get("/api/cron/audit", s.handle(s.listAudit))

		// What agents change, perhaps in a run.
		r.Group(func(r chi.Router) {
			r.Use(s.inRun)

			r.Post("/api/cron/jobs", s.handle(s.createJob))
			r.Patch("/api/cron/jobs/{id}", s.handle(s.patchJob))
			r.Delete("/api/cron/jobs/{id}", s.handle(s.deleteJob))
			r.Post("/api/cron/jobs/{id}/run", s.handle(s.runJob))
			r.Post("/api/cron/jobs/{id}/pause", s.handle(s.pauseJob))
			r.Post("/api/cron/jobs/{id}/resume", s.handle(s.resumeJob))
			r.Post("/api/cron/runs/{id}/cancel", s.handle(s.cancelRun))
			r.Post("/api/cron/runs/{id}/redeliver", s.handle(s.redeliverRun))
		})
	})

	// What concerns everything.
	r.Group(func(r chi.Router) {
		r.Use(s.guard(), s.limitRate, limitTime, s.administrators)

		// Under "all": clients make /api/cron/pause of the pause of a job whose id is "..".
		r.Post("/api/cron/all/pause", s.handle(s.pauseAll))
		r.Post("/api/cron/all/resume", s.handle(s.resumeAll))
		r.Post("/api/cron/tokens", s.handle(s.createToken))
		r.Get("/api/cron/tokens", s.handle(s.listTokens))
		r.Delete("/api/cron/tokens/{id}", s.handle(s.revokeToken))
	})

	// These take as long as they take; each of their steps is limited.
	r.Group(func(r chi.Router) {
		r.Use(s.guard(), s.limitRate)

		r.Get("/api/cron/runs/{id}/events", s.handle(s.runEvents))
		r.Get("/api/cron/export", s.handle(s.exportJobs))
		r.With(s.administrators, s.inRun).Post("/api/cron/import", s.handle(s.importJobs))
	})
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
