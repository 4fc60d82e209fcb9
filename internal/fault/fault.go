// Package fault marks the places in the life of a run where a crash is worth
// testing, and lets a test have a scheduler's bell ring at a wrong time.
//
// In an ordinary build both do nothing: Point is an empty function, Skew is zero,
// and no variable of the environment is read. The build tag faults, which only
// the chaos suite uses, makes them obey these:
//
//	GATEWAY_CRON_FAULT       after_claim=0.02,before_call=0.01: how probable it is
//	                         that passing a point kills the process by SIGKILL
//	GATEWAY_CRON_FAULT_SEED  seeds the dice; a whole number
//	GATEWAY_CRON_FAULT_LOG   a file that gets the name of the point, one a line,
//	                         before the process is killed there
//	GATEWAY_CRON_FAULT_SKEW  30s, -20s: what Skew answers
//
// It imports nothing of ours.
package fault
