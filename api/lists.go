package api

import (
	"net/http"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

// deliveryStates are what a list can ask for, the one that is asked for most first.
var deliveryStates = []job.DeliveryState{job.DeliveryFailed, job.DeliveryPending, job.DeliveryDelivered, job.DeliveryUnknown,
	job.DeliverySuppressed, job.DeliveryNotRequested}

// jobFilters are the parameters that pick jobs.
func jobFilters(f *job.JobFilter) []param {
	return []param{
		truthParam("enabled", &f.Enabled),
		wordParam("agentId", "main", &f.AgentID),
		wordParam("sessionKey", "agent:main:telegram:dm:123", &f.SessionKey),
		wordParam("channel", "telegram", &f.Channel),
		formParam("label", "team:ops", job.LabelForm, job.ValidLabel, &f.Label),
		wordParam("match", "Morning summary", &f.Match),
		choiceParam("lastOutcome", &f.LastOutcome, job.Failed, job.Succeeded, job.TimedOut, job.Cancelled, job.Skipped, job.Missed),
		choiceParam("lastDelivery", &f.LastDelivery, deliveryStates...),
		flagParam("ended", &f.Ended),
		momentParam("nextAfter", &f.NextAfter),
		momentParam("nextBefore", &f.NextBefore),
	}
}

// runFilters are the parameters that pick runs.
func runFilters(f *job.RunFilter) []param {
	return []param{
		choiceParam("outcome", &f.Outcome, job.Failed, job.Succeeded, job.TimedOut, job.Cancelled, job.Skipped, job.Missed),
		choiceParam("delivery", &f.Delivery, deliveryStates...),
		choiceParam("trigger", &f.Trigger, job.TriggerSchedule, job.TriggerManual),
		choiceParam("state", &f.State, job.StateRunning, job.StateWaiting, job.StateParked, job.StateQueued, job.StateDone),
		wordParam("match", "job_01jz:1774854000", &f.Match),
		wordParam("agentId", "main", &f.AgentID),
		wordParam("sessionKey", "agent:main:telegram:dm:123", &f.SessionKey),
		momentParam("after", &f.After),
		momentParam("before", &f.Before),
	}
}

// listAllRuns answers the runs of all jobs, newest first.
func (s *server) listAllRuns(w http.ResponseWriter, r *http.Request) error {
	const form = "must be the id of a job, as the list of jobs has it"
	var filter job.RunFilter
	return s.answerRuns(w, r, &filter, formParam("jobId", "job_01jz0000000000000000000000", form, job.ValidID, &filter.JobID))
}

// answerRuns answers a page of runs that the filter and the query pick.
func (s *server) answerRuns(w http.ResponseWriter, r *http.Request, filter *job.RunFilter, more ...param) error {
	page, err := readPage(r, defaultRunsPage, maxRunsPage, append(runFilters(filter), more...)...)
	if err == nil {
		err = checkWindow("after", filter.After, "before", filter.Before)
	}
	if err != nil {
		return err
	}
	runs, next, err := s.Find.FindRuns(r.Context(), *filter, page.cursor, page.limit)
	if err != nil {
		return err
	}
	list := runList{Runs: make([]runView, len(runs)), NextCursor: next}
	for i, run := range runs {
		v := wholeRun(run)
		v.Reply, v.ReplyTruncated = truncate(v.Reply, leanReplyRunes)
		list.Runs[i] = v
	}
	return writeJSON(w, http.StatusOK, list)
}

// checkWindow refuses bounds that leave nothing, which somebody took for each other.
func checkWindow(afterName string, after job.Millis, beforeName string, before job.Millis) error {
	if after == 0 || before == 0 || after < before {
		return nil
	}
	return invalid(beforeName, "must be later than "+afterName+": what lies between them is answered", "")
}
