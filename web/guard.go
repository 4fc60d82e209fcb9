package web

import (
	"context"
	"crypto/hkdf"
	"crypto/hmac"
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
)

// guard decides who may see the dashboard. A sign-in is a cookie that holds its
// expiry and a MAC of it under a key derived from the token: any replica can
// check it, nothing is stored, and a new token ends all sign-ins.
type guard struct {
	token   [sha256.Size]byte // its hash: comparing hashes takes the same time for every length
	key     []byte            // nil: no token, everybody may
	now     func() time.Time
	guesses *guess.Guard
}

func newGuard(token string, now func() time.Time, guesses *guess.Guard) (*guard, error) {
	g := &guard{now: now, guesses: guesses}
	if token == "" {
		return g, nil
	}
	key, err := hkdf.Key(sha256.New, []byte(token), nil, "gateway-cron dashboard session 1", sha256.Size)
	if err != nil {
		return nil, fmt.Errorf("derive the key of sign-ins: %w", err)
	}
	g.token, g.key = sha256.Sum256([]byte(token)), key
	return g, nil
}

// open reports whether there is no token to ask for.
func (g *guard) open() bool { return g.key == nil }

// check returns nil if r comes from somebody who may see the dashboard, else
// errNoToken, errWrongToken or the error of guess.Guard.
func (g *guard) check(r *http.Request) error {
	if g.signedIn(r) {
		return nil
	}
	token, ok := credentials(r)
	if !ok {
		return errNoToken
	}
	return g.tryToken(r, token)
}

// signedIn reports whether r needs no token: there is none, or it was given at
// sign-in.
func (g *guard) signedIn(r *http.Request) bool {
	if g.open() {
		return true
	}
	c, err := r.Cookie(cookieName)
	return err == nil && g.validSession(c.Value)
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
	stamp := strconv.FormatInt(g.now().Add(sessionTTL).Unix(), 10)
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

func (g *guard) validSession(value string) bool {
	stamp, mac, ok := strings.Cut(value, ".")
	if !ok || !hmac.Equal([]byte(mac), []byte(g.mac(stamp))) {
		return false
	}
	expiry, err := strconv.ParseInt(stamp, 10, 64)
	return err == nil && g.now().Unix() < expiry
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
