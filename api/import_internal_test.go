package api

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

// TestEveryFieldIsExported: whatever can be defined of a job goes through an export and
// an import, what will be added to it later too.
func TestEveryFieldIsExported(t *testing.T) {
	for name, spec := range map[string]job.Spec{
		"everything": {
			Labels: []string{"team:ops", "x"}, Name: "n <&> \u2028", Schedule: "0 9 * * 1-5", Timezone: "Europe/Berlin", EverySeconds: 60, At: 1806231600000,
			StartAt: 1806231601000, EndAt: 1806231602000, JitterSeconds: 3, Enabled: true, Task: "line\nline \"x\" ☀️",
			AgentID: "a", SessionKey: "s", Model: "m", Effort: "low", Channel: "telegram", ChatID: "-100", PeerID: "2", ThreadID: "3",
			IsGroup: new(false), MaxRuns: 4, Misfire: job.MisfireRunAll, MisfireGraceSeconds: 65, Overlap: job.OverlapAllow,
			TimeoutSeconds: 7, OnAmbiguous: job.OnAmbiguousFail, Deliver: job.DeliverNever, MaxRetries: new(0), RetryDelaysSeconds: []int{5, 6},
			Context: job.ContextIsolated, AllowScheduling: true, PauseReason: "on holiday", SessionForm: job.TodaysSession,
			AlertChannel: "slack", AlertChatID: "C1", AlertThreadID: "4", AlertAfter: 5, AlertCooldownSeconds: 60,
		},
		"paused, with defaults": {Schedule: "0 0 * * *", Task: "x", PauseReason: "on holiday",
			Misfire: job.MisfireRunOnce, MisfireGraceSeconds: 3600, Overlap: job.OverlapSkip, TimeoutSeconds: 900,
			OnAmbiguous: job.OnAmbiguousRetry, Deliver: job.DeliverAlways, MaxRetries: new(3), Context: job.ContextSession, SessionForm: job.TodaysSession},
		"with a session of the former form": {Schedule: "0 0 * * *", Task: "x", Channel: "telegram", ChatID: "-100", ThreadID: "3",
			SessionForm: job.FormerSession,
			Misfire:     job.MisfireRunOnce, MisfireGraceSeconds: 3600, Overlap: job.OverlapSkip, TimeoutSeconds: 900,
			OnAmbiguous: job.OnAmbiguousRetry, Deliver: job.DeliverAlways, MaxRetries: new(3), Context: job.ContextSession},
	} {
		line, err := lineOf("a", "by", spec)
		if err != nil || bytes.Count(line, []byte("\n")) != 1 || line[len(line)-1] != '\n' {
			t.Fatalf("%s: %q %v", name, line, err)
		}
		in, got, err := readLine(line)
		if err != nil || len(in.problems) > 0 || got.id != "a" || got.madeBy != "by" {
			t.Fatalf("%s: %q: %v %v", name, line, err, in.problems)
		}
		if d := cmp.Diff(spec, got.spec); d != "" {
			t.Errorf("%s (-exported +imported):\n%s", name, d)
		}
		if name != "everything" {
			continue
		}
		v := reflect.ValueOf(spec)
		for i := range v.NumField() {
			if name := v.Type().Field(i).Name; name == "Session" {
				continue // a line has its form
			}
			if v.Field(i).IsZero() {
				t.Errorf("%s is not tested", v.Type().Field(i).Name)
			}
		}
	}
}

func TestSameDefinition(t *testing.T) {
	plain := job.Spec{Schedule: "0 9 * * *", Task: "x", Channel: "telegram", ChatID: "1", ThreadID: "2"}
	for name, tt := range map[string]struct {
		change func(*job.Spec)
		same   bool
	}{
		"the same":               {func(*job.Spec) {}, true},
		"a default, spelled out": {func(s *job.Spec) { s.Misfire, s.MaxRetries = job.MisfireRunOnce, new(3) }, true},
		"another policy":         {func(s *job.Spec) { s.Misfire = job.MisfireSkip }, false},
		"a zone":                 {func(s *job.Spec) { s.Timezone = "UTC" }, false},
		"no retries":             {func(s *job.Spec) { s.MaxRetries = new(0) }, false},
		"group, or unknown":      {func(s *job.Spec) { s.IsGroup = new(false) }, false},
		"enabled":                {func(s *job.Spec) { s.Enabled = true }, false},
		"the session made of it": {func(s *job.Spec) { s.Session = s.ResolveSession("a") }, true},
		"the one made formerly":  {func(s *job.Spec) { s.SessionForm = job.FormerSession }, false},
		"a reason":               {func(s *job.Spec) { s.PauseReason = "r" }, false},
	} {
		changed := plain
		tt.change(&changed)
		if got := sameDefinition("a", plain, changed); got != tt.same {
			t.Errorf("%s: same is %v", name, got)
		}
	}
}

// FuzzImportLine: what is accepted of a line is what the line of it says.
func FuzzImportLine(f *testing.F) {
	for _, seed := range []string{
		`{"id":"a","schedule":"@daily","task":"x"}`,
		`{"id":"a","schedule":" 0  9 * * 1-5","task":"x","pause_reason":"r","enabled":false,"is_group":null,"maxRetries":0}`,
		`{"id":"a","every":90,"at":"2027-03-28T12:00:00+01:00","startAt":1806231600001,"retryDelaysSeconds":[1,2],"jitterSeconds":0}`,
		`{"id":"a","every":90,"channel":"telegram","chatId":"-1","threadId":"2","sessionForm":1}`,
		`{"id":"a","enabled":true,"misfire":"","misfireGraceSeconds":60,"overlap":"","timeoutSeconds":1,"onAmbiguous":"","deliver":"","maxRetries":0,"context":"","channel":"whatsapp","chatId":"1@g.us"}`,
		`{"id":"a","every":90,"task":"x","made_by":"b"}`, `{"id":"a","every":90,"task":"x","madeBy":"B:1"}`,
		`{"id":1,"chatId":-100,"misfire":"z","context":"","timezone":"Mars"}`, `{}`, `[`, ``, "\xef\xbb\xbf{}",
		`{"id":"a","startAt":"1970-01-01T00:00:01Z","endAt":"2199-12-31T23:59:59.5-01:00"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		in, j, err := readLine(line)
		if err != nil || len(in.problems) > 0 {
			return
		}
		once, err := lineOf(j.id, j.madeBy, j.spec)
		if err != nil {
			t.Fatal(err)
		}
		in, again, err := readLine(once)
		if err != nil || len(in.problems) > 0 {
			t.Fatalf("%q is exported as %q, which is refused: %v %v", line, once, err, in)
		}
		if twice, err := lineOf(again.id, again.madeBy, again.spec); err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("%q is exported as %q, and that as %q: %v", line, once, twice, err)
		}
	})
}

// FuzzLines compares the reader with the plain way, which holds all in memory.
func FuzzLines(f *testing.F) {
	for _, seed := range []string{"", "\n", "a", "a\n", "a\nbb\n\n ccc \r\n", strings.Repeat("x", 40) + "\ny", strings.Repeat("x", 20) + "\n" + strings.Repeat("y", 21)} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		const most = 20
		var want []string
		for line := range bytes.Lines(body) {
			line = bytes.TrimSuffix(line, []byte("\n"))
			if len(line) > most {
				want = append(want, "too long")
			} else {
				want = append(want, string(bytes.TrimSpace(line)))
			}
		}
		// A buffer of 16 bytes, the least there is, so that lines are put together.
		in := &lineReader{r: bufio.NewReaderSize(iotest.HalfReader(bytes.NewReader(body)), 16), most: most}
		var got []string
		for {
			line, err := in.next()
			if errors.Is(err, io.EOF) {
				break
			}
			switch {
			case errors.Is(err, errLongLine):
				got = append(got, "too long")
			case err != nil:
				t.Fatal(err)
			default:
				got = append(got, string(line))
			}
			if in.n != len(got) || cap(in.buf) > 4*most {
				t.Fatalf("line %d is called %d, with %d bytes in memory", len(got), in.n, cap(in.buf))
			}
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Fatal(d)
		}
	})
}

func TestABrokenLineIsNotRead(t *testing.T) {
	in := newLineReader(io.MultiReader(strings.NewReader("a\n{}"), iotest.ErrReader(io.ErrUnexpectedEOF)), 100)
	if line, err := in.next(); string(line) != "a" || err != nil {
		t.Errorf("%q %v", line, err)
	}
	if line, err := in.next(); line != nil || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%q %v", line, err)
	}
}
