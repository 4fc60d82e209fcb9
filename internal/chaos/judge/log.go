// Package judge decides whether a deployment that was killed, frozen and cut off
// kept its promises. It owns the expected slots, the comparison of the history
// with what arrived outside, and the table and the stories that tell of it.
//
// It must not import anything of ours: it reads files of JSON lines, which hold
// what the API answers, what the ai-server and the channels wrote down, and what
// was done to the processes. Instants are unix milliseconds.
package judge

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// The files of a log, in its directory; one JSON value a line.
const (
	JobsFile     = "jobs.jsonl"     // Job
	RunsFile     = "runs.jsonl"     // Run, as the API answers it
	SessionsFile = "sessions.jsonl" // Session, as the API answers it
	CallsFile    = "ai.jsonl"       // Call, and an End of the same number
	MessagesFile = "channel.jsonl"  // Message, and an End of the same number
	TroublesFile = "troubles.jsonl" // Trouble
	CancelsFile  = "cancels.jsonl"  // Cancel
)

// Log is everything that is known of a run of the suite.
type Log struct {
	Jobs     []Job
	Runs     []Run
	Sessions []Session
	Calls    []Call
	Messages []Message
	Troubles []Trouble
	Cancels  []Cancel
	Until    int64 // when the history was read
}

// Job is what was asked for, as data: its policies decide what is expected.
type Job struct {
	ID          string       `json:"id"`
	Name        string       `json:"name"`
	Definitions []Definition `json:"definitions"` // in order; the first is the creation
	Misfire     string       `json:"misfire"`
	GraceMillis int64        `json:"graceMillis"`
	Overlap     string       `json:"overlap"`
	OnAmbiguous string       `json:"onAmbiguous"`
	Deliver     string       `json:"deliver,omitempty"`
	MaxRetries  int          `json:"maxRetries"`
	// Isolated: each run begins with nothing, and the session holds the last one alone.
	Isolated bool `json:"isolated,omitempty"`
	MaxRuns  int  `json:"maxRuns,omitempty"`
	// JitterMillis bounds the job's share of jitter, which the API has told.
	JitterMillis int64  `json:"jitterMillis,omitempty"`
	ShareMillis  int64  `json:"shareMillis,omitempty"`
	Channel      string `json:"channel,omitempty"`
	ChatID       string `json:"chatId,omitempty"`
	Listed       bool   `json:"listed"`           // the API still lists it at the end
	Manual       int    `json:"manual,omitempty"` // how often a manual run may have been started
	// Started has the ids of the manual runs that were acknowledged.
	Started []string `json:"started,omitempty"`
}

// Definition is in force from some instant after Sent, when it was asked for, and
// not after Acked, when that was confirmed, until the next one is.
type Definition struct {
	Sent     int64  `json:"sent"`
	Acked    int64  `json:"acked"`
	Schedule string `json:"schedule,omitempty"`
	Zone     string `json:"zone,omitempty"`
	// Every, in milliseconds and counted from StartAt, or At stands instead of Schedule.
	Every   int64  `json:"every,omitempty"`
	At      int64  `json:"at,omitempty"`
	StartAt int64  `json:"startAt,omitempty"`
	EndAt   int64  `json:"endAt,omitempty"`
	Enabled bool   `json:"enabled"`
	Deleted bool   `json:"deleted,omitempty"`
	Task    string `json:"task"`
}

// Run is a record of the history.
type Run struct {
	ID         string     `json:"id"`
	JobID      string     `json:"jobId"`
	Trigger    string     `json:"trigger"`
	State      string     `json:"state"`
	Outcome    string     `json:"outcome"`
	Reason     string     `json:"reason"`
	Error      string     `json:"error"`
	Slot       int64      `json:"slot"`
	LastSlot   int64      `json:"lastSlot"`
	Count      int        `json:"count"`
	CreatedAt  int64      `json:"createdAt"`
	StartedAt  int64      `json:"startedAt"`
	FinishedAt int64      `json:"finishedAt"`
	SessionKey string     `json:"sessionKey"`
	Attempts   []Attempt  `json:"attempts"`
	Reply      string     `json:"reply"`
	Empty      bool       `json:"empty"`
	Delivery   string     `json:"delivery"`
	Deliveries []Delivery `json:"deliveries"`
}

// Attempt is one try at a run, as it is on record.
type Attempt struct {
	N         int    `json:"n"`
	Worker    string `json:"worker"`
	StartedAt int64  `json:"startedAt"`
	EndedAt   int64  `json:"endedAt"`
	Result    string `json:"result"`
	Cause     string `json:"cause"`
	Error     string `json:"error"`
}

// Delivery is one way of a message to its chat, as it is on record.
type Delivery struct {
	N          int      `json:"n"`
	Kind       string   `json:"kind"` // reply, or alert: that the run failed
	State      string   `json:"state"`
	Attempts   int      `json:"attempts"`
	Parts      int      `json:"parts"`
	MessageIDs []string `json:"messageIds"`
	Error      string   `json:"error"`
}

// Session is the transcript that the product keeps.
type Session struct {
	Key      string `json:"key"`
	Messages []struct {
		Role  string `json:"role"`
		Text  string `json:"text"`
		RunID string `json:"runId"`
	} `json:"messages"`
}

// How a request to the outside was answered.
const (
	HowOK      = "ok"      // as it should be
	HowRefused = "refused" // by an HTTP status
	HowEmpty   = "empty"   // by 200 and a reply without a text: the turn has ended
	HowGarbled = "garbled" // by 200 and something that is no reply
	HowReset   = "reset"   // the connection was cut, before the answer or within it
	HowHungUp  = "hung_up" // whoever asked had gone
)

// Call is a request that arrived at the ai-server.
type Call struct {
	N       int      `json:"n"`
	At      int64    `json:"at"`
	Process string   `json:"process"` // <name>.<incarnation>
	Run     string   `json:"run"`     // the idempotency key
	Session string   `json:"session"`
	Task    string   `json:"task"`
	Nonce   string   `json:"nonce"` // in the reply to this call alone
	Kept    bool     `json:"kept"`  // the ai-server keeps this session itself
	Heard   []string `json:"heard"` // the nonces in the transcript that was sent along

	EndedAt int64  `json:"-"` // 0: never
	How     string `json:"-"`
}

// Message is a request that arrived at a channel.
type Message struct {
	N         int    `json:"n"`
	At        int64  `json:"at"`
	Process   string `json:"process"`
	Channel   string `json:"channel"`
	ChatID    string `json:"chatId"`
	Key       string `json:"key,omitempty"` // <run>:<n>:<part>, or of an alert any, where the channel has such keys
	MessageID string `json:"messageId"`
	Nonce     string `json:"nonce"`
	// Alert says that it brings no reply but tells of trouble, or that it is over; its nonce
	// is its text.
	Alert bool `json:"alert,omitempty"`
	// The lines of the reply that are in it, counted from 1, and how many the reply has.
	First int `json:"first"`
	Last  int `json:"last"`
	Lines int `json:"lines"`
	// Delivered says that it is in the chat, whatever the channel then answered.
	Delivered bool `json:"delivered"`

	EndedAt int64  `json:"-"`
	How     string `json:"-"`
}

// End is how a request was answered.
type End struct {
	End int    `json:"end"` // the number of the request
	At  int64  `json:"at"`
	How string `json:"how"`
}

// What was done to a process or a link.
const (
	Killed  = "killed"
	Crashed = "crashed" // at a crash point
	Stopped = "stopped" // in order
	Frozen  = "frozen"
	Cut     = "cut" // from Redis
	// FullDisk: Redis found no room for what it was to write.
	FullDisk = "full disk"
	// Clock: the clock of Redis was wrong.
	Clock = "clock"
	// Rules: the processes came to read other rules of a zone, those of the zone Detail from
	// then on.
	Rules = "rules"
)

// Trouble is something that was done to a process, from From to To.
type Trouble struct {
	Kind    string `json:"kind"`
	Process string `json:"process"` // <name>.<incarnation>, or <name> for all of them; of Rules, the zone
	From    int64  `json:"from"`
	To      int64  `json:"to"`
	Detail  string `json:"detail,omitempty"` // the crash point, the direction of a cut, how wrong a clock was
}

// Cancel is the wish that a run ends.
type Cancel struct {
	Run   string `json:"run"`
	Asked int64  `json:"asked"`
	Acked int64  `json:"acked,omitempty"` // 0: it was refused, or nobody heard the answer
}

// Read reads the log in dir; until is when the history was read.
func Read(dir string, until int64) (Log, error) {
	l := Log{Until: until}
	var callEnds, messageEnds []End
	for _, f := range []struct {
		name string
		add  func(line []byte) error
	}{
		{JobsFile, appendTo(&l.Jobs)},
		{RunsFile, appendTo(&l.Runs)},
		{SessionsFile, appendTo(&l.Sessions)},
		{CallsFile, requestOrEnd(appendTo(&l.Calls), appendTo(&callEnds))},
		{MessagesFile, requestOrEnd(appendTo(&l.Messages), appendTo(&messageEnds))},
		{TroublesFile, appendTo(&l.Troubles)},
		{CancelsFile, appendTo(&l.Cancels)},
	} {
		if err := eachLine(filepath.Join(dir, f.name), f.add); err != nil {
			return Log{}, err
		}
	}
	calls := map[int]*Call{}
	for i := range l.Calls {
		calls[l.Calls[i].N] = &l.Calls[i]
	}
	for _, e := range callEnds {
		if c := calls[e.End]; c != nil {
			c.EndedAt, c.How = e.At, e.How
		}
	}
	messages := map[int]*Message{}
	for i := range l.Messages {
		messages[l.Messages[i].N] = &l.Messages[i]
	}
	for _, e := range messageEnds {
		if m := messages[e.End]; m != nil {
			m.EndedAt, m.How = e.At, e.How
		}
	}
	return l, nil
}

func appendTo[T any](list *[]T) func([]byte) error {
	return func(line []byte) error {
		var v T
		if err := json.Unmarshal(line, &v); err != nil {
			return fmt.Errorf("%w in %.200s", err, line)
		}
		*list = append(*list, v)
		return nil
	}
}

func requestOrEnd(request, end func([]byte) error) func([]byte) error {
	return func(line []byte) error {
		if strings.HasPrefix(string(line), `{"end":`) {
			return end(line)
		}
		return request(line)
	}
}

// eachLine gives every line of a file to add; a file that is not there has none.
func eachLine(path string, add func([]byte) error) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the log: %w", err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		if err := add(lines.Bytes()); err != nil {
			return fmt.Errorf("read %s: %w", path, err)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return nil
}
