package store

import (
	"errors"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/redistest"
)

// TestPipelineOfWhomRedisDoesNotLetIn: no command of it looks executed.
func TestPipelineOfWhomRedisDoesNotLetIn(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	o := *server.Client().Options()
	o.Username, o.Password = "nobody", "wrong"
	rdb := redis.NewClient(&o)
	t.Cleanup(func() { _ = rdb.Close() })
	rdb.AddHook(Unanswered{})
	cmds, err := rdb.Pipelined(t.Context(), func(p redis.Pipeliner) error {
		p.HGetAll(t.Context(), "a")
		p.Time(t.Context())
		return nil
	})
	if !errors.Is(err, job.ErrStoreDenied) {
		t.Errorf("the pipeline: %v", err)
	}
	for _, cmd := range cmds {
		if !errors.Is(cmd.Err(), job.ErrStoreDenied) {
			t.Errorf("%s: %v", cmd.Name(), cmd.Err())
		}
	}
}
