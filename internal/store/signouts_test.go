package store

import (
	"testing"
	"time"
)

func TestASignInThatWasEndedIsKnownUntilItWouldHaveEnded(t *testing.T) {
	f := setup(t, Options{})
	f.must(f.EndSignIn(f.ctx, "a", time.Hour))
	for id, want := range map[string]bool{"a": true, "b": false} {
		if ended, err := f.SignInEnded(f.ctx, id); err != nil || ended != want {
			t.Errorf("%s: %v, %v", id, ended, err)
		}
	}
	if left := f.rdb.TTL(f.ctx, f.keys.signedOut("a")).Val(); left <= 0 || left > time.Hour {
		t.Errorf("it is kept for %s", left)
	}
}
