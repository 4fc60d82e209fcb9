package app

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"

	"github.com/gatewaycron/gatewaycron/internal/config"
)

// redisTLS is the TLS configuration of the connections to Redis, to Sentinels too;
// nil without TLS. A server must prove the name or address that is dialled, which
// Sentinel and cluster nodes announce: there is no way to leave that out.
func redisTLS(c config.Config, encrypted bool) (*tls.Config, error) {
	if !encrypted {
		if c.RedisCAFile != "" || c.RedisCertFile != "" || c.RedisKeyFile != "" {
			return nil, errors.New("GATEWAY_CRON_REDIS_CA_FILE, _CERT_FILE and _KEY_FILE are for TLS, but GATEWAY_CRON_REDIS_URL does not start with rediss")
		}
		return nil, nil
	}
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.RedisCAFile != "" {
		pem, err := os.ReadFile(c.RedisCAFile)
		if err != nil {
			return nil, fmt.Errorf("GATEWAY_CRON_REDIS_CA_FILE: %w", err)
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(pem) {
			return nil, errors.New("GATEWAY_CRON_REDIS_CA_FILE: no certificate in it; it must be PEM")
		}
	}
	switch {
	case (c.RedisCertFile == "") != (c.RedisKeyFile == ""):
		return nil, errors.New("GATEWAY_CRON_REDIS_CERT_FILE and GATEWAY_CRON_REDIS_KEY_FILE belong together: set both or none")
	case c.RedisCertFile != "":
		pair, err := tls.LoadX509KeyPair(c.RedisCertFile, c.RedisKeyFile)
		if err != nil {
			return nil, fmt.Errorf("GATEWAY_CRON_REDIS_CERT_FILE and GATEWAY_CRON_REDIS_KEY_FILE: %w", err)
		}
		t.Certificates = []tls.Certificate{pair}
	}
	return t, nil
}
