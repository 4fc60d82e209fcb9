package client

// Job is what callers show of a job. Times are UTC milliseconds, 0 for none.
type Job struct {
	ID          string   `json:"id"`
	Name        string   `json:"name"`
	Schedule    string   `json:"schedule"`
	Timezone    string   `json:"timezone"`
	Every       int      `json:"every"` // seconds
	At          int64    `json:"at"`
	Enabled     bool     `json:"enabled"`
	PauseReason string   `json:"pauseReason"`
	Channel     string   `json:"channel"`
	ChatID      string   `json:"chatId"`
	ThreadID    string   `json:"threadId"`
	Deliver     string   `json:"deliver"`
	AgentID     string   `json:"agentId"`
	Labels      []string `json:"labels"`
	Task        string   `json:"task"`
	MaxRuns     int      `json:"maxRuns"`
	RunsUsed    int      `json:"runsUsed"`
	Failures    int      `json:"failures"` // in a row
	CreatedAt   int64    `json:"createdAt"`
	UpdatedAt   int64    `json:"updatedAt"`
	MadeBy      string   `json:"madeBy"` // the job in whose run it was made
	LastRunAt   int64    `json:"lastRunAt"`
	LastRunID   string   `json:"lastRunId"`
	LastOutcome string   `json:"lastOutcome"`
	// LastOutcomeSlot is the newest slot that did not run, where LastOutcome is about one.
	LastOutcomeSlot int64    `json:"lastOutcomeSlot"`
	LastDelivery    string   `json:"lastDelivery"` // of the newest reply
	Ended           bool     `json:"ended"`        // no run is to come any more
	NextRunAt       int64    `json:"nextRunAt"`
	NextDueAt       int64    `json:"nextDueAt"`
	Next            []string `json:"next"`      // RFC 3339, UTC
	NextLocal       []string `json:"nextLocal"` // the same in the job's zone
	Description     string   `json:"description"`
	RunID           string   `json:"runId"` // of a run that was just started
}

// Ended is what is left of a job that has had its runs.
type Ended struct {
	ID           string `json:"id"`
	Name         string `json:"name"`
	Runs         int    `json:"runs"`
	MaxRuns      int    `json:"maxRuns"`
	LastRunID    string `json:"lastRunId"`
	LastOutcome  string `json:"lastOutcome"`
	LastDelivery string `json:"lastDelivery"`
	EndedAt      int64  `json:"endedAt"`
}

// Run is what callers show of a run.
type Run struct {
	ID             string     `json:"id"`
	JobID          string     `json:"jobId"`
	JobName        string     `json:"jobName"`
	Trigger        string     `json:"trigger"`
	State          string     `json:"state"`
	Outcome        string     `json:"outcome"`
	Reason         string     `json:"reason"`
	Error          string     `json:"error"`
	Slot           int64      `json:"slot"`
	LastSlot       int64      `json:"lastSlot"`
	Count          int        `json:"count"`
	CreatedAt      int64      `json:"createdAt"`
	NotBefore      int64      `json:"notBefore"`
	StartedAt      int64      `json:"startedAt"`
	FinishedAt     int64      `json:"finishedAt"`
	SessionKey     string     `json:"sessionKey"`
	Attempts       []Attempt  `json:"attempts"`
	Reply          string     `json:"reply"`
	ReplyTruncated bool       `json:"replyTruncated"`
	ReplyDropped   bool       `json:"replyDropped"` // only its beginning is kept
	Empty          bool       `json:"empty"`        // it has no reply, because the agent gave none
	Delivery       string     `json:"delivery"`
	Deliveries     []Delivery `json:"deliveries"`
	AbandonedTurns int        `json:"abandonedTurns"` // that the ai-server may have gone on with
	Note           string     `json:"note"`           // what the API says of that, after a cancel
}

// Attempt is one try at a run.
type Attempt struct {
	N         int    `json:"n"`
	StartedAt int64  `json:"startedAt"`
	EndedAt   int64  `json:"endedAt"`
	Result    string `json:"result"`
	Cause     string `json:"cause"`
	Error     string `json:"error"`
}

// Delivery is one way of a reply, or of an alert, to its chat.
type Delivery struct {
	N          int      `json:"n"`
	Kind       string   `json:"kind"`
	State      string   `json:"state"`
	Error      string   `json:"error"`
	MessageIDs []string `json:"messageIds"`
}

// Ended reports whether nothing more will happen to a run or its delivery.
func (r Run) Ended() bool { return r.State == "done" && r.Delivery != "pending" }

// Status is how a deployment stands.
type Status struct {
	Paused           bool             `json:"paused"`
	PausedSince      int64            `json:"pausedSince"`
	Reason           string           `json:"reason"`
	Health           Health           `json:"health"`
	Jobs             int              `json:"jobs"`
	Due              int              `json:"due"`
	Unfinished       int              `json:"unfinished"`
	CancelledRuns    int              `json:"cancelledRuns"`  // by the pause that was just made
	AbandonedTurns   int              `json:"abandonedTurns"` // of the runs that were cancelled with the pause
	Note             string           `json:"note"`           // what the API says of that
	Repaired         map[string]int64 `json:"repaired"`
	Quarantined      []Quarantined    `json:"quarantined"`
	QuarantinedCount int              `json:"quarantinedCount"`
	// Token is the caller's, whom the numbers are not told; nil for the administrator.
	Token *Token `json:"token"`
}

// Health says what is wrong with a deployment.
type Health struct {
	State   string         `json:"state"` // ok, degraded or failing; "" of an API that does not say
	Reasons []HealthReason `json:"reasons"`
}

// HealthReason is one thing that is not as it should be.
type HealthReason struct {
	Code    string `json:"code"`
	State   string `json:"state"`
	Text    string `json:"text"`
	Since   int64  `json:"since"`
	Late    bool   `json:"late"` // work is late because of it, or missing
	Remedy  string `json:"remedy"`
	Command string `json:"command"` // the remedy for the command line, where that is another
}

// Urgent reports whether somebody should act at once: nothing starts, or work is late.
func (h Health) Urgent() bool {
	for _, r := range h.Reasons {
		if r.State == "failing" || r.Late {
			return true
		}
	}
	return false
}

// Quarantined is a record that cannot be read.
type Quarantined struct {
	Entry  string `json:"entry"`
	Since  int64  `json:"since"`
	Reason string `json:"reason"`
}

// Upcoming is what comes next over all jobs.
type Upcoming struct {
	Upcoming []Slot `json:"upcoming"`
	Paused   bool   `json:"paused"`
}

// Slot is a time at which a job will run.
type Slot struct {
	JobID       string `json:"jobId"`
	Name        string `json:"name"`
	At          int64  `json:"at"`
	DueAt       int64  `json:"dueAt"` // where jitter puts it off
	Timezone    string `json:"timezone"`
	Description string `json:"description"`
}

// ImportReport says what became of the lines of an import.
type ImportReport struct {
	DryRun    bool           `json:"dryRun"`
	Created   int            `json:"created"`
	Updated   int            `json:"updated"`
	Unchanged int            `json:"unchanged"`
	Failed    int            `json:"failed"`
	Problems  []LineProblems `json:"problems"` // of the first lines that failed
}

// LineProblems are those of one line of an import.
type LineProblems struct {
	Line     int       `json:"line"` // from 1
	ID       string    `json:"id"`
	Problems []Problem `json:"problems"`
}

// Token is what callers show of a token of an agent or a session.
type Token struct {
	ID                 string `json:"id"`
	Name               string `json:"name"`
	AgentID            string `json:"agentId"`
	SessionKey         string `json:"sessionKey"`
	Jobs               int    `json:"jobs"` // made with it, and there
	MaxJobs            int    `json:"maxJobs"`
	MinIntervalSeconds int    `json:"minIntervalSeconds"`
	MaxRunsPerDay      int    `json:"maxRunsPerDay"`
	MaxConcurrent      int    `json:"maxConcurrent"`
	LastUsedAt         int64  `json:"lastUsedAt"`
	RevokedAt          int64  `json:"revokedAt"`
	Token              string `json:"token"` // what its holder shows; when it was just made
}
