package api

import (
	"encoding/json"
	"errors"
	"reflect"
	"testing"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

// FuzzDecodeJob checks that whatever is sent is either refused with a bounded
// list of problems or understood completely: as encoding/json understands it,
// and with nothing left over.
func FuzzDecodeJob(f *testing.F) {
	for _, seed := range []string{
		`{"schedule":"0 9 * * 1-5","agent_id":"main","session_key":"agent:main:telegram:dm:123","channel":"telegram","chat_id":"123","peer_id":"123","is_group":false,"task":"Morning summary"}`,
		`{"schedule":"*/5 * * * *","timezone":"Europe/Berlin","task":"x","maxRuns":3,"model":null,"reasoningEffort":"low"}`,
		`{"chatId":-100123,"chat_id":null}`,
		`{"maxRuns":1e3,"timeoutSeconds":-0,"enabled":"true"}`,
		`{"n\u0061me":"a","name":"b","\ud800":1}`,
		`{"a":{"b":[1,2,{}]}} `,
		`[]`, `null`, `"`, `{`, `{}{}`, "\xff", ``,
	} {
		f.Add([]byte(seed), true)
		f.Add([]byte(seed), false)
	}
	f.Fuzz(func(t *testing.T, body []byte, edit bool) {
		nulls := nullIsAbsent
		if edit {
			nulls = nullClears
		}
		in, err := decodeObject(body, namedJobShape, nulls)
		if err == nil {
			err = in.check(nil)
		}
		if err != nil {
			var invalid *job.InvalidError
			if !errors.As(err, &invalid) || len(invalid.Problems) == 0 || len(invalid.Problems) > maxDecodeProblems {
				t.Fatalf("refused with %v", err)
			}
			if detail := summary(invalid.Problems); len(detail) > 2000 {
				t.Fatalf("detail of %d bytes", len(detail))
			}
			return
		}

		var plain map[string]json.RawMessage
		if err := json.Unmarshal(body, &plain); err != nil {
			t.Fatalf("accepted what is no JSON object: %v", err)
		}
		if len(plain) != len(in.sent) {
			t.Fatalf("%d fields in, %d understood", len(plain), len(in.sent))
		}
		var once, twice namedJob
		in.apply(&once)
		in.apply(&twice)
		in.apply(&twice)
		if !reflect.DeepEqual(once, twice) {
			t.Fatalf("applied twice it is %+v, once %+v", twice, once)
		}
		var task string
		if raw, ok := plain["task"]; ok && json.Unmarshal(raw, &task) == nil && once.Task != task {
			t.Fatalf("task = %q, want %q", once.Task, task)
		}
		if once.MaxRuns < 0 || once.TimeoutSeconds < 0 || once.MisfireGraceSeconds < 0 {
			t.Fatalf("a negative number was accepted: %+v", once)
		}
	})
}

// FuzzDistance holds the properties of a distance that hints rely on.
func FuzzDistance(f *testing.F) {
	f.Add("shedule", "schedule")
	f.Add("", "task")
	f.Fuzz(func(t *testing.T, a, b string) {
		a, b = fold(a), fold(b)
		d := distance(a, b)
		if d != distance(b, a) || (d == 0) != (a == b) || d > max(len(a), len(b)) || d < max(len(a), len(b))-min(len(a), len(b)) {
			t.Fatalf("distance(%q, %q) = %d, the other way round %d", a, b, d, distance(b, a))
		}
	})
}
