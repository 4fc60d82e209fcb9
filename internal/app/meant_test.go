package app

import (
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/gatewaycron/gatewaycron/internal/config"
	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/redistest"
	"github.com/gatewaycron/gatewaycron/internal/store"
)

// TestDoctorOfAMeantJob: the doctor takes what the commands take for a job.
func TestDoctorOfAMeantJob(t *testing.T) {
	server := redistest.Start(t, redistest.WithAOF())
	o, _, _ := options(t, Roles{}, func(c *config.Config) { c.RedisURL = server.URL() })
	opts, err := redis.ParseURL(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	rdb := redis.NewClient(opts)
	defer rdb.Close()
	s := store.New(rdb, store.Options{Prefix: o.Config.Prefix})
	for id, name := range map[string]string{"report": "Morning", "report-weekly": "Twice", "backup": "Twice"} {
		if _, err := s.CreateJob(t.Context(), id, job.Spec{Name: name, Schedule: "0 9 * * *", Enabled: true, Task: "x"}); err != nil {
			t.Fatal(err)
		}
	}
	for text, want := range map[string]string{"report": "report", "Morning": "report", "back": "backup", "report-w": "report-weekly", "nothing": "nothing", "Twice": "", "repor": ""} {
		id, unclear, err := meantJob(t.Context(), s, text)
		if err != nil || id != want || (unclear != nil) != (want == "") {
			t.Errorf("%s means %q: %v %v", text, id, unclear, err)
		}
	}
	if said, failed := diagnosis(t, o.Config, DoctorOptions{Job: "Twice"}); !failed || !strings.Contains(said, "several may be meant: ") || !strings.Contains(said, "report-weekly") || !strings.Contains(said, "backup") {
		t.Error(said)
	}
	if said, _ := diagnosis(t, o.Config, DoctorOptions{Job: "Morning"}); strings.Contains(said, "several") || strings.Contains(said, "there is no") {
		t.Error(said)
	}
}
