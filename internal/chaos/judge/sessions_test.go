package judge

import "testing"

func TestIsolated(t *testing.T) {
	// What is said about a job with three runs whose session has the last reply.
	tests := []struct {
		name string
		then func(*single)
		want []string
	}{
		{name: "the last reply alone", then: func(*single) {}},
		{"the job is not isolated", func(s *single) { s.Jobs[0].Isolated = false }, []string{"transcript"}},
		{"the session grew", func(s *single) { s.transcribe() }, []string{"transcript"}},
		{"the last reply is an earlier one", func(s *single) {
			s.transcribe()
			s.Sessions[0].Messages = s.Sessions[0].Messages[1:2]
		}, []string{"transcript"}},
		{"the last reply twice", func(s *single) {
			s.Sessions[0].Messages = append(s.Sessions[0].Messages, s.Sessions[0].Messages[0])
		}, []string{"two replies"}},
		{"the session is empty", func(s *single) { s.Sessions[0].Messages = nil }, []string{"transcript"}},
		{"a call brought what was said before", func(s *single) { s.Calls[2].Heard = []string{"n-2"} }, []string{"transcript"}},
		{"where the ai-server keeps nothing, too", func(s *single) { s.Calls[2].Heard, s.Calls[2].Kept = []string{"n-2"}, false }, []string{"transcript"}},
		{"it brings nothing there, either", func(s *single) { s.Calls[2].Kept = false }, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := lone(minutely("skip", "run_once"))
			s.Jobs[0].Isolated = true
			s.onTime(at(1, 0), at(2, 0), at(3, 0))
			s.Sessions[0].Messages = s.Sessions[0].Messages[2:]
			tt.then(s)
			expect(t, &s.Log, tt.want)
		})
	}
}
