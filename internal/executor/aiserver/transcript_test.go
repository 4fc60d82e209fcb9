package aiserver

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/outcome"
)

// hangingSessions is an ai-server that does not respond before the caller gives up.
type hangingSessions struct{ Calls }

func (hangingSessions) Session(ctx context.Context, _, _ string, _ int) (Session, bool, error) {
	<-ctx.Done()
	return Session{}, false, &outcome.Error{Kind: outcome.Deadline, Message: "hung", Err: ctx.Err()}
}

// The question for a session does not use up the turn's deadline.
func TestSessionHasItsOwnDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		began := time.Now()
		_, err := (&transcript{remote: hangingSessions{}}).load(ctx, "s", "s", true, 0)
		var e *outcome.Error
		if !errors.As(err, &e) || e.Kind != outcome.Retryable || ctx.Err() != nil {
			t.Errorf("%v of kind %v", err, e)
		}
		if took := time.Since(began); took != loadTimeout {
			t.Errorf("gave up after %s of fake time", took)
		}
	})
}
