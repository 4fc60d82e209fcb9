package api_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/gatewaycron/gatewaycron/api"
)

// What a schedule means can be asked before a job is made of it.
func ExampleNew() {
	store := newFakeStore() // a real one is handed in by the process that serves
	handler := api.New(api.Options{
		Jobs: store, History: store, Find: store, Sessions: store, Switch: store,
		Now:    time.Now,
		Logger: slog.New(slog.DiscardHandler),
	})
	r := httptest.NewRequest(http.MethodPost, "http://localhost/api/cron/preview", strings.NewReader(
		`{"schedule":"30 2 * * *","timezone":"Europe/Berlin","after":"2026-03-28T12:00:00Z","count":2}`))
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	fmt.Println(w.Code, w.Body)
	// Output:
	// 200 {"schedule":"30 2 * * *","timezone":"Europe/Berlin","next":["2026-03-29T01:00:00Z","2026-03-30T00:30:00Z"],"local":["2026-03-29T03:00:00+02:00","2026-03-30T02:30:00+02:00"],"description":"At 02:30 every day"}
}
