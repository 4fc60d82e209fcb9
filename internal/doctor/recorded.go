package doctor

import (
	"fmt"
	"time"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

// recorded explains a slot by its record.
func (s subject) recorded(slot time.Time, r job.Run) Finding {
	f := Finding{Level: OK, What: s.name(slot)}
	if r.State != job.StateDone {
		f.Found = "run " + r.ID + " " + s.progress(r)
		return f
	}
	verdict := string(r.Outcome)
	if r.Reason != "" {
		verdict += "(" + r.Reason + ")"
	}
	f.Level, f.Found = Warn, verdict+": "+s.reason(slot, r)
	if r.Count > 1 {
		f.Found += fmt.Sprintf("; with %d others, from %s to %s", r.Count-1, s.clock(r.Slot.Time()), s.clock(r.LastSlot.Time()))
	}
	switch r.Outcome {
	case job.Succeeded:
		f.Level = OK
		switch r.DeliveryState {
		case job.DeliveryFailed, job.DeliveryUnknown:
			f.Level, f.Remedy = Warn, "POST /api/cron/runs/"+r.ID+"/redeliver sends the reply again, without the model"
			f.Command = "gateway-cron run redeliver " + r.ID
		case job.DeliveryPending, job.DeliveryDelivered, job.DeliverySuppressed, job.DeliveryNotRequested:
		}
	case job.Failed, job.TimedOut:
		f.Remedy = "GET /api/cron/runs/" + r.ID + " has every attempt; POST /api/cron/jobs/" + r.JobID + "/run runs it now"
		f.Command = "gateway-cron run show " + r.ID + " has every attempt; gateway-cron job run " + r.JobID + " runs it now"
	case job.Cancelled, job.Skipped, job.Missed:
		if s.job.UID != "" {
			f.Remedy, f.Command = s.remedy(r)
		}
	}
	return f
}

// reason says in words why a record ended as it did.
func (s subject) reason(slot time.Time, r job.Run) string {
	due := s.timetable.Due(slot)
	// When it was decided; a record of a range tells that of its last slot.
	decided := r.FinishedAt.Time()
	switch r.Outcome {
	case job.Succeeded:
		return fmt.Sprintf("run %s began %s and took %s; reply: %s", r.ID, s.clock(r.StartedAt.Time()),
			span(decided.Sub(r.StartedAt.Time())), delivery(r.DeliveryState))
	case job.Failed, job.TimedOut:
		text := fmt.Sprintf("run %s ended %s after %s", r.ID, s.clock(decided), count(len(r.Attempts), "attempt"))
		if r.Error != "" {
			text += ", the last with: " + r.Error
		}
		return text
	case job.Cancelled, job.Skipped, job.Missed:
	}
	switch r.Reason {
	case job.ReasonOverlap:
		if r.Outcome == job.Cancelled {
			return "a newer slot of the job took its place (overlap: cancel_previous)"
		}
		if other, found := s.inProgress(r, due); found {
			return fmt.Sprintf("%s was still in progress (run %s)", s.called(other), other.ID)
		}
		return "a run of the job was still in progress"
	case job.ReasonDisabled:
		text := "the job was paused"
		if !s.job.Enabled && s.job.PauseReason != "" {
			text += ": " + s.job.PauseReason
		}
		return text
	case job.ReasonPaused:
		return "everything was paused"
	case job.ReasonQuota:
		return "the token that made the job had used up its runs of the day (maxRunsPerDay)"
	case job.ReasonDeleted:
		return "the job was deleted"
	case job.ReasonEdited:
		return "the schedule was changed while it was due"
	case job.ReasonRequested:
		return "somebody cancelled it, " + s.clock(decided)
	case job.ReasonSuperseded:
		return "nothing ran it until a newer slot of the job was due as well, which took its place; decided " + s.clock(decided)
	case job.ReasonLate:
		return fmt.Sprintf("nothing ran it within a minute, as its policy asks (misfire: skip); decided %s, %s after it was due",
			s.clock(decided), span(decided.Sub(due)))
	case job.ReasonStale:
		return fmt.Sprintf("nothing ran it within its grace of %s (misfireGraceSeconds); decided %s, %s after it was due",
			span(time.Duration(s.job.WithDefaults().MisfireGraceSeconds)*time.Second), s.clock(decided), span(decided.Sub(due)))
	}
	return "recorded " + s.clock(decided)
}

// remedy is what may keep such a slot from being lost again.
func (s subject) remedy(r job.Run) (call, command string) {
	switch r.Reason {
	case job.ReasonOverlap:
		return "a longer interval, a shorter timeoutSeconds, or overlap queue_one or allow", ""
	case job.ReasonDisabled:
		if !s.job.Enabled {
			return "POST /api/cron/jobs/" + s.job.ID + "/resume", "gateway-cron job resume " + s.job.ID
		}
	case job.ReasonSuperseded, job.ReasonLate, job.ReasonStale:
		up := "were Redis, a scheduler and a worker up then? "
		return up + "POST /api/cron/jobs/" + s.job.ID + "/run runs it now", up + "gateway-cron job run " + s.job.ID + " runs it now"
	}
	return "", ""
}

// inProgress is the run that was in the way of a slot.
func (s subject) inProgress(r job.Run, due time.Time) (job.Run, bool) {
	at := job.ToMillis(due)
	if r.Count <= 1 {
		at = r.FinishedAt // when it was decided
	}
	for _, other := range s.runs {
		never := other.Outcome == job.Skipped || other.Outcome == job.Missed
		if !never && other.ID != r.ID && other.CreatedAt <= at && (other.State != job.StateDone || other.FinishedAt >= at) {
			return other, true
		}
	}
	return job.Run{}, false
}

// called names a run by its time.
func (s subject) called(r job.Run) string {
	if r.Trigger == job.TriggerManual {
		return "the run that was started by hand at " + s.clock(r.CreatedAt.Time())
	}
	return "the run of " + s.clock(r.Slot.Time())
}

func delivery(state job.DeliveryState) string {
	switch state {
	case job.DeliveryDelivered:
		return "delivered"
	case job.DeliveryPending:
		return "on its way to the chat"
	case job.DeliveryFailed:
		return "refused by the channel"
	case job.DeliveryUnknown:
		return "sent, but the channel did not confirm it: it may have arrived"
	case job.DeliverySuppressed:
		return "not sent, because the agent had nothing to tell (NO_REPLY)"
	case job.DeliveryNotRequested:
		return "not sent, because the job has no chat or wants none there"
	}
	return string(state)
}
