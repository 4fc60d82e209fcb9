package job

// Signs are the signs of life of a deployment, and what in it stands still.
type Signs struct {
	Now     Millis
	Emitter string // the scheduler that does the ordinary work; "" if none does
	Looked  Millis // when a scheduler last looked at what is unfinished; 0 for never
	Beats   []Beat // by role and host, those of the last hour that did not stop cleanly too

	Due       Overdue // jobs whose slot, or next look, is overdue
	Wake      Overdue // runs and deliveries whose next look is overdue
	Untouched Overdue // runs that may begin and that no worker begins
}

// Beat is the sign of life of a role on a host.
type Beat struct {
	Role  string
	Host  string
	Last  Millis
	Alive bool // false: it ended without saying so, or is cut off from Redis
}

// Overdue counts what should have happened by now.
type Overdue struct {
	Count  int
	Oldest Millis   // since when the oldest one is; 0 without any
	IDs    []string // some of them, the oldest first
}

// Trace is what stands about a job besides its own record.
type Trace struct {
	Look      Millis // its entry in the due index; 0 for none
	Emitted   bool   // a carrier of its next slot was put into the queue
	HeldUntil Millis // until when everything was paused, after the last resume; 0 for never
	// Unfinished are its runs without an outcome, the oldest first; Holders are the runs
	// that hold the sessions of those that wait for one, by session.
	Unfinished []Run
	Holders    map[string]string
}
