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
	html, err := withNote(outside.ReplaceAll(got.body.Bytes(), nil))
	if err != nil {
		return page{}, err
	}
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

// withNote adds what asynqmon does not say: what its numbers are about, and why a change
// was refused.
func withNote(html []byte) ([]byte, error) {
	note, err := assets.ReadFile("assets/monitoring.html")
	if err != nil {
		return nil, fmt.Errorf("read the note of the dashboard: %w", err)
	}
	script, err := assets.ReadFile("assets/monitoring.js")
	if err != nil {
		return nil, fmt.Errorf("read the script of the dashboard: %w", err)
	}
	const body, head = "</body>", "</head>"
	if bytes.Count(html, []byte(body)) != 1 || bytes.Count(html, []byte(head)) != 1 {
		return nil, errors.New("asynqmon's page is not the expected one: it has no head and body")
	}
	html = bytes.Replace(html, []byte(head), []byte("<script>"+string(script)+"</script>"+head), 1)
	return bytes.Replace(html, []byte(body), []byte(string(note)+body), 1), nil
}

var (
	mainScript = regexp.MustCompile(`src="([^"]*/main\.[^"]*\.js)"`)
	// cutsID is asynqmon's function that shows of an id what comes before its first "-".
	// Its ids are UUIDs; ours begin with the job's.
	cutsID = regexp.MustCompile(`function (\w+)\((\w)\)\{var \w=\w\.indexOf\("-"\);return-1===\w\?\w:\w\.substr\(0,\w\)\}`)
)

// file is a file of asynqmon's that is served changed.
type file struct {
	path string
	body []byte
}

// wholeIDs takes asynqmon's script and lets it show ids as they are. The page asks for it
// by a name of its own, because browsers keep what they have for a year.
func wholeIDs(shell *page, monitor http.Handler) (file, error) {
	found := mainScript.FindSubmatch(shell.html)
	if found == nil {
		return file{}, errors.New("asynqmon's page is not the expected one: it has no main script")
	}
	src := string(found[1])
	r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, src, http.NoBody)
	if err != nil {
		return file{}, fmt.Errorf("ask asynqmon for its script: %w", err)
	}
	got := &capture{header: http.Header{}, status: http.StatusOK}
	monitor.ServeHTTP(got, r)
	if body := got.body.Bytes(); len(cutsID.FindAll(body, -1)) != 1 {
		return file{}, errors.New("asynqmon's script is not the expected one: it cuts ids elsewhere")
	}
	f := file{path: strings.TrimSuffix(src, ".js") + ".ids.js", body: cutsID.ReplaceAll(got.body.Bytes(), []byte("function $1($2){return $2}"))}
	shell.html = bytes.Replace(shell.html, []byte(src), []byte(f.path), 1)
	return f, nil
}

func (f file) serve(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/javascript; charset=utf-8")
	w.Header().Set("Cache-Control", immutable)
	_, _ = w.Write(f.body)
}

// immutable is for files whose name changes with their content.
const immutable = "private, max-age=31536000, immutable"

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
			h.Set("Cache-Control", immutable)
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
