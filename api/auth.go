package api

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

// guard is the middleware that decides who may use the API: the administrator, who holds
// the configured token or, without one, is a program of this machine; and the holders of
// tokens that the administrator has made, whose token is in the context from here on.
func (s *server) guard() func(http.Handler) http.Handler {
	who := s.caller()
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			t, err := who(r)
			if err != nil {
				s.renderError(w, r, err)
				return
			}
			if t != nil {
				ctx := context.WithValue(r.Context(), shownKey{}, madeToken(r))
				r = r.WithContext(job.WithActor(job.WithToken(ctx, t), t.Actor()))
			}
			next.ServeHTTP(w, r)
		})
	}
}

type shownKey struct{}

// stillMay returns errUnauthorized if the token of a request that lasts was revoked
// meanwhile. While the store cannot say, it counts as it did.
func (s *server) stillMay(ctx context.Context) error {
	shown, ok := ctx.Value(shownKey{}).(string)
	if !ok {
		return nil
	}
	if t, err := s.tokens.find(ctx, shown); err == nil && t == nil {
		return errUnauthorized
	}
	return nil
}

// caller returns what tells who asks: the holder of a token, the administrator (nil), or
// an error that says why neither. Each token that somebody shows is checked by Guesses.
func (s *server) caller() func(*http.Request) (*job.Token, error) {
	local, want := localOnly(), sha256.Sum256([]byte(s.Token))
	return func(r *http.Request) (*job.Token, error) {
		made := madeToken(r)
		if s.Token == "" {
			if err := local(r); err != nil || made == "" {
				return nil, err
			}
		}
		shown := bearerToken(r)
		if shown == "" {
			return nil, errUnauthorized
		}
		var t *job.Token
		isRight := func(ctx context.Context) (bool, error) {
			// Both sides are hashed, so that the comparison takes the same time for every
			// length and content.
			got := sha256.Sum256([]byte(shown))
			if s.Token != "" && subtle.ConstantTimeCompare(got[:], want[:]) == 1 {
				return true, nil
			}
			if made == "" {
				return false, nil
			}
			var err error
			t, err = s.tokens.find(ctx, made)
			return t != nil, err
		}
		var right bool
		var err error
		if wasChecked(r) {
			right, err = isRight(r.Context())
		} else {
			right, err = s.Guesses.Check(r.Context(), r.RemoteAddr, shown, isRight)
		}
		if err == nil && !right {
			err = errUnauthorized
		}
		return t, err
	}
}

// isAdministrator reports whether a request to a page that is open to everybody comes from
// the administrator. The page must not say sooner than any other that a token is right.
func (s *server) isAdministrator(r *http.Request) bool {
	if madeToken(r) != "" {
		return false
	}
	_, err := s.caller()(r)
	return err == nil
}

// madeToken is the token of the request if it has the form of those that are made here.
// Whoever shows one is bound by it, even where nobody would have to show any.
func madeToken(r *http.Request) string {
	if token := bearerToken(r); strings.HasPrefix(token, "gct_") {
		return token
	}
	return ""
}

// bearerToken is the token in the Authorization header, "" without one.
func bearerToken(r *http.Request) string {
	scheme, credentials, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(credentials)
}

var errUnauthorized = &apiError{status: http.StatusUnauthorized, detail: "A valid token is required, in the header Authorization: Bearer <token>."}

// localOnly guards an API without a token. It listens on the loopback interface
// alone, but every web page that a browser on this machine shows can send
// requests there, in two ways. A page of another origin can send them blindly:
// browsers mark those, and what could change something is refused. And a page
// whose own host name is made to resolve to 127.0.0.1 (DNS rebinding) counts as
// the same origin and could even read the answers: its requests carry that name
// in Host, so only names of this machine are served.
func localOnly() func(*http.Request) error {
	crossOrigin := http.NewCrossOriginProtection()
	return func(r *http.Request) error {
		if !isLoopback(r.Host) {
			return &apiError{status: http.StatusForbidden, detail: "Without a token the API answers only to localhost, 127.0.0.1 and [::1]; use such an address or configure a token."}
		}
		if err := crossOrigin.Check(r); err != nil {
			return &apiError{status: http.StatusForbidden, detail: "Without a token the API takes no changes from web pages; configure a token."}
		}
		return nil
	}
}

// isLoopback reports whether a Host header names this machine.
func isLoopback(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}
