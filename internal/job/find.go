package job

import (
	"strings"
	"time"
)

// The types below say which records a list is asked for, and what a look ahead found.

// JobFilter picks jobs that are all it says; a zero field says nothing.
type JobFilter struct {
	Enabled *bool
	AgentID string // as ResolveAgent returns it
	// SessionKey is as ResolveSession returns it, so that the jobs whose key was derived
	// are found too.
	SessionKey  string
	Channel     string
	Label       string  // one of the job's
	LastOutcome Outcome // as in Job
	// LastDelivery is the state of the delivery of the newest reply.
	LastDelivery DeliveryState
	// Ended asks for the jobs that have ended, which are left out otherwise.
	Ended bool
	Match string // what somebody wrote for a job; see MatchesJob
	// NextAfter and NextBefore bound the next slot: from the one on, before the other.
	NextAfter, NextBefore Millis
}

// RunFilter picks runs that are all it says; a zero field says nothing.
type RunFilter struct {
	JobID    string
	Outcome  Outcome
	Delivery DeliveryState // of the reply
	Trigger  Trigger
	State    State
	Match    string // what somebody wrote for a run; see MatchesRun
	// AgentID and SessionKey are those of the job when the run was made or, if it has begun,
	// when it last began; as ResolveAgent and ResolveSession return them.
	AgentID, SessionKey string
	// After and Before bound when the record came into the list: from the one on, before
	// the other. That is when the run was created or, where a record stands for several
	// slots, when the last of them was added.
	After, Before Millis
}

// Upcoming is a look ahead over all jobs.
type Upcoming struct {
	Now    Millis // by the clock of Redis
	Paused bool   // everything is: what comes due meanwhile does not run
	Slots  []UpcomingSlot
}

// UpcomingSlot is a slot that is not due yet.
type UpcomingSlot struct {
	JobID       string
	Name        string
	At          Millis
	Due         Millis // later than At by the jitter
	Zone        *time.Location
	Description string // of the job's timing, in words
}

// MatchesJob reports whether somebody who writes text may mean the job of that id and
// name: text is the name, or the id begins with it.
func MatchesJob(id, name, text string) bool {
	return name == text || strings.HasPrefix(id, text)
}

// MatchesRun does the same for a run and the name of its job. Of the id, the job's part and
// the rest may be cut short, each by itself, and "manual:" and upper case be left out.
func MatchesRun(id, jobName, text string) bool {
	if MatchesJob(id, jobName, text) {
		return true
	}
	jobID, rest, _ := strings.Cut(id, ":")
	begunJob, begunRest, ok := strings.Cut(text, ":")
	fold := func(s string) string { return strings.ToLower(strings.TrimPrefix(s, "manual:")) }
	return ok && strings.HasPrefix(jobID, begunJob) &&
		(strings.HasPrefix(rest, begunRest) || strings.HasPrefix(fold(rest), fold(begunRest)))
}
