package health

import "testing"

// TestWhatIsWrongWithJobsOfOthersIsNotTold, not even by the state.
func TestWhatIsWrongWithJobsOfOthersIsNotTold(t *testing.T) {
	failing := Reason{Code: JobFailing, State: Degraded}
	noWorker := Reason{Code: NoWorker, State: Failing}
	paused := Reason{Code: Paused, State: Degraded}
	for name, tt := range map[string]struct {
		all, own []Reason
		want     State
	}{
		"nothing is wrong":          {nil, nil, OK},
		"with others' jobs":         {[]Reason{failing}, nil, OK},
		"with own jobs":             {[]Reason{failing}, []Reason{failing}, Degraded},
		"with all":                  {[]Reason{failing, paused}, nil, Degraded},
		"with all, which fails":     {[]Reason{noWorker, failing}, nil, Failing},
		"with all and with own":     {[]Reason{noWorker, paused}, []Reason{failing}, Failing},
		"with others' and with all": {[]Reason{noWorker, failing, paused}, nil, Failing},
	} {
		whole := Report{State: OK, Reasons: tt.all}
		for _, r := range tt.all {
			if whole.State != Failing {
				whole.State = r.State
			}
		}
		got := whole.Outline().WithJobs(tt.own)
		if got.State != tt.want {
			t.Errorf("%s: %s, want %s", name, got.State, tt.want)
		}
	}
}
