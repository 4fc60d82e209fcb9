package judge

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestRead(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		CallsFile:    `{"n":1,"at":5,"run":"a:60","nonce":"n-1"}` + "\n" + `{"end":1,"at":9,"how":"ok"}` + "\n",
		MessagesFile: `{"n":1,"at":11,"key":"a:60:1:0","delivered":true}` + "\n" + `{"end":1,"at":12,"how":"reset"}` + "\n",
		CancelsFile:  `{"run":"a:60","asked":7}` + "\n" + `{"run":"a:60","asked":7,"acked":8}` + "\n",
		RunsFile:     `{"id":"a:60","jobId":"a","outcome":"succeeded","attempts":[{"n":1,"result":"succeeded"}]}` + "\n",
		JobsFile:     `{"id":"a","definitions":[{"sent":1,"acked":1,"schedule":"* * * * *","enabled":true}]}` + "\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := Read(dir, 100)
	if err != nil {
		t.Fatal(err)
	}
	want := Log{
		Until:    100,
		Calls:    []Call{{N: 1, At: 5, Run: "a:60", Nonce: "n-1", EndedAt: 9, How: HowOK}},
		Messages: []Message{{N: 1, At: 11, Key: "a:60:1:0", Delivered: true, EndedAt: 12, How: HowReset}},
		Runs:     []Run{{ID: "a:60", JobID: "a", Outcome: "succeeded", Attempts: []Attempt{{N: 1, Result: "succeeded"}}}},
		Cancels:  []Cancel{{Run: "a:60", Asked: 7}, {Run: "a:60", Asked: 7, Acked: 8}},
		Jobs:     []Job{{ID: "a", Definitions: []Definition{{Sent: 1, Acked: 1, Schedule: "* * * * *", Enabled: true}}}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Read (-want +got):\n%s", diff)
	}
	if err := os.WriteFile(filepath.Join(dir, RunsFile), []byte("{\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(dir, 100); err == nil {
		t.Error("a damaged file was read")
	}
}

func TestCron(t *testing.T) {
	tests := []struct {
		expr, zone, at string
		want           bool
	}{
		{"* * * * *", "", "2026-03-01T00:00:00Z", true},
		{"*/2 * * * *", "", "2026-03-01T00:03:00Z", false},
		{"*/2 * * * *", "", "2026-03-01T00:04:00Z", true},
		{"1-59/2 * * * *", "", "2026-03-01T00:04:00Z", false},
		{"1-59/2 * * * *", "", "2026-03-01T00:05:00Z", true},
		{"0,7,20-30 * * * *", "", "2026-03-01T00:07:00Z", true},
		{"0,7,20-30 * * * *", "", "2026-03-01T00:31:00Z", false},
		{"30 9 * * *", "Asia/Kolkata", "2026-03-01T04:00:00Z", true},
		{"30 9 * * *", "", "2026-03-01T04:00:00Z", false},
		{"* * * * 7", "", "2026-03-01T00:00:00Z", true}, // a Sunday
		{"* * * * 1-5", "", "2026-03-01T00:00:00Z", false},
		{"* * 2 * 7", "", "2026-03-01T00:00:00Z", true}, // either day
		{"* * 2 * *", "", "2026-03-01T00:00:00Z", false},
		{"* * */2 * 7", "", "2026-03-01T00:00:00Z", true}, // both days
		{"* * */2 * 7", "", "2026-03-08T00:00:00Z", false},
		{"* * * 4 *", "", "2026-03-01T00:00:00Z", false},
	}
	for _, tt := range tests {
		c, err := parseCron(tt.expr, tt.zone)
		if err != nil {
			t.Errorf("%s: %v", tt.expr, err)
			continue
		}
		instant, err := time.Parse(time.RFC3339, tt.at)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.rings(instant.UnixMilli()); got != tt.want {
			t.Errorf("%s in %q at %s: %t", tt.expr, tt.zone, tt.at, got)
		}
	}
	for _, bad := range []string{"", "* * * *", "60 * * * *", "*/0 * * * *", "x * * * *", "5-1 * * * *", "1-x * * * *"} {
		if _, err := parseCron(bad, ""); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}
