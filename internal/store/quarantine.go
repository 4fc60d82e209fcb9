package store

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

const (
	// maxQuarantined bounds the register of what cannot be read.
	maxQuarantined = 1000
	// quietFor is how long nobody must have failed to read a record for it to leave the
	// register; what is damaged is tried every minute.
	quietFor = 3 * time.Minute
	// keyEntry is how the entry of a key begins that a script put aside; see put_aside.
	keyEntry = "key"
)

// Quarantine registers records that cannot be read, and returns those that were not
// registered before. A full register takes no more.
func (s *Store) Quarantine(ctx context.Context, bad []job.Unreadable) ([]job.Unreadable, error) {
	if len(bad) == 0 {
		return nil, nil
	}
	args := make([]any, 0, 2*len(bad))
	for _, b := range bad {
		args = append(args, b.Entry, b.Reason)
	}
	names, err := s.run(ctx, s.scripts.quarantine, args...).StringSlice()
	if err != nil {
		return nil, fmt.Errorf("quarantine %d records: %w", len(bad), unanswered(err))
	}
	var entered []job.Unreadable
	for _, b := range bad {
		if i := slices.Index(names, b.Entry); i >= 0 {
			entered, names = append(entered, b), slices.Delete(names, i, i+1)
		}
	}
	return entered, nil
}

// Release tries the registered jobs again, and takes out of the register what reads
// again or is gone. It returns what it took out, and how many are left.
func (s *Store) Release(ctx context.Context) (released []job.Quarantined, left int, err error) {
	all, err := s.quarantined(ctx)
	if err != nil || len(all) == 0 {
		return nil, 0, err
	}
	now, err := s.Now(ctx)
	if err != nil {
		return nil, 0, fmt.Errorf("release from quarantine: %w", err)
	}
	standing, err := s.standing(ctx, all)
	if err != nil {
		return nil, 0, fmt.Errorf("release from quarantine: %w", err)
	}
	var still []job.Unreadable
	var names []string
	for i, q := range all {
		switch {
		case standing[i].damage != "":
			still = append(still, job.Unreadable{Entry: q.Entry, Reason: standing[i].damage})
		case standing[i].over || now.Sub(q.Last.Time()) > quietFor:
			released, names = append(released, q), append(names, q.Entry)
		}
	}
	if _, err := s.Quarantine(ctx, still); err != nil {
		return nil, 0, err
	}
	if len(names) > 0 {
		if err := s.client(ctx).HDel(ctx, s.keys.quarantine(), names...).Err(); err != nil {
			return nil, 0, fmt.Errorf("release from quarantine: %w", err)
		}
	}
	return released, len(all) - len(released), nil
}

// quarantined reads the register.
func (s *Store) quarantined(ctx context.Context) ([]job.Quarantined, error) {
	entries, err := s.client(ctx).HGetAll(ctx, s.keys.quarantine()).Result()
	if err != nil {
		return nil, fmt.Errorf("read the quarantine: %w", err)
	}
	var all []job.Quarantined
	for entry, text := range entries {
		var value struct {
			Since, Last job.Millis
			Reason      string
		}
		if err := json.Unmarshal([]byte(text), &value); err != nil {
			value.Reason = "its entry in the register is damaged too"
		}
		all = append(all, job.Quarantined{Unreadable: job.Unreadable{Entry: entry, Reason: value.Reason},
			Since: value.Since, Last: value.Last})
	}
	slices.SortFunc(all, func(a, b job.Quarantined) int {
		if a.Since != b.Since {
			return int(a.Since - b.Since)
		}
		return strings.Compare(a.Entry, b.Entry)
	})
	return all, nil
}

// standing says how a registered record stands. That of a run or a delivery is tried
// by the looks at what is unfinished, which register it again each minute.
type standing struct {
	damage string // why it cannot be read
	over   bool   // it is gone, or ended
}

func (s *Store) standing(ctx context.Context, all []job.Quarantined) ([]standing, error) {
	out := make([]standing, len(all))
	var jobs []string
	var at []int // where they are in all
	hashes := map[int]*redis.MapStringStringCmd{}
	_, err := s.client(ctx).Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, q := range all {
			kind, id, _ := strings.Cut(q.Entry, ":")
			switch job.CarrierKind(kind) {
			case job.CarryRun:
				hashes[i] = p.HGetAll(ctx, s.keys.run(id))
			case job.CarryDelivery:
				hashes[i] = p.HGetAll(ctx, s.keys.delivery(id))
			case keyEntry: // was put aside where it was found
			default:
				jobs, at = append(jobs, id), append(at, i)
			}
		}
		return nil
	})
	if err != nil && !isReply(err) {
		return nil, err
	}
	for i, cmd := range hashes {
		h, err := cmd.Result()
		out[i].over = err == nil && (len(h) == 0 || h["state"] == string(job.StateDone))
	}
	heads, err := s.jobHeads(ctx, jobs)
	if err != nil {
		return nil, err
	}
	for k, head := range heads {
		out[at[k]] = standing{damage: s.damageOfJob(head), over: head.gone()}
	}
	return out, nil
}

// jobHead is what the scheduler and the scripts need of a job, or why it was refused.
type jobHead struct {
	fields fields
	err    error
}

// jobHeads reads many of them in one round trip.
func (s *Store) jobHeads(ctx context.Context, ids []string) ([]jobHead, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	names := slices.Concat([]string{"v", "uid", "rev", "session", "agentId", "misfireGrace", "maxRuns", "nextSlot", "nextDue",
		"lastSlot", "ranSlot", "updatedAt"}, timingFields, listedFields)
	cmds := make([]*redis.SliceCmd, len(ids))
	_, err := s.client(ctx).Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, id := range ids {
			cmds[i] = p.HMGet(ctx, s.keys.job(id), names...)
		}
		return nil
	})
	if err != nil && !isReply(err) {
		return nil, err
	}
	heads := make([]jobHead, len(ids))
	for i, cmd := range cmds {
		if err := cmd.Err(); err != nil && !isReply(err) {
			return nil, err
		}
		heads[i] = jobHead{fields: fields{}, err: cmd.Err()}
		for k, v := range cmd.Val() {
			if v != nil {
				heads[i].fields[names[k]] = text(v)
			}
		}
	}
	return heads, nil
}

func (h jobHead) gone() bool  { return h.err == nil && len(h.fields) == 0 }
func (h jobHead) newer() bool { return h.fields.int("v") > job.Version }

// damageOfJob says why a job cannot be scheduled or run, "" if it can. One that is gone
// or of a newer release is not damaged.
func (s *Store) damageOfJob(h jobHead) string {
	if h.err != nil {
		return h.err.Error()
	}
	if h.gone() || h.newer() {
		return ""
	}
	for _, name := range []string{"uid", "session"} {
		if h.fields[name] == "" {
			return name + " is missing"
		}
	}
	for _, name := range []string{"rev", "misfireGrace", "maxRuns", "nextSlot", "nextDue", "every", "anchor", "at", "startAt", "endAt", "jitter"} {
		value, there := h.fields[name]
		optional := name != "rev" && name != "misfireGrace"
		if _, err := strconv.ParseInt(value, 10, 64); err != nil && (there || !optional) {
			return fmt.Sprintf("%s is not a number: %q", name, value)
		}
	}
	if _, err := s.schedules.Timetable(timing("", h.fields)); err != nil {
		return "read the stored schedule: " + err.Error()
	}
	return ""
}
