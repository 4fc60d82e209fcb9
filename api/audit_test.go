package api_test

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

func TestAuditOnTheWire(t *testing.T) {
	b := setup(t)
	b.store.audit = []job.Audited{
		{ID: "2-0", At: 2, Actor: "api", Action: "edit", Target: "a", Before: []byte(`{"name":"x"}`), After: []byte(`{"name":"y"}`)},
		{ID: "1-0", At: 1, Actor: "gateway-cron", Action: "delete", Target: "b"},
	}
	want := map[string]any{"entries": []any{map[string]any{"id": "2-0", "at": 2.0, "actor": "api", "action": "edit", "target": "a",
		"before": map[string]any{"name": "x"}, "after": map[string]any{"name": "y"}}}, "nextCursor": "1"}
	if d := cmp.Diff(want, b.call("GET", "/api/cron/audit?limit=1", "").want(http.StatusOK).body); d != "" {
		t.Error(d)
	}
	want = map[string]any{"entries": []any{map[string]any{"id": "1-0", "at": 1.0, "actor": "gateway-cron", "action": "delete", "target": "b"}}}
	if d := cmp.Diff(want, b.call("GET", "/api/cron/audit?cursor=1", "").want(http.StatusOK).body); d != "" {
		t.Error(d)
	}
	for _, target := range []string{"a", "a:1774857600", "*"} {
		b.call("GET", "/api/cron/audit?target="+target, "").want(http.StatusOK)
	}
	if d := cmp.Diff([]string{"audit ", "audit ", "audit a", "audit a:1774857600", "audit *"}, b.store.calls); d != "" {
		t.Error(d)
	}
	for query, field := range map[string]string{"limit=0": "limit", "limit=201": "limit", "target=": "target", "target=A%20b": "target",
		"cursor=x": "cursor", "job=a": "job"} {
		if d := cmp.Diff([]string{field}, b.call("GET", "/api/cron/audit?"+query, "").want(http.StatusBadRequest).fields()); d != "" {
			t.Errorf("%s: %s", query, d)
		}
	}
}
