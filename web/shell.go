package web

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"path"
	"regexp"
	"strings"
)

// page is an HTML page with the policy made for it.
type page struct {
	html []byte
	csp  string
}

func (p page) serve(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", p.csp)
	// Nothing can be done about a browser that went away.
	_, _ = w.Write(p.html)
}

var (
	// outside matches the links of asynqmon's page that cannot work: to fonts
	// of another host, and to a manifest, which browsers fetch without cookies.
	outside = regexp.MustCompile(`<link\b[^>]*(?:https?://|rel="manifest")[^>]*>`)
	inline  = regexp.MustCompile(`(?s)<script>(.*?)</script>`)
)

// newShell takes the one page of asynqmon, which is the same at every path, and
// makes it self-contained: nothing of other hosts, and a policy that names its
// inline scripts by hash. Styles must be allowed inline: its components write
// them at run time.
func newShell(monitor http.Handler) (page, error) {
	r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, root, http.NoBody)
	if err != nil {
		return page{}, fmt.Errorf("ask asynqmon for its page: %w", err)
	}
	got := &capture{header: http.Header{}, status: http.StatusOK}
	monitor.ServeHTTP(got, r)
	if got.status != http.StatusOK {
		return page{}, fmt.Errorf("asynqmon has no page at %s: status %d", root, got.status)
	}
	html := outside.ReplaceAll(got.body.Bytes(), nil)
	scripts := inline.FindAllSubmatch(html, -1)
	if len(scripts) == 0 {
		return page{}, errors.New("asynqmon's page is not the expected one: it has no inline script")
	}
	var hashes strings.Builder
	for _, s := range scripts {
		hashes.WriteString(" " + cspHash(s[1]))
	}
	return page{html: html, csp: "default-src 'none'; script-src 'self'" + hashes.String() +
		"; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'" +
		"; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"}, nil
}

// cspHash is the source expression that allows an inline script or style.
func cspHash(content []byte) string {
	sum := sha256.Sum256(content)
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// capture is a ResponseWriter into memory.
type capture struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (c *capture) Header() http.Header         { return c.header }
func (c *capture) WriteHeader(status int)      { c.status = status }
func (c *capture) Write(b []byte) (int, error) { return c.body.Write(b) }

// isAsset reports whether a path below root is a file of asynqmon's: those under
// static and, beside its pages, those with an extension.
func isAsset(p string) bool {
	dir, file := path.Split(p)
	return strings.HasPrefix(p, root+"/static/") || dir == root+"/" && path.Ext(file) != ""
}

// assetWriter corrects what asynqmon says of its files. It guesses types by
// content, which takes an SVG image for plain text; it sets no caching, though
// the names under static change with their content; and for a file that it does
// not have it sends its page, the only thing that it gives no type.
type assetWriter struct {
	http.ResponseWriter
	path    string
	started bool
	missing bool
}

func (a *assetWriter) WriteHeader(status int) {
	a.started = true
	h := a.Header()
	switch {
	case status != http.StatusOK:
	case h.Get("Content-Type") == "":
		a.missing = true
		refuse(a.ResponseWriter, http.StatusNotFound, "There is no such file.")
		return
	default:
		if path.Ext(a.path) == ".svg" {
			h.Set("Content-Type", "image/svg+xml")
		}
		if strings.HasPrefix(a.path, root+"/static/") {
			h.Set("Cache-Control", "private, max-age=31536000, immutable")
		}
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *assetWriter) Write(b []byte) (int, error) {
	if !a.started {
		a.WriteHeader(http.StatusOK)
	}
	if a.missing {
		return len(b), nil
	}
	return a.ResponseWriter.Write(b)
}
