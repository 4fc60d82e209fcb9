package store

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

// step is one step of the protocol: a script, and the words that it may return first. The set
// is closed: another word is an error, and a test compares it with the words in the script.
type step struct {
	*redis.Script
	name string
	// goesOn are the words after which the caller goes on; without any, and without refusals,
	// the script returns no word.
	goesOn []word
	// refuses are the others, and what each means.
	refuses map[word]error
}

// word is how a script says what came of it.
type word string

const (
	saidOK      word = "ok"
	saidGone    word = "gone"
	saidNewer   word = "newer"
	saidFenced  word = "fenced"
	saidSame    word = "same"    // the request did it before
	saidSpent   word = "spent"   // and what it did is gone
	saidOther   word = "other"   // the key was another request's
	saidChanged word = "changed" // read again
	saidLate    word = "late"    // compute the slot again
	saidInRun   word = "in_run"  // not in this run
	saidAgent   word = "agent"   // the id could be mistaken for another
	saidRetry   word = "retry"
	saidEnded   word = "ended"
	saidTaken   word = "taken"
	saidHeld    word = "held"
	saidIdle    word = "idle"
	saidLost    word = "lost"
	saidDamaged word = "damaged"
	saidSend    word = "send"
	saidExists  word = "exists"
	saidFull    word = "full"
	saidPaused  word = "paused"
	saidQuota   word = "quota"
	saidMany    word = "many"
	saidDone    word = "done"
	saidUnended word = "unfinished"
	saidSilent  word = "silent"
	saidDropped word = "dropped"
	saidNowhere word = "nowhere"
	saidForeign word = "foreign"
)

// verdicts are words of the scripts that give somebody an attempt.
func verdicts(of ...job.Verdict) []word {
	all := []word{word(job.BeginOK), word(job.BeginGone), word(job.BeginNewer), word(job.BeginDone), word(job.BeginBusy),
		word(job.BeginEarly), word(job.BeginEnded)}
	for _, v := range of {
		all = append(all, word(v))
	}
	return all
}

// steps are the steps of the protocol.
type steps struct {
	putJob, deleteJob, runNow                        step
	emitted, collapse, redue, postpone, look         step
	claim, begin, renew, commit, fail                step
	cancel, redeliver                                step
	pause, resume, cancelPaused                      step
	beginDelivery, sendBegin, sendEnd, renewDelivery step
	holdEmitter, releaseEmitter                      step
	repair, relist, own, quarantine, heartbeat       step
	putToken, revokeToken, useToken, sessionID       step
	takeAlert, endAlert, notify                      step
	now, clockStep, setCursor, leanRuns              step
}

func newSteps(values *strings.Replacer) steps {
	script := func(name string) step {
		// Under this name whoever watches Redis knows it.
		return step{name: name, Script: redis.NewScript("-- gateway-cron " + name + "\n" + values.Replace(programs()[name]))}
	}
	says := func(name string, refuses map[word]error, goesOn ...word) step {
		s := script(name)
		s.goesOn, s.refuses = goesOn, refuses
		return s
	}
	type no map[word]error
	return steps{
		putJob: says("put_job", no{saidExists: job.ErrExists, saidGone: job.ErrNotFound, saidNewer: job.ErrNewerVersion, saidFull: job.ErrJobQuota,
			saidOther: job.ErrOtherRequest, saidAgent: errAgent()}, saidOK, saidSame, saidSpent, saidInRun, saidChanged, saidLate),
		deleteJob: says("delete_job", no{saidNewer: job.ErrNewerVersion}, saidOK, saidGone, saidChanged),
		runNow: says("run_now", no{saidNewer: job.ErrNewerVersion, saidPaused: job.ErrPaused, saidQuota: job.ErrRunQuota, saidMany: job.ErrTooMany,
			saidOther: job.ErrOtherRequest}, saidOK, saidSame, saidSpent, saidGone),

		claim: says("claim", nil, verdicts(job.BeginParked, job.BeginMoved, job.BeginBehind, job.BeginDropped, job.BeginStale, job.BeginClockStep)...),
		begin: says("begin", nil, verdicts(job.BeginParked)...), renew: script("renew"),
		commit: says("commit", no{saidFenced: job.ErrFenced}, saidOK),
		fail:   says("fail", no{saidFenced: job.ErrFenced}, saidRetry, saidEnded),
		cancel: says("cancel", no{saidGone: job.ErrNotFound, saidNewer: job.ErrNewerVersion, saidDone: job.ErrEnded}, saidOK),
		pause:  says("pause", nil, saidOK), resume: says("resume", nil, saidOK), cancelPaused: says("cancel_paused", nil, saidOK),

		redeliver: says("redeliver", no{saidGone: job.ErrNotFound, saidNewer: job.ErrNewerVersion, saidUnended: job.ErrUnfinished, saidSilent: job.ErrNoReply,
			saidDropped: job.ErrReplyDropped, saidNowhere: job.ErrNoTarget, saidForeign: job.ErrForeign, saidMany: job.ErrTooOften,
			saidOther: job.ErrOtherRequest}, saidOK),
		beginDelivery: says("begin_delivery", nil, verdicts()...), renewDelivery: script("renew_delivery"),
		sendBegin: says("send_begin", no{saidFenced: job.ErrFenced}, word(job.SendOK), word(job.SendSent), word(job.SendUnknown)),
		sendEnd:   says("send_end", no{saidFenced: job.ErrFenced}, saidOK, saidRetry, saidEnded),

		takeAlert: says("take_alert", nil, saidHeld, saidIdle, saidLost, saidDamaged, saidSend),
		endAlert:  says("end_alert", no{saidFenced: job.ErrFenced}, saidOK), notify: script("notify"),

		putToken:    says("put_token", no{saidMany: job.ErrTooManyTokens}, saidOK, saidAgent),
		revokeToken: says("revoke_token", no{saidGone: job.ErrNotFound, saidNewer: job.ErrNewerVersion}, saidOK),
		useToken:    says("use_token", nil, saidOK),
		sessionID:   says("session_id", no{saidTaken: job.ErrConflict}, saidOK),

		emitted: script("emitted"), collapse: script("collapse"), redue: script("redue"), postpone: script("postpone"), look: script("look"),
		holdEmitter: script("hold_emitter"), releaseEmitter: script("release_emitter"),
		repair: script("repair"), relist: script("relist"), own: script("own"), quarantine: script("quarantine"), heartbeat: script("heartbeat"),
		now: script("now"), clockStep: script("clock_step"), setCursor: script("set_cursor"), leanRuns: script("lean_runs"),
	}
}

// run calls a script. The one key only routes it; see newKeys.
func (s *Store) run(ctx context.Context, st step, args ...any) *redis.Cmd {
	return st.Run(ctx, s.client(ctx), []string{s.keys.prefix}, s.timed(ctx, args)...)
}

// answer calls a script that returns a table whose first element is a word. Errors are, among
// others, the step's refusals.
func (s *Store) answer(ctx context.Context, st step, args ...any) (word, []any, error) {
	return st.said(s.run(ctx, st, args...))
}

// said takes what such a script returned apart.
func (st step) said(cmd *redis.Cmd) (word, []any, error) {
	reply, err := cmd.Slice()
	if err != nil {
		return "", nil, unanswered(err)
	}
	if len(reply) == 0 {
		return "", nil, fmt.Errorf("script %s returned nothing", st.name)
	}
	said := word(text(reply[0]))
	if refused := st.refuses[said]; refused != nil {
		return said, nil, refused
	}
	if !slices.Contains(st.goesOn, said) {
		return "", nil, fmt.Errorf("script %s returned %v instead of a word that it has", st.name, reply[0])
	}
	return said, reply[1:], nil
}

// notSo is the error of a script that returned a word without what belongs to it.
func (st step) notSo(said word, rest []any) error {
	return fmt.Errorf("script %s returned %s with %d values", st.name, said, len(rest))
}
