package store

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

// everyStep lists all steps.
func everyStep(s steps) []step {
	return []step{
		s.putJob, s.deleteJob, s.runNow, s.emitted, s.collapse, s.redue, s.postpone, s.look, s.claim, s.begin, s.renew, s.commit, s.fail,
		s.cancel, s.redeliver, s.pause, s.resume, s.cancelPaused, s.beginDelivery, s.sendBegin, s.sendEnd, s.renewDelivery,
		s.holdEmitter, s.releaseEmitter, s.repair, s.relist, s.own, s.quarantine, s.heartbeat, s.putToken, s.revokeToken, s.useToken, s.sessionID,
		s.takeAlert, s.endAlert, s.notify, s.now, s.clockStep, s.setCursor, s.leanRuns,
	}
}

var (
	returned = regexp.MustCompile(`(?m)^.*\breturn [^\n]*$`)
	// firsts are the first elements of a table: a word, or one of two.
	firsts = regexp.MustCompile(`\{ (?:'(\w+)'|\w[^{}',]* == (?:'\w+'|\w+) and '(\w+)' or '(\w+)')`)
)

// TestWordsOfSteps: a step knows the words of its script, and no others.
func TestWordsOfSteps(t *testing.T) {
	all := everyStep(New(nil, Options{}).scripts)
	names := map[string]bool{}
	for _, st := range all {
		names[st.name] = true
		known := map[string]bool{}
		for _, w := range slices.Concat(st.goesOn, slices.Collect(maps.Keys(st.refuses))) {
			if known[string(w)] {
				t.Errorf("%s: %s is there twice", st.name, w)
			}
			known[string(w)] = true
		}
		if len(known) == 0 {
			continue // it returns no word
		}
		found := map[string]bool{}
		for _, text := range reached(st.name) {
			for _, line := range returned.FindAllString(text, -1) {
				for _, m := range firsts.FindAllStringSubmatch(line, -1) {
					for _, w := range m[1:] {
						if w != "" {
							found[w] = true
						}
					}
				}
			}
		}
		if d := cmp.Diff(slices.Sorted(maps.Keys(found)), slices.Sorted(maps.Keys(known))); d != "" {
			t.Errorf("%s: what the script returns (-) and what the step knows (+): %s", st.name, d)
		}
	}
	if files := luaNames("lua"); len(names) != len(files) {
		t.Errorf("%d steps, and %d files", len(names), len(files))
	}
}

// TestUnknownWordIsAnError, and so is no word at all.
func TestUnknownWordIsAnError(t *testing.T) {
	f := setup(t, Options{})
	st := step{Script: f.scripts.now.Script, name: "now", goesOn: []word{saidOK}}
	if said, _, err := f.answer(f.ctx, st); said != "" || err == nil || !strings.Contains(err.Error(), "script now returned") {
		t.Errorf("%q, %v", said, err)
	}
	f.begun("a", everyMinute())
	st = f.scripts.cancel
	st.goesOn, st.refuses = nil, map[word]error{saidOK: job.ErrEnded}
	if said, rest, err := f.answer(f.ctx, st, "a", "t", "me", "", ""); said != "" || rest != nil || err == nil {
		t.Errorf("%q %v, %v", said, rest, err)
	}
}
