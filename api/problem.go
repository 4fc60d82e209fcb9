package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/gatewaycron/gatewaycron/internal/guess"
	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/ratelimit"
)

// problem is the body of every error answer (RFC 9457). Clients show it to a
// model as it is, so it is short, and its detail alone says what to do.
type problem struct {
	Title     string        `json:"title"`
	Status    int           `json:"status"`
	Detail    string        `json:"detail,omitempty"`
	Code      string        `json:"code,omitempty"` // of what a run may not; job.InRunCode
	Problems  []job.Problem `json:"problems,omitempty"`
	ETag      string        `json:"etag,omitempty"`  // as it is now; with 412
	Ended     *endedView    `json:"ended,omitempty"` // with 410 of a job that has had its runs
	RequestID string        `json:"requestId,omitempty"`
	Health    *healthView   `json:"health,omitempty"` // of a deployment whose status cannot be read
}

// apiError is an error made here, its text meant for the client.
type apiError struct {
	status int
	detail string
	etag   string // of what was refused to be changed; may be empty
	soon   bool   // the same request can be served in a moment, as with any 503
}

func (e *apiError) Error() string { return e.detail }

// panicError is a defect caught in a handler.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v\n%s", e.value, e.stack) }

// renderError is the only place where an error becomes an answer, and where one
// that the client cannot mend is logged.
func (s *server) renderError(w http.ResponseWriter, r *http.Request, err error) {
	p := toProblem(err)
	switch {
	case p.Status < http.StatusInternalServerError:
	case r.Context().Err() != nil && !errors.Is(r.Context().Err(), context.DeadlineExceeded):
		// The client has gone: nobody reads the answer and nothing is wrong here.
	case p.Status == http.StatusServiceUnavailable:
		s.Logger.WarnContext(r.Context(), "request failed", "request_id", requestID(r), "method", r.Method, "path", r.URL.Path, "err", err)
	default:
		p.RequestID = requestID(r)
		s.Logger.ErrorContext(r.Context(), "request failed", "request_id", requestID(r), "method", r.Method, "path", r.URL.Path, "err", err)
	}
	if rate, ok := errors.AsType[*rateError](err); ok {
		w.Header().Set("Retry-After", ratelimit.Seconds(rate.wait))
	}
	if own, ok := errors.AsType[*apiError](err); ok && own.soon {
		w.Header().Set("Retry-After", "1")
	}
	if guesses, ok := errors.AsType[*guess.LimitedError](err); ok {
		w.Header().Set("Retry-After", ratelimit.Seconds(guesses.Wait))
	}
	switch p.Status {
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", "Bearer")
	case http.StatusPreconditionFailed:
		w.Header().Set("ETag", p.ETag)
	case http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", "1")
	case http.StatusRequestEntityTooLarge:
		w.Header().Set("Connection", "close") // the rest of the body is not read
	}
	// A problem is made of strings and always encodes.
	_ = writeBody(w, p.Status, "application/problem+json", p)
}

// toProblem is the status map. What it does not know is opaque.
func toProblem(err error) problem {
	var (
		own      *apiError
		invalid  *job.InvalidError
		size     *http.MaxBytesError
		notReady *notReadyError
		spent    *job.SpentError
		gone     *job.GoneError
		rate     *rateError
		guesses  *guess.LimitedError
		foreign  *job.OutOfScopeError
		inRun    *job.InRunError
	)
	p := problem{Status: http.StatusInternalServerError, Detail: "Something failed here; the log has more under this request id."}
	switch {
	case errors.As(err, &own):
		p.Status, p.Detail, p.ETag = own.status, own.detail, own.etag
	case errors.As(err, &invalid):
		p.Status, p.Detail, p.Problems = http.StatusBadRequest, summary(invalid.Problems), invalid.Problems
	case errors.As(err, &foreign):
		p.Status, p.Problems = http.StatusForbidden, []job.Problem{foreign.Problem}
		p.Detail = "Not allowed with this token: " + foreign.Error() + "."
	case errors.As(err, &inRun):
		p = problemInRun(inRun)
	case errors.Is(err, job.ErrJobQuota):
		p.Status, p.Detail = http.StatusForbidden, "This token has made as many jobs as it may have; delete one of them first."
	case errors.Is(err, job.ErrRunQuota):
		p.Status, p.Detail = http.StatusTooManyRequests, "This token has had its runs of this day; the next day begins at 00:00 UTC."
	case errors.Is(err, job.ErrTooManyTokens):
		p.Status, p.Detail = http.StatusConflict, fmt.Sprintf("There are %d tokens, as many as may be; revoked ones go after 30 days.", job.MaxTokens)
	case errors.As(err, &size):
		p.Status, p.Detail = http.StatusRequestEntityTooLarge, fmt.Sprintf("The body is too large; at most %d bytes are accepted.", size.Limit)
	case errors.As(err, &notReady):
		p.Status, p.Detail = http.StatusServiceUnavailable, "Not ready."
		if text := storeTrouble(err); text != "" {
			p.Detail = "Not ready: the store " + text + "."
		}
	case errors.As(err, &rate):
		p.Status, p.Detail = http.StatusTooManyRequests, rate.Error()
	case errors.As(err, &guesses):
		p.Status, p.Detail = http.StatusTooManyRequests,
			"Too many wrong tokens came from your address, so this one was not looked at. Send the request again in "+ratelimit.Seconds(guesses.Wait)+" s, with the right token."
	case errors.As(err, &gone):
		p = problemGone(gone)
	case errors.Is(err, job.ErrNotFound):
		p.Status, p.Detail = http.StatusNotFound, "Nothing of that id exists. List the jobs, or the runs of a job, to see the ids that there are."
	case errors.Is(err, job.ErrExists):
		p.Status, p.Detail = http.StatusConflict, "A job of that id exists already."
	case errors.As(err, &spent):
		p.Status, p.Detail = http.StatusGone, "A request with this Idempotency-Key made "+spent.ID+
			" before, whose job is gone since. Nothing was made now; for another one, send another key."
	case errors.Is(err, job.ErrOtherRequest):
		p.Status, p.Detail = http.StatusUnprocessableEntity,
			"This Idempotency-Key was used for another request within a day, so nothing was done; use a new key for each request, and the same only to send one again."
	case errors.Is(err, job.ErrConflict):
		p.Status, p.Detail = http.StatusConflict, "The job was being changed by somebody else; send the request again."
	case errors.Is(err, job.ErrTooMany):
		p.Status, p.Detail = http.StatusTooManyRequests, "The job has too many unfinished runs to start another; wait until some have ended."
	case errors.Is(err, job.ErrPaused):
		p.Status, p.Detail = http.StatusConflict, "Everything is paused, so nothing can be started until it is resumed; the status says since when and why."
	case errors.Is(err, job.ErrEnded):
		p.Status, p.Detail = http.StatusConflict, "The run has ended already; there is nothing left to cancel."
	case errors.Is(err, job.ErrUnfinished):
		p.Status, p.Detail = http.StatusConflict, "The run, or a delivery of it, is still under way; send the request again when it has ended."
	case errors.Is(err, job.ErrNoReply):
		p.Status, p.Detail = http.StatusConflict, "The run has no reply to deliver."
	case errors.Is(err, job.ErrReplyDropped):
		p.Status, p.Detail = http.StatusConflict, "Only the beginning of the run's reply is kept, since newer replies of its job took the room; run the job again."
	case errors.Is(err, job.ErrNoTarget):
		p.Status, p.Detail = http.StatusConflict, "The run was for no chat; give its job a channel and a chatId first."
	case errors.Is(err, job.ErrForeign):
		p.Status, p.Detail = http.StatusConflict, "The job belongs to another agent or session by now, and so does its chat; the run's record has the reply."
	case errors.Is(err, job.ErrTooOften):
		p.Status, p.Detail = http.StatusConflict, "The reply has been delivered too often; the run's record has it."
	case errors.Is(err, job.ErrNewerVersion):
		p.Status, p.Detail = http.StatusConflict, "The record was written by a newer release, which this one must not touch; upgrade this process."
	case errors.Is(err, errFailing):
		p.Status = http.StatusServiceUnavailable
	default:
		if text := storeTrouble(err); text != "" {
			p.Status, p.Detail = http.StatusServiceUnavailable, "The store "+text+"; send the request again when that is over."
		}
	}
	if ill, ok := errors.AsType[*unhealthyError](err); ok {
		v := viewOfHealth(ill.report)
		if p.Health = &v; len(v.Reasons) > 0 {
			p.Detail = "The deployment is " + string(v.State) + ": " + v.Reasons[0].Text + "."
		}
	}
	p.Title = http.StatusText(p.Status)
	return p
}

// storeTrouble says what keeps the store from serving, behind "The store"; "" if the error
// is about something else.
func storeTrouble(err error) string {
	switch {
	case errors.Is(err, job.ErrStoreDenied):
		return "denies this process what it needs: the user or the password of Redis is wrong, or a right is missing (gateway-cron doctor says which)"
	case errors.Is(err, job.ErrStoreFull):
		return "takes no changes: the memory or the disk of Redis is full (gateway-cron doctor says which)"
	case unreachable(err):
		return "cannot be reached at the moment"
	}
	return ""
}

// unreachable reports whether err says that the store did not answer, as
// opposed to answering with an error.
func unreachable(err error) bool {
	var network net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &network)
}

// summaryProblems is how many problems the one sentence of detail spells out.
const summaryProblems = 3

// summary says in one sentence what is wrong and what works.
func summary(problems []job.Problem) string {
	var b strings.Builder
	b.WriteString("Not accepted: ")
	for i, p := range problems[:min(len(problems), summaryProblems)] {
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(strings.TrimSpace(p.Field + " " + strings.TrimRight(p.Detail, ". ")))
		if p.Example != "" && !strings.Contains(p.Detail, "\"") { // a remedy that is quoted says it already
			b.WriteString(", for example " + p.Example)
		}
	}
	if rest := len(problems) - summaryProblems; rest > 0 {
		fmt.Fprintf(&b, "; and %d more", rest)
	}
	b.WriteString(".")
	return b.String()
}

// invalid is an InvalidError of one problem.
func invalid(field, detail, example string) error {
	return &job.InvalidError{Problems: []job.Problem{{Field: field, Detail: detail, Example: example}}}
}

// clip cuts s to n runes, so that an answer never echoes an unbounded input.
func clip(s string, n int) string {
	short, cut := truncate(s, n)
	if cut {
		return short + "…"
	}
	return short
}

// truncate returns the first n runes of s and whether it left any out.
func truncate(s string, n int) (string, bool) {
	for i := range s {
		if n == 0 {
			return s[:i], true
		}
		n--
	}
	return s, false
}
