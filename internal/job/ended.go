package job

import "fmt"

// Ended reports whether a job has no slot left and never will have one: its last slots passed
// without a run, or its endAt is over. It is kept for the retention, counts against no quota
// and is left out of the lists that do not ask for it. A job whose last run is under way has
// not ended yet: a pause may give that run back.
func (j Job) Ended() bool {
	most := j.MaxRuns
	if j.At != 0 {
		most = 1
	}
	return j.Enabled && j.NextSlot == 0 && (most == 0 || j.Claims < most)
}

// GoneError says that a job has had its runs and is deleted since, as it was meant to be. It
// is an ErrNotFound that is known for as long as the job's newest record is kept.
type GoneError struct {
	ID, Name  string
	Runs, Of  int // how often it ran, and was to run
	LastRunID string
	Outcome   Outcome       // of its last run
	Delivery  DeliveryState // of the reply of that run
	At        Millis        // when that run ended
}

func (e *GoneError) Error() string {
	return fmt.Sprintf("%s ran %d of %d times and is gone", e.ID, e.Runs, e.Of)
}

// Unwrap makes it an ErrNotFound.
func (e *GoneError) Unwrap() error { return ErrNotFound }

// Ailing are the jobs that need somebody: what each of them does is on record, and it goes
// on being so.
type Ailing struct {
	// Failing are the jobs whose last runs of the schedule failed, or that were disabled
	// because of it; Undelivered those whose replies do not arrive. The oldest come first.
	Failing, Undelivered []AilingJob
	// FailingCount and UndeliveredCount are how many there are, of the administrator's
	// including the ones not listed.
	FailingCount, UndeliveredCount int
}

// AilingJob is a job that fails, or whose replies do not arrive.
type AilingJob struct {
	ID, Name     string
	Since        Millis
	Failures     int    // in a row
	DisabledAt   Millis // when failures disabled it; 0 if they did not
	PauseReason  string
	LastRunID    string
	LastError    string // of its last run
	LastDelivery DeliveryState
	// LastReplyID is the run whose reply LastDelivery is about, DeliveryError why it did not
	// arrive.
	LastReplyID, DeliveryError string
}
