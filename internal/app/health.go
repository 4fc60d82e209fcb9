package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/config"
	"github.com/gatewaycron/gatewaycron/internal/store"
)

// ErrUnhealthy says that a role does not serve, or gives no sign of life.
var ErrUnhealthy = errors.New("unhealthy")

// Healthcheck asks whether the process of a role on this host is well: the API by
// its /readyz, a scheduler or a worker by its sign of life in Redis. An empty role
// means the API. It returns nil or an error that wraps ErrUnhealthy.
func Healthcheck(ctx context.Context, c config.Config, role string) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	if role == "" || role == "api" {
		return checkAPI(ctx, c)
	}
	opts, err := redisOptions(c)
	if err != nil {
		return err
	}
	rdb := newRedis(opts, 1)
	defer rdb.Close()
	host, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("name of this host: %w", err)
	}
	alive, err := store.New(rdb, store.Options{Prefix: c.Prefix}).Alive(ctx, role, host)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnhealthy, err)
	}
	if !alive {
		return fmt.Errorf("%w: no sign of life of a %s on %s", ErrUnhealthy, role, host)
	}
	return nil
}

func checkAPI(ctx context.Context, c config.Config) error {
	host, port, err := net.SplitHostPort(c.Addr)
	if err != nil {
		return fmt.Errorf("address %s: %w", c.Addr, err)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1" // it listens on every address, and this is one
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.Scheme()+"://"+net.JoinHostPort(host, port)+"/readyz", nil)
	if err != nil {
		return fmt.Errorf("ask for readiness: %w", err)
	}
	// The certificate is for the name that others use. The request has no secret.
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true} //nolint:gosec // see above
	res, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnhealthy, err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(res.Body, 500)) // only to say more
		return fmt.Errorf("%w: %s %s", ErrUnhealthy, res.Status, body)
	}
	return nil
}
