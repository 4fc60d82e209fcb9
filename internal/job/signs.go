package job

import "github.com/gatewaycron/gatewaycron/internal/schedule"

// Signs are the signs of life of a deployment, and what in it stands still.
type Signs struct {
	Now       Millis
	Emitter   string    // the scheduler that does the ordinary work; "" if none does
	Looked    Millis    // when a scheduler last looked at what is unfinished; 0 for never
	Processes []Process // by role, host and pid; those of the last hour that did not stop cleanly too
	Emptied   Emptied

	Late      Overdue // slots that are due for a while and that nobody has claimed or settled
	Wake      Overdue // runs and deliveries whose next look is overdue
	Untouched Overdue // runs that may begin and that no worker begins

	Cut Overdue // jobs of whose history or session something went because of a bound in bytes, within a day
}

// Process is the sign of life of a role of a process.
type Process struct {
	Role string `json:"-"` // api, scheduler or worker
	Host string `json:"-"`
	PID  int    `json:"-"` // 0 if a release before this one runs there
	Last Millis `json:"-"` // the last sign of life
	// Alive is false if it ended without saying so, or is cut off from Redis.
	Alive bool `json:"-"`

	// What it says of itself; zero values of a release before this one, and of one that is
	// not alive.
	Version   string `json:"version,omitempty"`
	StartedAt Millis `json:"startedAt,omitempty"`
	Places    int    `json:"places,omitempty"`    // of a worker: how many runs it makes at once
	Taken     int    `json:"taken,omitempty"`     // how many of them are taken
	FullSince Millis `json:"fullSince,omitempty"` // since when all are; 0 if not all are
	// Waiting are the jobs of a worker whose turns have begun and wait for memory, a few of
	// so many; since when the first does.
	Waiting      []string `json:"waiting,omitempty"`
	WaitingCount int      `json:"waitingCount,omitempty"`
	WaitingSince Millis   `json:"waitingSince,omitempty"`
	Parties      []Party  `json:"parties,omitempty"` // of a worker: whom its runs need
	// At is when it said so by its own clock, from which the times here, and those of the
	// parties, are moved to that of Redis when they are read.
	At Millis `json:"at,omitempty"`
}

// Party is how a worker finds somebody outside whom its runs need: the ai-server, or a
// channel.
type Party struct {
	Name    string `json:"name"`              // "ai-server", "telegram"
	Away    string `json:"away,omitempty"`    // why it did not answer when it was last asked how it is; "" if it did
	Since   Millis `json:"since,omitempty"`   // since when that is so
	Missing string `json:"missing,omitempty"` // what it says it lacks, such as the key of a provider
	Partly  bool   `json:"partly,omitempty"`  // it can do something without that

	Failures    int    `json:"failures,omitempty"` // in a row, of real calls
	Error       string `json:"error,omitempty"`    // of the last of them
	LastSuccess Millis `json:"lastSuccess,omitempty"`
	LastFailure Millis `json:"lastFailure,omitempty"`
}

// Emptied says that the records were lost while processes were running: somebody emptied
// Redis, or another one, with other data, took its place.
type Emptied struct {
	At   Millis // when that was seen; 0 for never
	Jobs int    // how many there had been
}

// Overdue counts what should have happened by now.
type Overdue struct {
	Count  int
	Oldest Millis   // since when the oldest one is; 0 without any
	IDs    []string // some of them, the oldest first
}

// Expected is what the absence check knows of a job, which finds its slots by itself.
type Expected struct {
	ID       string
	Enabled  bool
	Newer    bool // written by a newer release: leave it alone
	Spent    bool // it has had its maxRuns
	Timing   schedule.Timing
	Since    Millis // since when it is defined so
	NextSlot Millis
	Look     Millis // its entry in the due index; 0 for none
}

// Trace is what stands about a job besides its own record.
type Trace struct {
	Look      Millis // its entry in the due index; 0 for none
	Emitted   bool   // a carrier of its next slot was put into the queue
	HeldUntil Millis // until when everything was paused, after the last resume; 0 for never
	// Unfinished are its runs without an outcome, the oldest first; Holders are the runs
	// that hold the sessions of those that are parked, by session: one that holds its own
	// waits for a place of its agent.
	Unfinished []Run
	Holders    map[string]string
}
