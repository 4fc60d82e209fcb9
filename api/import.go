package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

const (
	maxImportLines = 10_000
	maxImportBytes = 64 << 20
	// maxLineProblems is how many of the lines that failed an answer speaks of.
	maxLineProblems = 20
	// importTries bounds how often a line is tried whose job comes and goes meanwhile.
	importTries = 5
	// readTimeout ends an import whose client sends nothing more.
	readTimeout = 30 * time.Second
)

// importedJob is what a line says.
type importedJob struct {
	id     string
	madeBy string
	spec   job.Spec
}

// importShape is the shape of a line: a job as it is created, with its id and why it is
// paused.
var importShape = shape[importedJob]{
	fields: append(definitionFields(everyField, func(j *importedJob) *job.Spec { return &j.spec }),
		text("id", `"job_01m83mjkge4cp4pd476svfty9y"`, func(j *importedJob) *string { return &j.id }),
		text("pauseReason", `"on holiday"`, func(j *importedJob) *string { return &j.spec.PauseReason }),
		stored("madeBy", `"morning-summary"`, func(j *importedJob) *string { return &j.madeBy }, readMaker),
		stored("sessionForm", "2", func(j *importedJob) *job.SessionForm { return &j.spec.SessionForm }, readSessionForm),
	),
	readOnly: jobShape.readOnly,
	synonyms: jobShape.synonyms,
	example:  `{"id":"morning-mail","schedule":"0 9 * * 1-5","timezone":"Europe/Berlin","task":"Summarise my unread mail"}`,
}

func readSessionForm(raw json.RawMessage) (job.SessionForm, string) {
	n, problem := readWhole(raw, int(job.FormerSession), int(job.TodaysSession))
	return job.SessionForm(n), problem
}

func readMaker(raw json.RawMessage) (string, string) {
	var id string
	if json.Unmarshal(raw, &id) != nil {
		return "", "must be a string, not " + kindOf(raw)
	}
	if id != "" && !job.ValidID(id) {
		return "", "must be the id of a job"
	}
	return id, ""
}

// importReport says what became of the lines.
type importReport struct {
	DryRun    bool `json:"dryRun,omitempty"` // nothing was changed: it is what would become of them
	Created   int  `json:"created"`
	Updated   int  `json:"updated"`
	Unchanged int  `json:"unchanged"`
	Failed    int  `json:"failed"`
	// Problems are those of the first lines that failed.
	Problems []lineProblems `json:"problems"`
}

type lineProblems struct {
	Line     int           `json:"line"` // from 1
	ID       string        `json:"id,omitempty"`
	Problems []job.Problem `json:"problems"`
}

// importOutcome is what became of one line.
type importOutcome int

const (
	importCreated importOutcome = iota
	importUpdated
	importUnchanged
)

// importJobs makes the deployment's jobs of the lines' ids what the lines say, one after
// the other and each in one step. A line that is not accepted keeps no other from being
// imported. Sent again, it changes nothing more, so that one that was broken off is
// simply repeated.
func (s *server) importJobs(w http.ResponseWriter, r *http.Request) error {
	if run := job.OriginOf(r.Context()).Run; run != "" {
		return &job.InRunError{Code: job.NoImport, Run: run}
	}
	dryRun, err := readFlag(r, "dryRun")
	if err != nil {
		return err
	}
	if err := checkLinesType(r); err != nil {
		return err
	}
	if r.ContentLength > maxImportBytes {
		return errImportTooLarge
	}
	leave, err := s.last(r)
	if err != nil {
		return err
	}
	defer leave()

	body := patientBody{r.Body, http.NewResponseController(w)}
	in := newLineReader(http.MaxBytesReader(w, body, maxImportBytes), int(s.MaxBodyBytes))
	report := importReport{DryRun: dryRun, Problems: []lineProblems{}}
	taken := map[string]int{} // id to its line
	for lines := 0; ; {
		line, err := in.next()
		switch _, tooLarge := errors.AsType[*http.MaxBytesError](err); {
		case errors.Is(err, io.EOF):
			if !dryRun {
				s.Logger.InfoContext(r.Context(), "jobs imported", "request_id", requestID(r), "created", report.Created,
					"updated", report.Updated, "unchanged", report.Unchanged, "failed", report.Failed)
			}
			return writeJSON(w, http.StatusOK, report)
		case tooLarge:
			return errImportTooLarge
		case err != nil && !errors.Is(err, errLongLine):
			return &apiError{status: http.StatusBadRequest, detail: "The body could not be read to its end. What came before is imported; send it again."}
		case err == nil && len(line) == 0:
			continue
		}
		if lines++; lines > maxImportLines {
			return errImportTooLarge
		}
		select {
		case <-s.Stopping:
			return &apiError{status: http.StatusServiceUnavailable, detail: "The server is stopping. What came before is imported; send it again."}
		default:
		}
		var id string
		var outcome importOutcome
		if err == nil {
			outcome, id, err = s.importLine(r.Context(), line, in.n, taken, dryRun)
		}
		if err := report.note(outcome, in.n, id, err); err != nil {
			return err
		}
	}
}

var errImportTooLarge = &apiError{status: http.StatusRequestEntityTooLarge,
	detail: fmt.Sprintf("An import has at most %d lines and %d MiB. If some of it was taken already, sending that again does no harm: split it, and send the parts one after the other.", maxImportLines, maxImportBytes>>20)}

// note counts what became of a line. It returns an error that is not the line's own.
func (p *importReport) note(outcome importOutcome, line int, id string, err error) error {
	var found []job.Problem
	switch invalid, refused := errors.AsType[*job.InvalidError](err); {
	case refused:
		found = invalid.Problems
	case errors.Is(err, errLongLine):
		found = []job.Problem{{Field: "line", Detail: err.Error()}}
	case errors.Is(err, job.ErrConflict), errors.Is(err, job.ErrNewerVersion):
		found = []job.Problem{{Field: "id", Detail: toProblem(err).Detail}}
	case err != nil:
		return err
	case outcome == importCreated:
		p.Created++
		return nil
	case outcome == importUpdated:
		p.Updated++
		return nil
	default:
		p.Unchanged++
		return nil
	}
	if p.Failed++; p.Failed <= maxLineProblems {
		p.Problems = append(p.Problems, lineProblems{Line: line, ID: id, Problems: found})
	}
	return nil
}

// importLine makes of one line what it says. What is wrong with the line itself is a
// *job.InvalidError.
func (s *server) importLine(ctx context.Context, line []byte, n int, taken map[string]int, dryRun bool) (importOutcome, string, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	in, j, err := readLine(line)
	if err != nil {
		return 0, "", err
	}
	if !job.ValidID(j.id) {
		found := job.Problem{Field: "id", Detail: "is required: up to 64 lower-case letters, digits, - or _, with a letter or digit first", Example: `"morning-mail"`}
		return 0, "", in.check(append([]job.Problem{found}, s.lineProblems(j.spec)...))
	}
	if len(in.problems) > 0 {
		return 0, j.id, in.check(s.lineProblems(j.spec))
	}
	if first := taken[j.id]; first > 0 {
		return 0, j.id, invalid("id", fmt.Sprintf("is on line %d already; a job has one line", first), "")
	}
	taken[j.id] = n
	var outcome importOutcome
	if dryRun {
		outcome, err = s.tryJob(ctx, in, j)
	} else {
		outcome, err = s.putJob(ctx, in, j)
	}
	return outcome, j.id, err
}

// readLine decodes a line. It returns an error when it is no such object at all.
func readLine(line []byte) (*input[importedJob], importedJob, error) {
	j := importedJob{spec: job.Spec{Enabled: true}}
	in, err := decodeObject(line, importShape, nullIsAbsent)
	if err != nil {
		return nil, j, err
	}
	in.apply(&j)
	j.spec = normalised(j.spec)
	if j.spec.SessionForm == 0 && formerExport(in.sent) {
		j.spec.SessionForm = job.FormerSession
	}
	return in, j, nil
}

// formerExport reports whether the line of these fields was exported when session keys had
// one form and no line named it: an export names every policy, and hardly anybody else does.
func formerExport(sent map[string]string) bool {
	for _, name := range []string{"enabled", "misfire", "misfireGraceSeconds", "overlap", "timeoutSeconds", "onAmbiguous",
		"deliver", "maxRetries", "context"} {
		if sent[name] == "" {
			return false
		}
	}
	return true
}

// lineProblems is everything that is wrong with the definition of a line. What a release before
// this one took comes back with its export.
func (s *server) lineProblems(spec job.Spec) []job.Problem {
	found := slices.DeleteFunc(s.problems(spec), job.Problem.TakenBefore)
	for i := range found {
		if found[i].Field == "reason" {
			found[i].Field = "pauseReason"
		}
	}
	if spec.Enabled && spec.PauseReason != "" {
		found = append(found, job.Problem{Field: "pauseReason", Detail: "is for a job that is not enabled: leave it out, or send enabled false"})
	}
	return found
}

// errUnchanged keeps an edit that changes nothing from being written.
var errUnchanged = errors.New("unchanged")

// putJob creates or updates a job.
func (s *server) putJob(ctx context.Context, in *input[importedJob], j importedJob) (importOutcome, error) {
	refused := in.check(s.lineProblems(j.spec))
	for range importTries {
		_, err := s.Jobs.UpdateJob(ctx, j.id, func(before job.Spec) (job.Spec, error) {
			// A job as it stands passes, even one that today's rules would refuse.
			after := j.spec.EditOf(before)
			if sameDefinition(j.id, before, after) {
				return job.Spec{}, errUnchanged
			}
			return after, refused
		})
		switch {
		case err == nil:
			return importUpdated, nil
		case errors.Is(err, errUnchanged):
			return importUnchanged, nil
		case refused != nil:
			return 0, refused
		case !errors.Is(err, job.ErrNotFound):
			return 0, in.respell(err)
		}
		from := job.WithOrigin(ctx, job.Origin{MadeBy: j.madeBy})
		if _, err := s.Jobs.CreateJob(from, j.id, j.spec); !errors.Is(err, job.ErrExists) {
			return importCreated, in.respell(err)
		}
	}
	return 0, fmt.Errorf("import job %s: %w", j.id, job.ErrConflict)
}

// tryJob says what putJob would do. What the store refuses is looked for here, by the
// clock of this process.
func (s *server) tryJob(ctx context.Context, in *input[importedJob], j importedJob) (importOutcome, error) {
	before, err := s.Jobs.Job(ctx, j.id)
	known := err == nil
	switch {
	case known && sameDefinition(j.id, before.Spec, j.spec.EditOf(before.Spec)):
		return importUnchanged, nil
	case !known && !errors.Is(err, job.ErrNotFound):
		return 0, err
	}
	found := s.lineProblems(j.spec)
	claimed := known && j.spec.At != 0 && j.spec.At == before.At && before.Enabled && before.NextSlot == 0
	if !known || !claimed && !j.spec.SameSlots(before.Spec) {
		found = append(found, s.noSlotLeft(j)...)
	}
	if known && j.spec.MaxRuns > 0 && j.spec.MaxRuns != before.MaxRuns && j.spec.MaxRuns <= before.Claims {
		found = append(found, job.Problem{Field: "maxRuns", Detail: fmt.Sprintf("must be more than the %d runs the job has had", before.Claims)})
	}
	if err := in.check(found); err != nil {
		return 0, err
	}
	if known {
		return importUpdated, nil
	}
	return importCreated, nil
}

// noSlotLeft says why a job could never run, if its times are over.
func (s *server) noSlotLeft(j importedJob) []job.Problem {
	now := s.Now()
	tt, err := s.schedules.Timetable(j.spec.Timing(j.id, j.spec.AnchorAt(now)))
	if err != nil || !j.spec.Enabled {
		return nil
	}
	_, more := tt.Next(now)
	switch {
	case more:
		return nil
	case j.spec.At != 0:
		return []job.Problem{{Field: "at", Detail: "is over already"}}
	case j.spec.EndAt != 0:
		return []job.Problem{{Field: "endAt", Detail: "leaves no slot to run"}}
	default:
		return nil
	}
}

// sameDefinition reports whether two definitions of the job of that id do the same.
func sameDefinition(id string, a, b job.Spec) bool {
	x, errA := lineOf(id, "", a)
	y, errB := lineOf(id, "", b)
	return errA == nil && errB == nil && bytes.Equal(x, y)
}

// checkLinesType refuses the types that any web page can send anywhere.
func checkLinesType(r *http.Request) error {
	contentType := r.Header.Get("Content-Type")
	if contentType == "" {
		return nil
	}
	if media, _, err := mime.ParseMediaType(contentType); err == nil {
		switch media {
		case ndjson, "application/ndjson", "application/jsonl", "application/x-jsonlines", "application/json":
			return nil
		}
	}
	return &apiError{status: http.StatusUnsupportedMediaType, detail: "The body must be one job a line, each a JSON object, sent with the header Content-Type: " + ndjson + "."}
}

// patientBody lets a body take its time as long as something comes: an import of many
// jobs outlasts the server's limit for a whole request.
type patientBody struct {
	io.ReadCloser
	control *http.ResponseController
}

func (b patientBody) Read(p []byte) (int, error) {
	_ = b.control.SetReadDeadline(time.Now().Add(readTimeout)) // where there are deadlines
	return b.ReadCloser.Read(p)
}

// errLongLine says that a line was left out because of its length.
var errLongLine = errors.New("is too long: it may have as many bytes as a request that creates one job")

// lineReader reads lines of bounded length.
type lineReader struct {
	r    *bufio.Reader
	most int // bytes of a line, without its end
	buf  []byte
	n    int // number of the line read last, from 1
}

func newLineReader(r io.Reader, most int) *lineReader {
	return &lineReader{r: bufio.NewReader(r), most: most}
}

// next returns the next line without the space around it, valid until the next call. It
// returns errLongLine for a line that is too long, which is left out, and io.EOF at the
// end. A last line needs no line feed.
func (l *lineReader) next() ([]byte, error) {
	l.buf = l.buf[:0]
	begun, long := false, false
	for {
		part, err := l.r.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) && !errors.Is(err, io.EOF) {
			return nil, err // what came of the line may be half of it
		}
		begun = begun || len(part) > 0
		content := bytes.TrimSuffix(part, []byte{'\n'})
		if long = long || len(l.buf)+len(content) > l.most; !long {
			l.buf = append(l.buf, content...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case !begun:
			return nil, io.EOF
		}
		l.n++
		if long {
			return nil, errLongLine
		}
		return bytes.TrimSpace(l.buf), nil
	}
}
