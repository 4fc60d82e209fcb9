package job

import (
	"context"
	"errors"
	"fmt"
)

// What a request says of itself besides what it asks for: who makes it, whether it was
// made before, and whether it may wait behind others.

// DefaultActor is who changes things where nobody is named.
const DefaultActor = "api"

type actorKey struct{}

// maxActorBytes is enough for the longest ids of a run and of a token, and the token's name.
const maxActorBytes = 1000

// WithActor names who makes the changes of ctx; at most maxActorBytes of it are kept.
func WithActor(ctx context.Context, actor string) context.Context {
	return context.WithValue(ctx, actorKey{}, actor[:min(len(actor), maxActorBytes)])
}

// Actor is how the holder of the token is named where changes are on record: by its id,
// which nobody else has, and its name, which is for people.
func (t *Token) Actor() string { return "token:" + t.ID + " " + t.Name }

// ActorOf is who makes the changes of ctx.
func ActorOf(ctx context.Context) string {
	if actor, _ := ctx.Value(actorKey{}).(string); actor != "" {
		return actor
	}
	return DefaultActor
}

// AsideHeader marks a request that a program makes by the way, while it serves another: it
// has no share in a reserve.
const AsideHeader = "X-Gateway-Cron-Aside"

type reserveKey struct{}

// WithReserve has the store serve ctx on connections that are kept for it.
func WithReserve(ctx context.Context) context.Context {
	return context.WithValue(ctx, reserveKey{}, true)
}

// OnReserve reports whether ctx is served on the connections that are kept.
func OnReserve(ctx context.Context) bool { return ctx.Value(reserveKey{}) != nil }

// Once names a request that is carried out once, however often it arrives: whoever got
// no answer sends it again. The zero value names none.
type Once struct {
	Key   string // safe in a Redis key, and nobody else's
	Print string // of all that the request asks for; two that differ are two requests
}

// ErrOtherRequest says that the key of a Once was used for another request.
var ErrOtherRequest = errors.New("the key was used for another request")

// SpentError says that a request was carried out before, and that the job it was about
// is gone since.
type SpentError struct{ ID string } // of the job or the run that was made

func (e *SpentError) Error() string { return fmt.Sprintf("made %s before, whose job is gone", e.ID) }
