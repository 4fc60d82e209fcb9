package job

import "time"

// The durations of the lease protocol, which the worker, the sweeper and the scripts must
// agree on: here, and nowhere else. A test holds how they stand to each other.
const (
	// LeaseFor is how long an attempt or a send is its worker's without a renewal.
	LeaseFor = 15 * time.Second
	// RenewEvery is how often it is renewed: two renewals may be lost.
	RenewEvery = 5 * time.Second

	// SweepEvery is how often the sweeper looks at what is unfinished.
	SweepEvery = time.Second
	// SweepGap is the pause between two looks after which what was seen before counts for
	// nothing: Redis, or whoever looked, stood still.
	SweepGap = 3 * time.Second
	// DeadAfter is how far apart two looks are that both see the same lease expired: then it
	// is dead.
	DeadAfter = 6 * time.Second

	// TakenUpAfter is when something that was enqueued is looked at again: its task may be
	// lost.
	TakenUpAfter = 30 * time.Second
	// WaitsAfter is when a run that waits for its session or for another run is looked at
	// again, though its turn is what wakes it.
	WaitsAfter = 5 * time.Minute
	// WaitsForPlaceAfter is the same for a run that waits for a place of its agent.
	WaitsForPlaceAfter = time.Minute

	// UnclaimedAfter is when an enqueued slot that nobody has claimed is looked at again.
	UnclaimedAfter = time.Minute
	// FirstUnclaimedAfter is the same for the first time: a slot that may be less than a
	// minute late must still run if its task is lost.
	FirstUnclaimedAfter = 15 * time.Second

	// DeliverWithin is how long a message is tried to be delivered.
	DeliverWithin = 24 * time.Hour
)
