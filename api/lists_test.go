package api_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

func TestFiltersOfJobs(t *testing.T) {
	for query, want := range map[string]job.JobFilter{
		"":              {},
		"limit=7":       {},
		"enabled=true":  {Enabled: new(true)},
		"enabled=false": {Enabled: new(false)},
		"agentId=main&session_key=agent:main:telegram:dm:1&channel=telegram": {AgentID: "main", SessionKey: "agent:main:telegram:dm:1", Channel: "telegram"},
		"label=team:ops/a&last_outcome=timed_out":                            {Label: "team:ops/a", LastOutcome: job.TimedOut},
		"ended=true&last_outcome=missed":                                     {Ended: true, LastOutcome: job.Missed},
		"ended=false&lastDelivery=failed":                                    {LastDelivery: job.DeliveryFailed},
		"nextAfter=2027-03-28T11:00:00Z&next_before=1806231600001":           {NextAfter: 1806231600000, NextBefore: 1806231600001},
		"match=Morning+summary":                                              {Match: "Morning summary"},
		"nextAfter=2027-03-28T12:00:00%2B01:00":                              {NextAfter: 1806231600000},
		"nextAfter=2027-03-28T12:00:00+01:00":                                {NextAfter: 1806231600000}, // + is a space here
	} {
		t.Run(query, func(t *testing.T) {
			b := setup(t)
			b.call("GET", "/api/cron/jobs?"+query, "").want(http.StatusOK)
			if d := cmp.Diff(want, b.store.jobFilter); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestFiltersOfRuns(t *testing.T) {
	for query, want := range map[string]job.RunFilter{
		"":                                         {},
		"outcome=missed&trigger=manual":            {Outcome: job.Missed, Trigger: job.TriggerManual},
		"delivery=not_requested&state=done":        {Delivery: job.DeliveryNotRequested, State: job.StateDone},
		"agentId=main&session_key=agent:main:1":    {AgentID: "main", SessionKey: "agent:main:1"},
		"match=job_a:18":                           {Match: "job_a:18"},
		"after=1806231600000":                      {After: 1806231600000},
		"before=2027-03-28T11:00:00.5Z":            {Before: 1806231600500},
		"after=1806231600000&before=1806231600001": {After: 1806231600000, Before: 1806231600001},
	} {
		t.Run(query, func(t *testing.T) {
			b := setup(t)
			b.store.runs["a"] = []job.Run{{ID: "a:1", JobID: "a"}}
			want.JobID = "a"
			b.call("GET", "/api/cron/jobs/a/runs?"+query, "").want(http.StatusOK)
			if d := cmp.Diff(want, b.store.runFilter); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestABadParameterIsNamedBesideOneThatWorks, and the one that works does.
func TestRunsOfAllJobs(t *testing.T) {
	b := setup(t)
	b.store.runs[""] = []job.Run{{ID: "b:2", JobID: "b", JobName: "B"}, {ID: "a:1", JobID: "a"}}
	b.store.runs["a"] = b.store.runs[""][1:]
	ids := func(query string) (ids []any) {
		for _, v := range b.call("GET", "/api/cron/runs"+query, "").want(http.StatusOK).body["runs"].([]any) {
			ids = append(ids, v.(map[string]any)["id"])
		}
		return ids
	}
	if d := cmp.Diff([]any{"b:2", "a:1"}, ids("")); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]any{"a:1"}, ids("?job_id=a&outcome=failed")); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(job.RunFilter{JobID: "a", Outcome: job.Failed}, b.store.runFilter); d != "" {
		t.Error(d)
	}
	b.call("GET", "/api/cron/runs?jobId=typo", "").want(http.StatusNotFound)
}

func TestABadParameterIsNamedBesideOneThatWorks(t *testing.T) {
	const jobs, runs, all = "/api/cron/jobs", "/api/cron/jobs/a/runs", "/api/cron/runs"
	for _, tt := range []struct {
		path, query string
		field       string
		detail      string // of the problem
		works       string // its example
	}{
		{jobs, "enabled=yes", "enabled", "must be true or false", "true"},
		{jobs, "enabled=", "enabled", "must be true or false", "true"},
		{jobs, "enabled=true&enabled=false", "enabled", "is there twice; send it once", ""},
		{jobs, "agentId=main&agent_id=main", "agent_id", "and agentId are the same parameter; send one of them", ""},
		{jobs, "agentId=", "agentId", "is empty; leave it out to ask for any", "main"},
		{jobs, "session_key=" + strings.Repeat("x", 201), "session_key", "is 201 bytes; at most 200 are allowed", "agent:main:telegram:dm:123"},
		{jobs, "match=", "match", "is empty; leave it out to ask for any", "Morning summary"},
		{jobs, "label=Team+Ops", "label", job.LabelForm, "team:ops"},
		{jobs, "lastOutcome=failure", "lastOutcome", "must be one of failed, succeeded, timed_out, cancelled, skipped, missed", "failed"},
		{jobs, "nextBefore=tomorrow", "nextBefore", "must be a time as RFC 3339, with a date, a time and a zone offset", "2027-03-28T11:00:00Z"},
		{jobs, "nextBefore=1806231600", "nextBefore", "must be a time as RFC 3339, with a date, a time and a zone offset, or milliseconds since 1970; this looks like seconds", "2027-03-28T11:00:00Z"},
		{jobs, "nextBefore=", "nextBefore", "must be a time as RFC 3339, with a date, a time and a zone offset", "2027-03-28T11:00:00Z"},
		{jobs, "nextBefore=9000-01-01T00:00:00Z", "nextBefore", "must be between the years 1970 and 2200", "2027-03-28T11:00:00Z"},
		{jobs, "nextBefore=1806231600000&nextAfter=1806231600000", "nextBefore", "must be later than nextAfter: what lies between them is answered", ""},
		{jobs, "status=failed", "status", "is not a parameter here (did you mean lastOutcome?)", "lastOutcome=failed"},
		{jobs, "labels=a", "labels", "is not a parameter here (did you mean label?)", "label=team:ops"},
		{jobs, "Enabled=true", "Enabled", "is not a parameter here (did you mean enabled?)", "enabled=true"},
		{jobs, "sort=name", "sort", "is not a parameter here; there is enabled, agentId, sessionKey, channel, label, match, lastOutcome, lastDelivery, ended, nextAfter, nextBefore, cursor and limit", "enabled=true"},
		{jobs, "limit=201", "limit", "must be a whole number from 1 to 200", "50"},
		{runs, "outcome=ok", "outcome", "must be one of failed, succeeded, timed_out, cancelled, skipped, missed", "failed"},
		{runs, "delivery=sent", "delivery", "must be one of failed, pending, delivered, unknown, suppressed, not_requested", "failed"},
		{runs, "trigger=cron", "trigger", "must be one of schedule, manual", "schedule"},
		{runs, "state=pending", "state", "must be one of running, waiting, parked, queued, done", "running"},
		{runs, "since=1806231600000", "since", "is not a parameter here (did you mean after?)", "after=2027-03-28T11:00:00Z"},
		{all, "agentId=", "agentId", "is empty; leave it out to ask for any", "main"},
		{all, "session=a", "session", "is not a parameter here (did you mean sessionKey?)", "sessionKey=agent:main:telegram:dm:123"},
		{all, "jobId=A", "jobId", "must be the id of a job, as the list of jobs has it", "job_01jz0000000000000000000000"},
		{all, "job=a", "job", "is not a parameter here (did you mean jobId?)", "jobId=job_01jz0000000000000000000000"},
		{runs, "jobId=b", "jobId", "is not a parameter here; there is outcome, delivery, trigger, state, match, agentId, sessionKey, after, before, cursor and limit", "outcome=failed"},
	} {
		t.Run(tt.path+"?"+tt.query, func(t *testing.T) {
			b := setup(t)
			for _, id := range []string{"a", "", "job_01jz0000000000000000000000"} {
				b.store.runs[id] = []job.Run{{ID: "a:1", JobID: "a"}}
			}
			a := b.call("GET", tt.path+"?"+tt.query, "").want(http.StatusBadRequest)
			want := map[string]any{"field": tt.field, "detail": tt.detail}
			if tt.works != "" {
				want["example"] = tt.works
			}
			if d := cmp.Diff([]any{want}, a.body["problems"]); d != "" {
				t.Errorf("%s\n%s", d, a.raw)
			}
			if len(b.store.calls) > 0 {
				t.Errorf("the store was asked to %v", b.store.calls)
			}
			if tt.works == "" {
				return
			}
			works := tt.works
			if !strings.Contains(works, "=") {
				works = tt.field + "=" + url.QueryEscape(works)
			}
			b.call("GET", tt.path+"?"+works, "").want(http.StatusOK)
		})
	}
}

func TestAllBadParametersAreTold(t *testing.T) {
	a := setup(t).call("GET", "/api/cron/jobs?enabled=1&limit=0&sort=x&label=A", "").want(http.StatusBadRequest)
	if d := cmp.Diff([]string{"enabled", "label", "limit", "sort"}, a.fields()); d != "" {
		t.Error(d)
	}
	var many strings.Builder
	for i := range 50 {
		many.WriteString("&x" + strings.Repeat("y", i) + "=1")
	}
	if n := len(setup(t).call("GET", "/api/cron/jobs?"+many.String()[1:], "").want(http.StatusBadRequest).fields()); n != 20 {
		t.Errorf("%d problems", n)
	}
}
