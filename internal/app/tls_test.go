package app

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gatewaycron/gatewaycron/internal/config"
	"github.com/gatewaycron/gatewaycron/internal/redistest"
)

// certificate writes a certificate for example.com and 127.0.0.1, and its key.
func certificate(t *testing.T) (certFile, keyFile string, trusted *x509.CertPool) {
	t.Helper()
	s := httptest.NewTLSServer(http.NotFoundHandler())
	s.Close()
	pair := s.TLS.Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: pair.Certificate[0]}, keyFile: {Type: "PRIVATE KEY", Bytes: key}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	trusted = x509.NewCertPool()
	trusted.AddCert(s.Certificate())
	return certFile, keyFile, trusted
}

func TestServedOverTLS(t *testing.T) {
	certFile, keyFile, trusted := certificate(t)
	_, ai := echoAI(t)
	url := redistest.Start(t).URL()
	p := boot(t, AllRoles(), func(c *config.Config) {
		c.RedisURL, c.AIServerURL, c.TLSCertFile, c.TLSKeyFile = url, ai, certFile, keyFile
	})
	eventually(t, "the ready line", p.ready)
	if want := "ready on https://" + p.Addr() + " (dashboard: https://" + p.Addr() + "/monitoring)"; p.out.count(want) != 1 {
		t.Errorf("the ready line is %s, want %q", p.out, want)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trusted}, ForceAttemptHTTP2: true}}
	res, err := client.Get("https://" + p.Addr() + "/api/cron/jobs")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	client.CloseIdleConnections()
	if res.StatusCode != http.StatusOK || res.ProtoMajor != 1 {
		t.Errorf("%s over %s", res.Status, res.Proto)
	}
	res, err = http.Get("http://" + p.Addr() + "/health")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusBadRequest {
		t.Errorf("over plain HTTP: %s", res.Status)
	}
	if err := Healthcheck(t.Context(), config.Config{Addr: p.Addr(), TLSCertFile: certFile}, "api"); err != nil {
		t.Error(err)
	}
}

func TestPlainHTTPBeyondLoopbackIsSaid(t *testing.T) {
	for _, tt := range []struct {
		c    config.Config
		says bool
	}{
		{config.Config{Addr: "127.0.0.1:8090"}, false},
		{config.Config{Addr: "0.0.0.0:8090"}, true},
		{config.Config{Addr: "0.0.0.0:8090", TLSCertFile: "cert.pem", TLSKeyFile: "key.pem"}, false},
	} {
		var log strings.Builder
		warnOfPlainHTTP(tt.c, slog.New(slog.NewTextHandler(&log, nil)))
		if said := strings.Contains(log.String(), "level=WARN") && strings.Contains(log.String(), "GATEWAY_CRON_TLS_CERT_FILE"); said != tt.says {
			t.Errorf("%+v: %q", tt.c, log.String())
		}
	}
}

func TestACertificateThatCannotBeReadIsSaid(t *testing.T) {
	certFile, keyFile, _ := certificate(t)
	for _, c := range []config.Config{
		{TLSCertFile: "/does/not/exist", TLSKeyFile: keyFile}, {TLSCertFile: certFile, TLSKeyFile: certFile},
	} {
		if _, err := serverTLS(c); err == nil || !strings.Contains(err.Error(), "GATEWAY_CRON_TLS_CERT_FILE") {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
