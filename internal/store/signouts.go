package store

import (
	"context"
	"fmt"
	"time"
)

// EndSignIn notes that a sign-in at the dashboard was ended, for so long as it would have
// lasted.
func (s *Store) EndSignIn(ctx context.Context, id string, left time.Duration) error {
	if err := s.client(ctx).Set(ctx, s.keys.signedOut(id), 1, left).Err(); err != nil {
		return fmt.Errorf("end the sign-in %s: %w", id, err)
	}
	return nil
}

// SignInEnded reports whether EndSignIn was called for a sign-in.
func (s *Store) SignInEnded(ctx context.Context, id string) (bool, error) {
	n, err := s.client(ctx).Exists(ctx, s.keys.signedOut(id)).Result()
	if err != nil {
		return false, fmt.Errorf("look up the sign-in %s: %w", id, err)
	}
	return n > 0, nil
}
