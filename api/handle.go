package api

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"runtime/debug"
	"strconv"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

// handlerFunc is a handler that leaves its error to the renderer. It returns an
// error only as long as it has written nothing.
type handlerFunc func(w http.ResponseWriter, r *http.Request) error

func (s *server) handle(h handlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := h(s.count(w, r), r); err != nil {
			s.renderError(w, r, err)
		}
	}
}

// writeJSON answers v. It is encoded before the first byte is sent, so that a
// failure can still become an error answer.
func writeJSON(w http.ResponseWriter, status int, v any) error {
	return writeBody(w, status, "application/json", v)
}

func writeBody(w http.ResponseWriter, status int, contentType string, v any) error {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false) // answers are read by people and models, never by an HTML parser
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	release, err := hold(w, buf.Cap())
	if err != nil {
		return err
	}
	defer release()
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(buf.Len()))
	w.WriteHeader(status)
	_, _ = w.Write(buf.Bytes()) // fails only when the client has gone
	return nil
}

// pathParam returns a path parameter, decoded exactly once: the router matches
// on the encoded path when there is one, else on the decoded path.
func pathParam(r *http.Request, name string) (string, error) {
	v := chi.URLParam(r, name)
	if r.URL.RawPath == "" {
		return v, nil
	}
	decoded, err := url.PathUnescape(v)
	if err != nil {
		return "", job.ErrNotFound
	}
	return decoded, nil
}

type requestIDKey struct{}

// requestID names the request in logs and in answers to errors that say no more.
func requestID(r *http.Request) string {
	id, _ := r.Context().Value(requestIDKey{}).(string)
	return id
}

// identify gives each request an id of ours. One that a client sends is not
// taken over: it would be untrusted text in our logs.
func identify(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := rand.Text()[:16]
		w.Header().Set("X-Request-ID", id)
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), requestIDKey{}, id)))
	})
}

// logRequests writes one debug line a request. The query is left out: what
// clients put there by mistake, such as a token, is not for a log.
func (s *server) logRequests(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := s.Now()
		ww := middleware.NewWrapResponseWriter(w, r.ProtoMajor)
		next.ServeHTTP(ww, r)
		s.Logger.DebugContext(r.Context(), "request served",
			"request_id", requestID(r), "method", r.Method, "path", r.URL.Path,
			"status", ww.Status(), "bytes", ww.BytesWritten(), "duration", s.Now().Sub(start))
	})
}

// recoverPanics turns a defect in one handler into one failed request.
func (s *server) recoverPanics(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			v := recover()
			switch {
			case v == nil:
			case v == http.ErrAbortHandler: //nolint:errorlint // the very value is the signal
				panic(v) // the server's own way to drop a connection
			default:
				s.renderError(w, r, &panicError{value: v, stack: debug.Stack()})
			}
		}()
		next.ServeHTTP(w, r)
	})
}

func secureHeaders(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-store")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		next.ServeHTTP(w, r)
	})
}

// limitTime ends requests whose store does not answer. One that is to wait has that
// much longer; what is wrong with its wish, the handler says.
func limitTime(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		wait, _ := readWait(r)
		ctx, cancel := context.WithTimeout(r.Context(), requestTimeout+wait)
		defer cancel()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}
