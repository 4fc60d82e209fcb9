package job

import "testing"

func TestMatches(t *testing.T) {
	const a, manual = "job_01m83mjkge4cp4pd476svfty9y", "job_01m83mjkge4cp4pd476svfty9y:manual:01M8ABCDEF0123456789ABCDEF"
	for _, tt := range []struct {
		matches        func(id, name, text string) bool
		id, name, text string
		want           bool
	}{
		{MatchesJob, a, "Morning", a, true},
		{MatchesJob, a, "Morning", "job_01m8", true},
		{MatchesJob, a, "Morning", "Morning", true},
		{MatchesJob, a, "Morning", "Morn", false},
		{MatchesJob, a, "Morning", "morning", false},
		{MatchesJob, a, "", a + "x", false},
		{MatchesRun, a + ":1795420800", "Morning", "Morning", true},
		{MatchesRun, a + ":1795420800", "Morning", a + ":1795420800", true},
		{MatchesRun, a + ":1795420800", "Morning", "job_01m8", true},
		{MatchesRun, a + ":1795420800", "Morning", "job_01m8:17954", true},
		{MatchesRun, a + ":1795420800", "Morning", "job_01m8:", true},
		{MatchesRun, a + ":1795420800", "Morning", "job_01m8:7954", false},
		{MatchesRun, a + ":1795420800", "Morning", "job_01m9:17954", false},
		{MatchesRun, manual, "", manual, true},
		{MatchesRun, manual, "", "job_01m8:man", true},
		{MatchesRun, manual, "", "job_01m8:manual:01M8", true},
		{MatchesRun, manual, "", "job_01m8:01m8abc", true},
		{MatchesRun, manual, "", "job_01m8:8abc", false},
	} {
		if got := tt.matches(tt.id, tt.name, tt.text); got != tt.want {
			t.Errorf("%q of %q for %s: %t", tt.text, tt.name, tt.id, got)
		}
	}
}
