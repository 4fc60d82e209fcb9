package job

import "strings"

// Which conversation the runs of a job belong to: its session, and whether its chat is a
// group.

// threadMark stands between a chat and a thread of it in a session key.
const threadMark = ":thread:"

// SessionForm is how a session key is made of a chat. Stored jobs keep the one they have.
type SessionForm int

const (
	// FormerSession has no thread in it, and group only where the client said so.
	FormerSession SessionForm = 1
	// TodaysSession is the form of new definitions.
	TodaysSession SessionForm = 2
)

// ResolveSession returns the session key of the job's runs: that of a stored job; else the
// one that the definition names; else the one of its chat, in the form that the gateway
// gives live conversations (agent:<agent>:<channel>:<dm|group>:<peer or chat>, and
// :thread:<thread>); else one of the job's own, agent:<agent>:cron:<job>. An isolated job
// has one of its own in any case, apart from that, because each run replaces its
// transcript.
func (s Spec) ResolveSession(id string) string {
	switch {
	case s.Session != "":
		return s.Session
	case s.SessionForm == FormerSession:
		return s.sessionOf(id, s.formerChat())
	default:
		return s.sessionOf(id, s.chat())
	}
}

// SessionFormOf returns the form of the session key of the job of that id; today's, where
// all are equal.
func (s Spec) SessionFormOf(id string) SessionForm {
	key := s.ResolveSession(id)
	if key == s.sessionOf(id, s.formerChat()) && key != s.sessionOf(id, s.chat()) {
		return FormerSession
	}
	return TodaysSession
}

// EditOf returns s as an edit of the stored job before leaves it: with its session, unless s
// asks for a form, or changes what the key is made of and so needs another.
func (s Spec) EditOf(before Spec) Spec {
	s.Session = ""
	if s.SessionForm == 0 && s.SameConversation(before) {
		s.Session = before.Session
	}
	return s
}

// SameConversation reports whether all that a session key is made of is the same in o.
func (s Spec) SameConversation(o Spec) bool {
	sameGroup := s.IsGroup == o.IsGroup || s.IsGroup != nil && o.IsGroup != nil && *s.IsGroup == *o.IsGroup
	return sameGroup && s.ResolveAgent() == o.ResolveAgent() && s.SessionKey == o.SessionKey &&
		(s.Context == ContextIsolated) == (o.Context == ContextIsolated) &&
		s.Channel == o.Channel && s.ChatID == o.ChatID && s.PeerID == o.PeerID && s.ThreadID == o.ThreadID
}

func (s Spec) sessionOf(id, chat string) string {
	prefix := "agent:" + s.ResolveAgent() + ":"
	switch {
	case s.Context == ContextIsolated:
		return prefix + "cron:" + id + ":isolated"
	case s.SessionKey != "":
		return s.SessionKey
	case s.Channel == "":
		return prefix + "cron:" + id
	default:
		return prefix + s.Channel + ":" + chat
	}
}

// clearThread reports whether the session key made of the chat says where its thread begins.
func (s Spec) clearThread() bool {
	if s.SessionKey != "" || s.Context == ContextIsolated || s.Channel == "" {
		return true
	}
	_, thread, _ := strings.Cut(s.chat(), threadMark)
	return thread == s.ThreadID
}

// chat names the job's chat within its channel.
func (s Spec) chat() string {
	name := "dm:" + s.ChatID
	switch group := s.Group(); {
	case group == nil: // the peer may be one of many there, and in other chats as well
	case *group:
		name = "group:" + s.ChatID
	case s.PeerID != "":
		name = "dm:" + s.PeerID
	}
	if s.ThreadID != "" {
		name += threadMark + s.ThreadID
	}
	return name
}

// formerChat names the job's chat in the form FormerSession.
func (s Spec) formerChat() string {
	switch {
	case s.IsGroup != nil && *s.IsGroup && s.ChatID != "":
		return "group:" + s.ChatID
	case s.PeerID != "":
		return "dm:" + s.PeerID
	default:
		return "dm:" + s.ChatID
	}
}

// Group reports whether the job's chat is a group rather than one person; nil if that is
// unknown. Where the channel's ids tell, they are right, whatever the client said.
func (s Spec) Group() *bool {
	switch s.Channel {
	case "telegram": // a group or a channel has a negative number, or a public name
		switch {
		case strings.HasPrefix(s.ChatID, "-"), strings.HasPrefix(s.ChatID, "@"):
			return new(true)
		case isDigits(s.ChatID):
			return new(false)
		}
	case "whatsapp":
		_, server, _ := strings.Cut(s.ChatID, "@")
		switch server {
		case "g.us", "broadcast", "newsletter":
			return new(true)
		case "s.whatsapp.net", "c.us", "lid":
			return new(false)
		case "":
			if isDigits(strings.TrimPrefix(s.ChatID, "+")) {
				return new(false)
			}
		}
	}
	return s.IsGroup
}

func isDigits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }
