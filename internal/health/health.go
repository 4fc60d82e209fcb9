// Package health says how a deployment stands: one computation of what is true, for the
// status, the doctor, the readiness page, the landing page, the agents' tools and the
// alerts.
//
// It is pure: it judges facts that are handed in (Facts), and asks nobody. It must import
// nothing of ours but the domain, and neither Redis nor the queue. Times are UTC
// milliseconds by the clock of Redis.
package health

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

// State is how a deployment stands as a whole.
type State string

const (
	// OK: what is due starts, and nobody needs to look.
	OK State = "ok"
	// Degraded: a job, a chat, one of several parties or the capacity is in trouble, or
	// somebody has stopped everything on purpose; the rest works.
	Degraded State = "degraded"
	// Failing: due slots do not start, or records cannot be written, for a reason of the
	// deployment.
	Failing State = "failing"
)

// Code names a kind of reason, for programs. Codes are never renamed.
type Code string

const (
	Starting        Code = "starting"
	DiskFull        Code = "disk_full"
	RedisAway       Code = "redis_away"
	RedisDenies     Code = "redis_denies"
	RedisRefuses    Code = "redis_refuses_writes"
	RedisMemory     Code = "redis_memory"
	RedisNotDurable Code = "redis_not_durable"
	ClockStep       Code = "clock_step"
	StoreEmptied    Code = "store_emptied"
	NoScheduler     Code = "no_scheduler"
	NoLeader        Code = "no_leader"
	NoWorker        Code = "no_worker"
	ProcessLost     Code = "process_lost"
	SlotsLate       Code = "slots_late"
	SlotsAbsent     Code = "slots_absent"
	PlacesTaken     Code = "places_taken"
	MemoryTaken     Code = "memory_taken"
	BoundReached    Code = "bound_reached"
	RunsWaiting     Code = "runs_waiting"
	WorkStuck       Code = "work_stuck"
	QueuePaused     Code = "queue_paused"
	Paused          Code = "paused"
	AIServerAway    Code = "ai_server_away"
	AIServerFailing Code = "ai_server_failing"
	AIServerKey     Code = "ai_server_key"
	ChannelAway     Code = "channel_away"
	ChannelFailing  Code = "channel_failing"
	JobFailing      Code = "job_failing"
	JobDisabled     Code = "job_disabled"
	DeliveryFailing Code = "delivery_failing"
	Unreadable      Code = "record_unreadable"
)

// Reason is one thing that is not as it should be.
type Reason struct {
	Code  Code
	State State // how it makes the deployment stand: Degraded or Failing
	Text  string
	Count int        // how many things it is about; at least 1
	Since job.Millis // since when; 0 if nobody knows
	Fix   Fix
	Jobs  []string // ids of the jobs that it is about, some of many; nil if it is about none
	// Late says that work is late because of it, or missing: a reason to act at once even
	// where the deployment is only degraded.
	Late bool
}

// Fix is what the reader can do about a reason: the same act for the command line and for
// the API. Where there is only one, or it is neither, both say so in words.
type Fix struct{ Command, Call string }

// both is a fix that is no call of ours.
func both(words string) Fix { return Fix{words, words} }

// Report is how a deployment stands at a time.
type Report struct {
	State   State
	Reasons []Reason // the failing ones first
	At      job.Millis
}

// Late reports whether slots are late or missing, or all places have been taken for a while.
func (r Report) Late() bool {
	for _, reason := range r.Reasons {
		if reason.Late {
			return true
		}
	}
	return false
}

// Options are the times after which something counts; zero values get the defaults.
type Options struct {
	LateAfter    time.Duration // a slot that is due for longer is late; default 1 min
	FullAfter    time.Duration // all places taken for longer is told; default 1 min
	LookedWithin time.Duration // a scheduler looks at least so often; default 10 s
	AwayAfter    time.Duration // a party that is away for longer is told; default 20 s
	FailingAfter int           // so many failures in a row of a party, or of a job, are told; default 3
	EmptiedFor   time.Duration // how long an emptied store is told; default 24 h
	SteppedFor   time.Duration // how long a clock that was set is told; default 1 h
}

func (o Options) withDefaults() Options {
	for field, value := range map[*time.Duration]time.Duration{
		&o.LateAfter: job.LateAfter, &o.FullAfter: time.Minute, &o.LookedWithin: 10 * time.Second,
		&o.AwayAfter: 20 * time.Second, &o.EmptiedFor: 24 * time.Hour, &o.SteppedFor: time.Hour,
	} {
		if *field == 0 {
			*field = value
		}
	}
	if o.FailingAfter == 0 {
		o.FailingAfter = 3
	}
	return o
}

// Facts are what is known of a deployment.
type Facts struct {
	Now   job.Millis // by the clock of Redis; by ours if that is away
	Disk  Disk
	Redis Redis

	// The rest was not read if Redis is away, or denies it.
	Signs  job.Signs
	Status job.Status
	Queues []Queue
	Ailing job.Ailing
	Absent job.Overdue // slots that should have run and have no record
	Clock  job.Clock
}

// Disk is how the disk of an embedded Redis is; zero for any other.
type Disk struct {
	Short string // how much is free and how much must be; "" if that is enough
	Since job.Millis
	Dir   string // where room must be made
}

// Redis is how Redis is.
type Redis struct {
	Away    string // why it cannot be reached; "" if it can
	Denies  string // why it cannot be read, though it answers
	Refuses string // why it takes no changes; "" if it does
	Fix     string // what to do about the one of these; "" for what is usual
	Nearly  string // how full its memory is, if that is nearly all
	// Lossy are what it is not set up to keep, and what to do.
	Lossy []Lossy
}

// Lossy is a setting of Redis that does not keep what it is told.
type Lossy struct{ What, Fix string }

// Queue is how a queue of tasks is.
type Queue struct {
	Name   string
	Runs   bool // it has runs; else deliveries
	Paused bool
	Since  job.Millis // since when it is paused, if that is known
}

// Judge says how a deployment with these facts stands.
func Judge(f Facts, o Options) Report {
	j := judge{Facts: f, Options: o.withDefaults()}
	j.disk()
	if f.Redis.Away != "" {
		j.add(Reason{Code: RedisAway, State: Failing, Text: "Redis does not answer: " + f.Redis.Away + "; nothing starts",
			Fix: both(cmp.Or(f.Redis.Fix, "bring Redis back; is GATEWAY_CRON_REDIS_URL right?"))})
		return j.report()
	}
	if f.Redis.Denies != "" {
		j.add(Reason{Code: RedisDenies, State: Failing, Text: "Redis denies what is needed: " + f.Redis.Denies,
			Fix: both("may its user read and write the keys, and call TIME and INFO? See docs/operations.md, Redis")})
		return j.report()
	}
	j.redis()
	if f.Redis.Refuses != "" {
		return j.report() // signs of life are refused as well: what they say is old
	}
	j.processes()
	j.slots()
	j.queues()
	j.parties()
	j.jobs()
	j.records()
	j.bounds()
	return j.report()
}

// OfJobs says what is wrong with these jobs alone, for who knows of no others.
func OfJobs(a job.Ailing, o Options) []Reason {
	j := judge{Facts: Facts{Ailing: a}, Options: o.withDefaults()}
	j.jobs()
	return j.reasons
}

// judge collects reasons.
type judge struct {
	Facts
	Options

	reasons []Reason
}

func (j *judge) add(r Reason) {
	r.Count = max(r.Count, 1)
	j.reasons = append(j.reasons, r)
}

// report puts what fails first, else in the order in which it was found.
func (j *judge) report() Report {
	r := Report{State: OK, At: j.Now}
	for _, state := range []State{Failing, Degraded} {
		for _, reason := range j.reasons {
			if reason.State != state {
				continue
			}
			if r.State == OK {
				r.State = state
			}
			r.Reasons = append(r.Reasons, reason)
		}
	}
	return r
}

// past reports whether a time is longer ago than d.
func (j *judge) past(at job.Millis, d time.Duration) bool {
	return at != 0 && j.Now.Time().Sub(at.Time()) > d
}

// Outline is the report without what is others': states and codes, for who may know how
// the deployment stands and no more.
func (r Report) Outline() Report {
	o := Report{State: r.State, At: r.At}
	for _, reason := range r.Reasons {
		o.Reasons = append(o.Reasons, Reason{Code: reason.Code, State: reason.State, Late: reason.Late, Text: words[reason.Code]})
	}
	return o
}

// WithJobs is the outline with what is known of some jobs instead of that of all, its state
// included: what is wrong with a job of others alone is none of theirs.
func (r Report) WithJobs(own []Reason) Report {
	known := Report{State: OK, At: r.At}
	for _, reason := range r.Reasons {
		if reason.Code != JobDisabled && reason.Code != JobFailing && reason.Code != DeliveryFailing && reason.Code != BoundReached {
			known.Reasons = append(known.Reasons, reason)
		}
	}
	known.Reasons = append(known.Reasons, own...)
	for _, reason := range known.Reasons {
		if known.State == OK || reason.State == Failing {
			known.State = reason.State
		}
	}
	return known
}

// Codes are all codes, in a fixed order.
func Codes() []Code { return slices.Sorted(maps.Keys(words)) }

// Words says in a few words what a code stands for.
func (c Code) Words() string { return words[c] }

// words are what each code says of itself.
var words = map[Code]string{
	Starting: "the process is starting", DiskFull: "the disk of Redis has too little room",
	RedisAway: "Redis does not answer", RedisDenies: "Redis denies what is needed", RedisRefuses: "Redis takes no changes", RedisMemory: "Redis has nearly no memory left",
	RedisNotDurable: "Redis is not set up to keep what it is told", ClockStep: "the clock of Redis stepped", StoreEmptied: "the store was emptied",
	NoScheduler: "no scheduler works", NoLeader: "no scheduler leads at the moment", NoWorker: "no worker is alive", ProcessLost: "a process is gone",
	SlotsLate: "slots are late", SlotsAbsent: "slots that should have run have no record", PlacesTaken: "all places of the workers are taken",
	MemoryTaken: "turns wait for memory", BoundReached: "a history or a session is cut to its bound",
	RunsWaiting: "runs could begin and do not", WorkStuck: "nobody looks after what is unfinished", QueuePaused: "a queue was paused from outside",
	Paused: "everything is paused", AIServerAway: "the ai-server cannot be reached", AIServerFailing: "calls of the ai-server keep failing",
	AIServerKey: "the ai-server lacks the key of a provider", ChannelAway: "a channel cannot be reached", ChannelFailing: "sends of a channel keep failing",
	JobFailing: "a job keeps failing", JobDisabled: "a job was disabled because its runs kept failing", DeliveryFailing: "replies do not arrive",
	Unreadable: "a record cannot be read",
}
