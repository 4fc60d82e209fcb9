//go:build unix

package failover

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/redistest"
)

// password has what a URL must escape.
const password = "hunter2:/?#@,%"

var escapedPassword = url.QueryEscape(password)

// documentedUser makes servers know a user of docs/operations.md, with the rights that
// stand there and no others.
func documentedUser(t *testing.T, name string) []redistest.Option {
	t.Helper()
	doc, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(doc)) {
		rule, ok := strings.CutPrefix(strings.TrimSpace(line), "user "+name+" ")
		if !ok {
			continue
		}
		args := append([]string{"--user", name}, strings.Fields(rule)...)
		for i, arg := range args {
			if arg == ">PASSWORD" {
				args[i] = ">" + password
			}
		}
		return []redistest.Option{redistest.WithArgs(args...)}
	}
	t.Fatalf("docs/operations.md has no user %s", name)
	return nil
}

// login puts the documented user into a URL.
func login(url string) string {
	return strings.Replace(url, "://", "://gateway-cron:"+escapedPassword+"@", 1)
}

// nothingDenied fails if a server refused the documented user anything.
func nothingDenied(t *testing.T, servers ...*redistest.Server) {
	t.Helper()
	for _, server := range servers {
		denied, err := server.Client().ACLLog(t.Context(), 100).Result()
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range denied {
			t.Errorf("%s refused %s %s %d times, in the context %s", server.Addr(), d.Reason, d.Object, d.Count, d.Context)
		}
	}
}

// Everything works over TLS with a certificate of our own and the rights that are
// documented; and nothing at all with a server that cannot prove its name.
func TestTLSAndACL(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	serverCert, serverKey := ca.issue(t, "server")
	redis := redistest.Start(t, append(documentedUser(t, "gateway-cron"), redistest.WithAOF(), redistest.WithArgs(
		"--bind", "127.0.0.1", "--tls-port", port, "--tls-cert-file", serverCert, "--tls-key-file", serverKey,
		"--tls-ca-cert-file", ca.file, "--tls-auth-clients", "yes"))...)

	clientCert, clientKey := ca.issue(t, "client")
	settings := func(url string, ca authority) []string {
		return []string{"GATEWAY_CRON_REDIS_URL=" + login(url), "GATEWAY_CRON_REDIS_CA_FILE=" + ca.file,
			"GATEWAY_CRON_REDIS_CERT_FILE=" + clientCert, "GATEWAY_CRON_REDIS_KEY_FILE=" + clientKey, "GATEWAY_CRON_REDIS_CHECK=strict"}
	}
	w := newWorld(t, settings("rediss://127.0.0.1:"+port+"/0", ca)...)
	serve := w.start("serve")
	worker := w.start("worker") // gives a sign of life to ask for

	id, status := serve.create("* * * * *", "tick")
	if id == "" {
		t.Fatalf("create: %d", status)
	}
	for _, step := range []struct {
		method, path string
		body         any
	}{
		{"POST", "/api/cron/jobs/" + id + "/run", map[string]any{}},
		{"PATCH", "/api/cron/jobs/" + id, map[string]any{"task": "tock"}},
		{"GET", "/api/cron/jobs", nil},
		{"GET", "/readyz", nil},
		{"GET", "/monitoring/api/queues", nil},
		{"GET", "/monitoring/api/servers", nil},
		{"GET", "/monitoring/api/redis_info", nil},
		{"GET", "/monitoring/api/scheduler_entries", nil},
	} {
		if status, answer := serve.call(step.method, step.path, step.body); status/100 != 2 {
			t.Errorf("%s %s: %d %v", step.method, step.path, status, answer)
		}
	}
	until(t, "the manual run and one slot ran", func() bool { return len(w.runs("")) >= 2 })
	if status, _ := serve.call("DELETE", "/api/cron/jobs/"+id, nil); status/100 != 2 {
		t.Errorf("delete: %d", status)
	}
	var said []string
	for _, args := range [][]string{{"healthcheck", "--role", "worker"}, {"config"}} {
		until(t, args[0]+" says that all is well", func() bool { // it waits a few seconds only, a busy machine more
			out, err := w.command(args...).CombinedOutput()
			if err != nil {
				t.Logf("%s: %v\n%s", args, err, out)
			}
			said = append(said, string(out))
			return err == nil
		})
	}
	nothingDenied(t, redis)

	for name, c := range map[string]struct {
		url string
		ca  authority
	}{
		"another authority": {"rediss://127.0.0.1:" + port + "/0", newAuthority(t)},
		"another name":      {"rediss://localhost:" + port + "/0", ca},
	} {
		stranger := newWorld(t, settings(c.url, c.ca)...)
		until(t, name+" is refused", func() bool {
			out, err := stranger.command("healthcheck", "--role", "worker").CombinedOutput()
			if err == nil {
				t.Errorf("%s is as good as the server's\n%s", name, out)
			}
			said = append(said, string(out))
			return err == nil || strings.Contains(string(out), "x509: ")
		})
	}
	for _, text := range append(said, serve.Log.String(), worker.Log.String()) {
		if strings.Contains(text, "hunter2") {
			t.Errorf("the password is told:\n%s", text)
		}
	}
}

// authority is a certificate authority of the test's own.
type authority struct {
	file string
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	a := authority{dir: t.TempDir()}
	a.key = newKey(t)
	a.cert = &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	a.file = a.write(t, "ca.pem", "CERTIFICATE", sign(t, a.cert, a.cert, a.key, a.key))
	return a
}

// issue makes a certificate for 127.0.0.1, and no name, and answers its files.
func (a authority) issue(t *testing.T, name string) (cert, key string) {
	t.Helper()
	k := newKey(t)
	template := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return a.write(t, name+".pem", "CERTIFICATE", sign(t, template, a.cert, k, a.key)), a.write(t, name+".key", "PRIVATE KEY", der)
}

func (a authority) write(t *testing.T, name, kind string, der []byte) string {
	t.Helper()
	path := filepath.Join(a.dir, name)
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func sign(t *testing.T, template, parent *x509.Certificate, of, by *ecdsa.PrivateKey) []byte {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &of.PublicKey, by)
	if err != nil {
		t.Fatal(err)
	}
	return der
}
