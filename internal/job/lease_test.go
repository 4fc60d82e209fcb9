package job_test

import (
	"testing"

	"github.com/gatewaycron/gatewaycron/internal/job"
)

func TestDurationsOfTheLease(t *testing.T) {
	for rule, holds := range map[string]bool{
		"two renewals of a lease may be lost":                               job.LeaseFor >= 3*job.RenewEvery,
		"a renewal that is late by one is still in time for the next":       job.LeaseFor > 2*job.RenewEvery,
		"one look may be lost without what was seen being forgotten":        job.SweepGap > 2*job.SweepEvery,
		"a lease is seen expired again before that is forgotten":            job.DeadAfter >= 2*job.SweepGap,
		"what is enqueued again for a dead lease is not looked at before":   job.TakenUpAfter > job.LeaseFor,
		"a worker that lives renews before a second look calls it dead":     job.DeadAfter > job.RenewEvery,
		"a slot whose task was lost can still begin before it is late":      2*job.FirstUnclaimedAfter < job.LateAfter,
		"a slot is looked at more often at first":                           job.FirstUnclaimedAfter < job.UnclaimedAfter,
		"a wait for a place is looked at as often as any other, or oftener": job.WaitsForPlaceAfter <= job.WaitsAfter,
	} {
		if !holds {
			t.Errorf("it does not hold that %s", rule)
		}
	}
}
