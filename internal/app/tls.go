package app

import (
	"crypto/tls"
	"fmt"

	"github.com/gatewaycron/gatewaycron/internal/config"
)

// serverTLS is the TLS configuration of the API and the dashboard; nil for plain HTTP. It
// speaks HTTP/1.1 alone: what bounds the connections of a client would say nothing of the
// streams within one of HTTP/2.
func serverTLS(c config.Config) (*tls.Config, error) {
	if c.TLSCertFile == "" {
		return nil, nil
	}
	pair, err := tls.LoadX509KeyPair(c.TLSCertFile, c.TLSKeyFile)
	if err != nil {
		return nil, fmt.Errorf("GATEWAY_CRON_TLS_CERT_FILE and GATEWAY_CRON_TLS_KEY_FILE: %w", err)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}, nil
}
