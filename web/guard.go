package web

import (
	"context"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/guess"
)

const (
	cookieName = "gateway_cron_session"
	// sessionTTL is how long a sign-in lasts.
	sessionTTL = 12 * time.Hour
)

var (
	errNoToken    = errors.New("no token")
	errWrongToken = errors.New("wrong token")
	errUnknown    = errors.New("not known whether the sign-in was ended")
)

// SignOuts knows the sign-ins that were ended before their time, for all processes.
type SignOuts interface {
	// EndSignIn notes one, for so long as it would have lasted.
	EndSignIn(ctx context.Context, id string, left time.Duration) error
	SignInEnded(ctx context.Context, id string) (bool, error)
}

// guard decides who may see the dashboard. A sign-in is a cookie that holds its
// expiry, an id, and a MAC of both under a key derived from the token: any replica can
// check it, only what was signed out is stored, and a new token ends all sign-ins.
type guard struct {
	token   [sha256.Size]byte // its hash: comparing hashes takes the same time for every length
	key     []byte            // nil: no token, everybody may
	now     func() time.Time
	guesses *guess.Guard
	ended   SignOuts
}

func newGuard(token string, now func() time.Time, guesses *guess.Guard, ended SignOuts) (*guard, error) {
	g := &guard{now: now, guesses: guesses, ended: ended}
	if token == "" {
		return g, nil
	}
	key, err := hkdf.Key(sha256.New, []byte(token), nil, "gateway-cron dashboard session 2", sha256.Size)
	if err != nil {
		return nil, fmt.Errorf("derive the key of sign-ins: %w", err)
	}
	g.token, g.key = sha256.Sum256([]byte(token)), key
	return g, nil
}

// open reports whether there is no token to ask for.
func (g *guard) open() bool { return g.key == nil }

// check returns nil if r comes from somebody who may see the dashboard, else
// errNoToken, errWrongToken, the error of guess.Guard, or one of SignOuts.
func (g *guard) check(r *http.Request) error {
	if in, err := g.signedIn(r); in || err != nil {
		return err
	}
	token, ok := credentials(r)
	if !ok {
		return errNoToken
	}
	return g.tryToken(r, token)
}

// signedIn reports whether r needs no token: there is none, or it was given at
// sign-in.
func (g *guard) signedIn(r *http.Request) (bool, error) {
	if g.open() {
		return true, nil
	}
	id, left := g.session(r)
	if left <= 0 {
		return false, nil
	}
	ended, err := g.ended.SignInEnded(r.Context(), id)
	if err != nil {
		return false, fmt.Errorf("%w: %w", errUnknown, err)
	}
	return !ended, nil
}

// signOut ends the sign-in of r, in all processes.
func (g *guard) signOut(r *http.Request) error {
	id, left := g.session(r)
	if g.open() || left <= 0 {
		return nil
	}
	return g.ended.EndSignIn(r.Context(), id, left)
}

// credentials are those in the Authorization header: a bearer token, or the
// password of basic authentication with any user name.
func credentials(r *http.Request) (string, bool) {
	if _, password, ok := r.BasicAuth(); ok {
		return password, true
	}
	scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return "", false
	}
	return strings.TrimSpace(token), true
}

// tryToken compares a token, after a wait for an address that guesses.
func (g *guard) tryToken(r *http.Request, token string) error {
	right, err := g.guesses.Check(r.Context(), r.RemoteAddr, token, func(context.Context) (bool, error) {
		got := sha256.Sum256([]byte(token))
		return hmac.Equal(got[:], g.token[:]), nil
	})
	if err == nil && !right {
		err = errWrongToken
	}
	return err
}

// newSession returns the cookie of a sign-in.
func (g *guard) newSession(r *http.Request) *http.Cookie {
	stamp := strconv.FormatInt(g.now().Add(sessionTTL).Unix(), 10) + "." + rand.Text()
	c := sessionCookie(r)
	c.Value = stamp + "." + g.mac(stamp)
	c.MaxAge = int(sessionTTL / time.Second)
	return c
}

// endedSession returns the cookie that removes a sign-in from the browser.
func endedSession(r *http.Request) *http.Cookie {
	c := sessionCookie(r)
	c.MaxAge = -1
	return c
}

func sessionCookie(r *http.Request) *http.Cookie {
	return &http.Cookie{
		Name: cookieName, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: isHTTPS(r),
	}
}

// session is the id of the sign-in in the cookie of r, and how long it would last; 0
// without a cookie of ours.
func (g *guard) session(r *http.Request) (id string, left time.Duration) {
	c, err := r.Cookie(cookieName)
	if err != nil {
		return "", 0
	}
	at := strings.LastIndexByte(c.Value, '.')
	if at < 0 || !hmac.Equal([]byte(c.Value[at+1:]), []byte(g.mac(c.Value[:at]))) {
		return "", 0
	}
	stamp, id, _ := strings.Cut(c.Value[:at], ".")
	expiry, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil {
		return "", 0
	}
	return id, time.Unix(expiry, 0).Sub(g.now())
}

func (g *guard) mac(stamp string) string {
	m := hmac.New(sha256.New, g.key)
	m.Write([]byte(stamp))
	return base64.RawURLEncoding.EncodeToString(m.Sum(nil))
}

// isHTTPS reports whether the browser speaks TLS, here or with a proxy in front.
// A client that lies about the proxy only restricts its own cookie.
func isHTTPS(r *http.Request) bool {
	return r.TLS != nil || strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "https")
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
