package judge

import "testing"

func TestClock(t *testing.T) {
	set := func(from, to int64) func(*Log) {
		return func(l *Log) {
			l.Troubles = append(l.Troubles, Trouble{Kind: Clock, Process: "redis", From: from, To: to, Detail: "2h0m0s"})
		}
	}
	tests := []struct {
		name   string
		change func(*Log)
		want   []string
	}{
		{"nothing was claimed while it was wrong", set(at(2, -10_000), at(2, -100)), nil},
		{"what was under way was claimed", set(at(2, -500), at(2, 900)), nil},
		{"a slot was claimed", set(at(2, -5000), at(2, 500)), []string{"claimed by a wrong clock"}},
		{"what was claimed before began", func(l *Log) {
			set(at(2, -5000), at(2, 500))(l)
			l.run("a", 2).CreatedAt = at(2, -5100)
		}, nil},
		{"an end that is to come", func(l *Log) { l.run("a", 3).Attempts[0].EndedAt += 120 * minute }, []string{"time by a wrong clock"}},
		{"an attempt from before the job", func(l *Log) { l.run("a", 3).Attempts[0].StartedAt -= 120 * minute }, []string{"time by a wrong clock"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := clean()
			tt.change(l)
			expect(t, l, tt.want)
		})
	}
}

// TestRules: Kolkata becomes Kathmandu, a quarter of an hour ahead of it, so that minutes
// that are even there are odd.
func TestRules(t *testing.T) {
	l := Log{Until: at(60, 0), Troubles: []Trouble{
		{Kind: Killed, Process: "worker-1.1", From: at(1, 0), To: at(1, 0)},
		{Kind: Rules, Process: "Asia/Kolkata", From: at(20, 0), To: at(23, 0), Detail: "Asia/Kathmandu"},
		{Kind: Rules, Process: "Asia/Kolkata", From: at(40, 0), To: at(43, 0), Detail: "Asia/Kolkata"},
	}}
	b := &bench{log: l}
	for _, tt := range []struct {
		zone                 string
		minute               int
		possible, sure       bool
		possibleOdd, sureOdd bool // of the minute after it
	}{
		{"Asia/Kolkata", 8, true, true, false, false},
		{"Asia/Kolkata", 10, true, false, true, false},
		{"Asia/Kolkata", 22, true, false, true, false},
		{"Asia/Kolkata", 26, false, false, true, true},
		{"Asia/Kolkata", 32, true, false, true, false},
		{"Asia/Kolkata", 44, true, true, false, false},
		{"UTC", 22, true, true, false, false},
	} {
		j := &Job{Definitions: []Definition{{Sent: at(0, -1), Acked: at(0, -1), Schedule: "*/2 * * * *", Zone: tt.zone, Enabled: true}}}
		slots, err := b.slots(j, l.Until)
		if err != nil {
			t.Fatal(err)
		}
		find := func(minute int) (possible, sure bool) {
			for _, s := range slots {
				if s.at == at(minute, 0) {
					return true, s.sure
				}
			}
			return false, false
		}
		even := tt.minute + int(t0/minute)%2 // t0 may be an odd minute
		possible, sure := find(even)
		possibleOdd, sureOdd := find(even + 1)
		if possible != tt.possible || sure != tt.sure || possibleOdd != tt.possibleOdd || sureOdd != tt.sureOdd {
			t.Errorf("minute %d in %s: %t %t, then %t %t", tt.minute, tt.zone, possible, sure, possibleOdd, sureOdd)
		}
	}
}
