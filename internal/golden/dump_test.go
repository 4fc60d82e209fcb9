package golden

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/redis/go-redis/v9"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

// entry is a key of Redis. Value is flat, as Redis prints it: fields and values of a hash,
// members and scores of a sorted set; of each entry of a stream its id, how many strings
// follow, and those.
type entry struct {
	Key   text   `json:"key"`
	Type  string `json:"type"`
	TTL   int64  `json:"ttl,omitempty"` // milliseconds that were left; 0 is for ever
	Value []text `json:"value"`
}

// text is a string of Redis. In JSON it is a string, or, where that cannot hold it, an
// object whose latin1 has one character for each byte, so that it can still be read.
type text string

type latin1 struct {
	Latin1 string `json:"latin1"`
}

func (s text) MarshalJSON() ([]byte, error) {
	if utf8.ValidString(string(s)) {
		return encode(string(s))
	}
	wide := make([]rune, len(s))
	for i := range len(s) {
		wide[i] = rune(s[i])
	}
	return encode(latin1{string(wide)})
}

func (s *text) UnmarshalJSON(raw []byte) error {
	if raw[0] != '{' {
		return json.Unmarshal(raw, (*string)(s))
	}
	var wide latin1
	if err := json.Unmarshal(raw, &wide); err != nil {
		return err
	}
	var narrow []byte
	for _, r := range wide.Latin1 {
		narrow = append(narrow, byte(r))
	}
	*s = text(narrow)
	return nil
}

// encode is JSON without the escapes that are for web pages.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// dump reads every key, sorted.
func dump(t *testing.T, rdb *redis.Client) []entry {
	t.Helper()
	keys, err := rdb.Keys(t.Context(), "*").Result()
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(keys)
	var entries []entry
	for _, key := range keys {
		e := entry{Key: text(key), Type: must(rdb.Type(t.Context(), key).Result())(t)}
		if e.Type == "none" {
			continue // it has just run out
		}
		e.TTL = max(0, must(rdb.PTTL(t.Context(), key).Result())(t).Milliseconds())
		for _, s := range contents(t, rdb, e) {
			e.Value = append(e.Value, text(s))
		}
		entries = append(entries, e)
	}
	return entries
}

func contents(t *testing.T, rdb *redis.Client, e entry) (flat []string) {
	t.Helper()
	ctx, key := t.Context(), string(e.Key)
	switch e.Type {
	case "string":
		return []string{must(rdb.Get(ctx, key).Result())(t)}
	case "hash":
		h := must(rdb.HGetAll(ctx, key).Result())(t)
		for _, field := range sortedKeys(h) {
			flat = append(flat, field, h[field])
		}
	case "list":
		return must(rdb.LRange(ctx, key, 0, -1).Result())(t)
	case "set":
		flat = must(rdb.SMembers(ctx, key).Result())(t)
		slices.Sort(flat)
	case "zset":
		for _, z := range must(rdb.ZRangeWithScores(ctx, key, 0, -1).Result())(t) {
			flat = append(flat, z.Member.(string), strconv.FormatFloat(z.Score, 'f', -1, 64))
		}
	case "stream":
		for _, m := range must(rdb.XRange(ctx, key, "-", "+").Result())(t) {
			flat = append(flat, m.ID, strconv.Itoa(2*len(m.Values)))
			for _, field := range sortedKeys(m.Values) {
				flat = append(flat, field, m.Values[field].(string))
			}
		}
	default:
		t.Fatalf("%s is a %s, which no dump has", key, e.Type)
	}
	return flat
}

// load writes a dump into an empty Redis. What had a time to live has what was left of it.
func load(t *testing.T, rdb *redis.Client, entries []entry) {
	t.Helper()
	_, err := rdb.Pipelined(t.Context(), func(p redis.Pipeliner) error {
		for _, e := range entries {
			put(t.Context(), p, e)
			if e.TTL > 0 {
				p.PExpire(t.Context(), string(e.Key), time.Duration(e.TTL)*time.Millisecond)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func put(ctx context.Context, p redis.Pipeliner, e entry) {
	key := string(e.Key)
	values := make([]any, len(e.Value))
	for i, v := range e.Value {
		values[i] = string(v)
	}
	p.Del(ctx, key)
	switch e.Type {
	case "string":
		p.Set(ctx, key, values[0], 0)
	case "hash":
		p.HSet(ctx, key, values...)
	case "list":
		p.RPush(ctx, key, values...)
	case "set":
		p.SAdd(ctx, key, values...)
	case "zset":
		for pair := range slices.Chunk(values, 2) {
			p.Do(ctx, "ZADD", key, pair[1], pair[0])
		}
	case "stream":
		for len(values) > 0 {
			n, _ := strconv.Atoi(values[1].(string))
			p.Do(ctx, append([]any{"XADD", key, values[0]}, values[2:2+n]...)...)
			values = values[2+n:]
		}
	}
}

// find is the dumped key of that name, without the prefix of the deployment.
func find(entries []entry, key string) entry {
	for _, e := range entries {
		if string(e.Key) == prefix+key {
			return e
		}
	}
	return entry{}
}

// fields is a dumped hash.
func (e entry) fields() map[string]string {
	h := map[string]string{}
	for pair := range slices.Chunk(e.Value, 2) {
		h[string(pair[0])] = string(pair[1])
	}
	return h
}

const prefix = "{gateway-cron}:"

// ids are the names of the dumped keys of a kind, such as "job:".
func ids(entries []entry, kind string) (names []string) {
	for _, e := range entries {
		if id, ok := strings.CutPrefix(string(e.Key), prefix+kind); ok {
			names = append(names, id)
		}
	}
	return names
}

// number is a whole number that can be an instant: in seconds, as in the ids of runs, in
// milliseconds, in microseconds, as in the order of lists, or in asynq's nanoseconds.
var number = regexp.MustCompile(`\b(\d{10}|\d{13}|\d{16}|\d{19})\b`)

// quotaDay is the key of the runs of a token on a day, which is counted from the epoch.
var quotaDay = regexp.MustCompile(`(:tokenruns:[a-z0-9]+:)(\d+)$`)

// shift moves every instant of a text by whole minutes. The number of digits stays, and
// with it every length that asynq's messages hold. Instants more than two years away from
// the recording stay: those are no clock's, but what somebody has asked for.
func shift(s string, recorded job.Millis, by time.Duration) string {
	s = number.ReplaceAllStringFunc(s, func(digits string) string {
		n, _ := strconv.ParseInt(digits, 10, 64)
		unit := map[int]time.Duration{10: time.Second, 13: time.Millisecond, 16: time.Microsecond, 19: 1}[len(digits)]
		if away := time.Unix(0, n*int64(unit)).Sub(recorded.Time()).Abs(); away > 2*365*24*time.Hour {
			return digits
		}
		return strconv.FormatInt(n+int64(by/unit), 10)
	})
	return quotaDay.ReplaceAllStringFunc(s, func(key string) string {
		part := quotaDay.FindStringSubmatch(key)
		return part[1] + strconv.FormatInt(recorded.Time().Add(by).Unix()/86400, 10)
	})
}

func shifted(entries []entry, recorded job.Millis, by time.Duration) []entry {
	moved := make([]entry, len(entries))
	for i, e := range entries {
		moved[i] = entry{Key: text(shift(string(e.Key), recorded, by)), Type: e.Type, TTL: e.TTL}
		for _, v := range e.Value {
			moved[i].Value = append(moved[i].Value, text(shift(string(v), recorded, by)))
		}
	}
	return moved
}

func readLines[T any](t *testing.T, path string) (list []T) {
	t.Helper()
	file := must(os.Open(path))(t)
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		var v T
		if err := json.Unmarshal(lines.Bytes(), &v); err != nil {
			t.Fatalf("%s: %v in %s", path, err, lines.Text())
		}
		list = append(list, v)
	}
	if err := lines.Err(); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return list
}

func writeLines[T any](t *testing.T, path string, list []T) {
	t.Helper()
	var b bytes.Buffer
	for _, v := range list {
		b.Write(append(must(encode(v))(t), '\n'))
	}
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

// must is for calls whose failure ends the test.
func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func TestDumpKeepsEveryByte(t *testing.T) {
	for _, s := range []string{"", "plain <&>", "ü\u2028", "\x0a\x08cron:run\x90\x1c\xff", "\xff"} {
		raw := must(text(s).MarshalJSON())(t)
		var back text
		if err := json.Unmarshal(raw, &back); err != nil || string(back) != s {
			t.Errorf("%q is %s in JSON and comes back as %q, %v", s, raw, back, err)
		}
	}
}

func TestShift(t *testing.T) {
	const recorded = job.Millis(1_790_000_000_000)
	for in, want := range map[string]string{
		"a:1790000000":                     "a:1790000060",
		"d:a:1790000000:1":                 "d:a:1790000060:1",
		`{"slot":1790000000123}`:           `{"slot":1790000060123}`,
		"\x12\x0ca:1790000000\"\x05":       "\x12\x0ca:1790000060\"\x05",
		"1790000000123456":                 "1790000060123456",
		"1790000000123456789":              "1790000060123456789",
		"6942000000000":                    "6942000000000", // in 2189
		"ab1790000000":                     "ab1790000000",  // a part of a hash
		"{gateway-cron}:tokenruns:x:20717": fmt.Sprintf("{gateway-cron}:tokenruns:x:%d", 1_790_000_060/86400),
	} {
		if got := shift(in, recorded, time.Minute); got != want {
			t.Errorf("shift of %q is %q, want %q", in, got, want)
		}
	}
}
