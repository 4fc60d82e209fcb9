package app

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/gatewaycron/gatewaycron/internal/config"
	"github.com/gatewaycron/gatewaycron/internal/redistest"
	"github.com/gatewaycron/gatewaycron/internal/standin"
)

// conversations is a deployment, and what its ai-server was asked.
type conversations struct {
	*process
	t  testing.TB
	ai *standin.EchoAI
}

func newConversations(t testing.TB, url, prefix string) *conversations {
	t.Helper()
	ai, aiURL := echoAI(t)
	p := boot(t, AllRoles(), func(c *config.Config) {
		c.RedisURL, c.Prefix, c.AIServerURL, c.TelegramToken, c.TelegramURL = url, prefix, aiURL, "12345:abcdefgh", "http://127.0.0.1:1"
		c.ChannelManagerURL = "http://127.0.0.1:1"
	})
	eventually(t, "the ready line", p.ready)
	return &conversations{p, t, ai}
}

// want asks the API and returns the body of the answer, which must have that status.
func (c *conversations) want(status int, method, path, body string) string {
	c.t.Helper()
	got, _, answer := c.call(method, path, body)
	if got != status {
		c.t.Fatalf("%s %s: %d %s, want %d", method, path, got, answer, status)
	}
	return answer
}

// define makes a job that runs by hand alone and sends nothing.
func (c *conversations) define(id, more string) {
	c.t.Helper()
	c.want(http.StatusCreated, "POST", "/api/cron/jobs", fmt.Sprintf(`{"id":%q,"schedule":"0 0 29 2 *","task":"x","deliver":"never",%s}`, id, more))
}

// runIn runs a job and checks in which session the ai-server was asked.
func (c *conversations) runIn(id, session string) standin.ChatCall {
	c.t.Helper()
	c.want(http.StatusOK, "POST", "/api/cron/jobs/"+id+"/run?wait=60", "")
	calls := c.ai.Calls()
	last := calls[len(calls)-1]
	if last.SessionID != session || last.Gateway.SessionKey != session {
		c.t.Errorf("%s ran in %s (key %s), want %s", id, last.SessionID, last.Gateway.SessionKey, session)
	}
	return last
}

// TestTopicsAreConversations: a job in a topic is not told what was said in another, and a
// chat whose id is that of a group is one.
func TestTopicsAreConversations(t *testing.T) {
	c := newConversations(t, redistest.Start(t).URL(), "new")
	c.define("a", `"channel":"telegram","chatId":"-100123","threadId":"11"`)
	c.define("b", `"channel":"telegram","chatId":"-100123","threadId":"22"`)
	c.runIn("a", "agent:main:telegram:group:-100123:thread:11")
	call := c.runIn("b", "agent:main:telegram:group:-100123:thread:22")
	if len(call.Messages) != 1 {
		t.Errorf("topic 22 was told %+v", call.Messages)
	}
	for _, tt := range []struct {
		target, session string
		group           *bool
	}{
		{`"channel":"telegram","chatId":-100123`, "agent:main:telegram:group:-100123", new(true)},
		{`"channel":"telegram","chatId":-100123,"isGroup":false`, "agent:main:telegram:group:-100123", new(true)},
		{`"channel":"telegram","chatId":"@news"`, "agent:main:telegram:group:@news", new(true)},
		{`"channel":"telegram","chatId":"123","peerId":"123"`, "agent:main:telegram:dm:123", new(false)},
		{`"channel":"whatsapp","chatId":"1-2@g.us","peerId":"1"`, "agent:main:whatsapp:group:1-2@g.us", new(true)},
		{`"channel":"slack","chatId":"C1","peerId":"U1"`, "agent:main:slack:dm:C1", nil},
		{`"channel":"slack","chatId":"C2","peerId":"U1"`, "agent:main:slack:dm:C2", nil},
		{`"channel":"telegram","chatId":"-100123","threadId":"11","sessionKey":"agent:main:mine"`, "agent:main:mine", new(true)},
	} {
		c.define("c", tt.target)
		if got := c.runIn("c", tt.session).Gateway.IsGroup; !cmp.Equal(got, tt.group) {
			t.Errorf("%s: isGroup %v", tt.target, got)
		}
		c.want(http.StatusOK, "DELETE", "/api/cron/jobs/c", "")
	}
}

// TestStoredJobsKeepTheirSession: what was stored when keys had no threads goes on in its
// conversation, whatever else is changed of it, and elsewhere too if it is moved.
func TestStoredJobsKeepTheirSession(t *testing.T) {
	url := redistest.Start(t).URL()
	c := newConversations(t, url, "old")
	opts, err := redis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	rdb := redis.NewClient(opts)
	t.Cleanup(func() { rdb.Close() })

	const former, today = "agent:main:telegram:dm:-100123", "agent:main:telegram:group:-100123:thread:11"
	store := func(id string) { // as the release before did
		t.Helper()
		c.define(id, `"channel":"telegram","chatId":"-100123","threadId":"11"`)
		if err := rdb.HSet(t.Context(), "{old}:job:"+id, "session", former).Err(); err != nil {
			t.Fatal(err)
		}
	}
	store("a")
	if call := c.runIn("a", former); call.Gateway.IsGroup == nil || !*call.Gateway.IsGroup {
		t.Errorf("on behalf of %+v", call.Gateway)
	}
	for _, edit := range []string{
		`{"name":"n"}`, `{"task":"y","schedule":"0 1 29 2 *","timezone":"Europe/Berlin","labels":["l"],"model":"m","maxRetries":0}`,
		`{"enabled":false}`, `{"enabled":true}`, `{"threadId":"11","chatId":-100123,"agentId":"main","context":"session"}`,
	} {
		c.want(http.StatusOK, "PATCH", "/api/cron/jobs/a", edit)
		c.runIn("a", former)
	}
	c.want(http.StatusOK, "POST", "/api/cron/jobs/a/pause", "")
	c.want(http.StatusOK, "POST", "/api/cron/jobs/a/resume", "")
	c.runIn("a", former)
	if list := c.want(http.StatusOK, "GET", "/api/cron/jobs?sessionKey="+former, ""); !strings.Contains(list, `"id":"a"`) {
		t.Errorf("not found by its session: %s", list)
	}

	// A line of its own leaves it alone, one that names every policy is an export's of then.
	c.want(http.StatusOK, "POST", "/api/cron/import", `{"id":"a","every":86400,"task":"x","deliver":"never","channel":"telegram","chatId":"-100123","threadId":"11"}`)
	c.runIn("a", former)
	exported := c.want(http.StatusOK, "GET", "/api/cron/export", "")
	then := strings.Replace(exported, `,"sessionForm":1`, "", 1)
	if then == exported {
		t.Fatalf("exported: %s", exported)
	}
	for _, lines := range []string{exported, then} {
		report := c.want(http.StatusOK, "POST", "/api/cron/import", lines)
		if !strings.Contains(report, `"unchanged":1`) {
			t.Errorf("import of %s: %s", lines, report)
		}
	}
	for name, lines := range map[string]string{"now": exported, "then": then} {
		other := newConversations(t, url, "other-"+name)
		other.want(http.StatusOK, "POST", "/api/cron/import", lines)
		other.runIn("a", former)
		if again := other.want(http.StatusOK, "GET", "/api/cron/export", ""); again != exported {
			t.Errorf("exported %s again: %s", name, again)
		}
	}

	// Brought back to what it was, whatever it is by then.
	c.want(http.StatusOK, "PATCH", "/api/cron/jobs/a", `{"threadId":"22"}`)
	c.runIn("a", "agent:main:telegram:group:-100123:thread:22")
	c.want(http.StatusOK, "POST", "/api/cron/import", then)
	c.runIn("a", former)
	c.want(http.StatusOK, "POST", "/api/cron/import", strings.Replace(exported, `"sessionForm":1`, `"sessionForm":2`, 1))
	c.runIn("a", today)

	// Another conversation, another key.
	for field, tt := range map[string]struct{ edit, session string }{
		"threadId":   {`{"threadId":"22"}`, "agent:main:telegram:group:-100123:thread:22"},
		"isGroup":    {`{"isGroup":true}`, today},
		"agentId":    {`{"agentId":"b"}`, "agent:b:telegram:group:-100123:thread:11"},
		"peerId":     {`{"peerId":"5"}`, today},
		"sessionKey": {`{"sessionKey":"agent:main:x"}`, "agent:main:x"},
		"context":    {`{"context":"isolated"}`, "agent:main:cron:context:isolated"},
		"chat":       {`{"channel":null,"chatId":null,"threadId":null}`, "agent:main:cron:chat"},
	} {
		id := strings.ToLower(field)
		store(id)
		c.want(http.StatusOK, "PATCH", "/api/cron/jobs/"+id, tt.edit)
		c.runIn(id, tt.session)
		c.want(http.StatusOK, "PATCH", "/api/cron/jobs/"+id, `{"name":"n"}`)
		c.runIn(id, tt.session)
	}

	// A new one, moved, is what it was; a line by hand is a new one.
	c.define("new", `"channel":"telegram","chatId":"-100123","threadId":"11"`)
	moved := newConversations(t, url, "moved")
	moved.want(http.StatusOK, "POST", "/api/cron/import", c.want(http.StatusOK, "GET", "/api/cron/export", ""))
	moved.runIn("new", today)
	moved.want(http.StatusOK, "POST", "/api/cron/import",
		`{"id":"by-hand","every":86400,"task":"x","deliver":"never","channel":"telegram","chatId":"-100123","threadId":"11"}`)
	moved.runIn("by-hand", today)
}
