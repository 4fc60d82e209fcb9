package web

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"path"
	"strings"

	"github.com/gatewaycron/gatewaycron/internal/guess"
	"github.com/gatewaycron/gatewaycron/internal/health"
	"github.com/gatewaycron/gatewaycron/internal/ratelimit"
)

//go:embed assets
var assets embed.FS

// maxTarget bounds the path that a sign-in returns to, in bytes.
const maxTarget = 512

// parsePages parses our pages and returns the policy for them: they have one
// style sheet, inline, and nothing else.
func parsePages() (*template.Template, string, error) {
	style, err := assets.ReadFile("assets/style.css")
	if err != nil {
		return nil, "", fmt.Errorf("read the style sheet: %w", err)
	}
	t, err := template.New("").Funcs(template.FuncMap{
		"style": func() template.CSS { return template.CSS(style) }, //nolint:gosec // embedded, ours
	}).ParseFS(assets, "assets/landing.html", "assets/login.html", "assets/parts.html")
	if err != nil {
		return nil, "", fmt.Errorf("parse the pages: %w", err)
	}
	return t, "default-src 'none'; style-src " + cspHash(style) +
		"; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'", nil
}

// landing says what runs here and how it stands. It is open to everybody; what is wrong is
// told to whoever may see the dashboard, others learn only how it stands.
func (d *Dashboard) landing(w http.ResponseWriter, r *http.Request) {
	if !isReading(r) {
		refuseMethod(w, "This page can only be read.", "GET, HEAD")
		return
	}
	scheme := "http"
	if isHTTPS(r) {
		scheme = "https"
	}
	in, err := d.guard.signedIn(r)
	if err != nil {
		d.logger.WarnContext(r.Context(), "sign-in not checked", "err", err)
	}
	data := struct {
		Base, Version string
		Open, Known   bool // no token is needed; the visitor is signed in
		Health        *health.Report
	}{Base: scheme + "://" + r.Host, Version: d.version, Open: d.guard.open(), Known: !d.guard.open() && in}
	if d.health != nil {
		report := d.health(r.Context())
		if !data.Open && !data.Known {
			report = health.Report{State: report.State}
		}
		data.Health = &report
	}
	d.render(w, http.StatusOK, "landing.html", data)
}

// login shows the sign-in page, and takes the token from it.
func (d *Dashboard) login(w http.ResponseWriter, r *http.Request) {
	switch {
	case isReading(r):
		target := localTarget(r.URL.Query().Get("next"))
		if in, err := d.guard.signedIn(r); in && err == nil { // else the page is of use
			http.Redirect(w, r, target, http.StatusSeeOther)
			return
		}
		d.loginPage(w, http.StatusOK, target, "")
	case r.Method == http.MethodPost:
		d.signIn(w, r)
	default:
		refuseMethod(w, "The sign-in page takes a form.", "GET, HEAD, POST")
	}
}

func (d *Dashboard) signIn(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		refuse(w, http.StatusBadRequest, "The sign-in form could not be read.")
		return
	}
	target := localTarget(r.PostForm.Get("next"))
	if d.guard.open() {
		http.Redirect(w, r, target, http.StatusSeeOther)
		return
	}
	err := d.guard.tryToken(r, strings.TrimSpace(r.PostForm.Get("token")))
	if err == nil {
		http.SetCookie(w, d.guard.newSession(r))
		http.Redirect(w, r, target, http.StatusSeeOther)
		return
	}
	if limited, ok := errors.AsType[*guess.LimitedError](err); ok {
		w.Header().Set("Retry-After", ratelimit.Seconds(limited.Wait))
		d.loginPage(w, http.StatusTooManyRequests, target, tooManyGuesses(limited))
		return
	}
	d.loginPage(w, http.StatusUnauthorized, target, "That is not the token.")
}

func (d *Dashboard) loginPage(w http.ResponseWriter, status int, target, problem string) {
	d.render(w, status, "login.html", struct{ Target, Problem string }{target, problem})
}

// logout ends the sign-in of the cookie, wherever it is shown again.
func (d *Dashboard) logout(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		refuseMethod(w, "Signing out takes a POST.", "POST")
		return
	}
	if err := d.guard.signOut(r); err != nil {
		d.logger.WarnContext(r.Context(), "sign-in not ended", "err", err)
		refuse(w, http.StatusServiceUnavailable, "The store cannot be reached at the moment, so the sign-in goes on; sign out again.")
		return
	}
	http.SetCookie(w, endedSession(r))
	http.Redirect(w, r, "/login", http.StatusSeeOther)
}

// render writes a page of ours, or, if its template fails, none of it.
func (d *Dashboard) render(w http.ResponseWriter, status int, name string, data any) {
	var out bytes.Buffer
	if err := d.pages.ExecuteTemplate(&out, name, data); err != nil {
		d.logger.Error("page failed", "page", name, "err", err)
		refuse(w, http.StatusInternalServerError, "The page could not be made; the log says why.")
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", d.pagesCSP)
	w.WriteHeader(status)
	_, _ = w.Write(out.Bytes())
}

// loginURL is the sign-in page that returns to u.
func loginURL(u *url.URL) string {
	return "/login?" + url.Values{"next": {u.RequestURI()}}.Encode()
}

// localTarget returns next if it is a page of the dashboard, else the
// dashboard's first page: a sign-in must never lead anywhere else.
func localTarget(next string) string {
	if len(next) > maxTarget || strings.Contains(next, `\`) {
		return root
	}
	u, err := url.Parse(next)
	if err != nil || u.Scheme != "" || u.Opaque != "" || u.User != nil || u.Host != "" {
		return root
	}
	if u.Path != root && !strings.HasPrefix(u.Path, root+"/") || path.Clean(u.Path) != u.Path {
		return root
	}
	return u.RequestURI()
}

func isReading(r *http.Request) bool {
	return r.Method == http.MethodGet || r.Method == http.MethodHead
}

func tooManyGuesses(e *guess.LimitedError) string {
	return "Too many wrong tokens from your address: wait " + ratelimit.Seconds(e.Wait) + " seconds."
}

func refuseMethod(w http.ResponseWriter, detail, allow string) {
	w.Header().Set("Allow", allow)
	refuse(w, http.StatusMethodNotAllowed, detail)
}

// refuse answers with a problem (RFC 9457), as the API does.
func refuse(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	// Strings and a number always encode.
	_ = json.NewEncoder(w).Encode(struct {
		Title  string `json:"title"`
		Status int    `json:"status"`
		Detail string `json:"detail"`
	}{http.StatusText(status), status, detail})
}
