package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gatewaycron/gatewaycron/internal/config"
	"github.com/gatewaycron/gatewaycron/internal/job"
	"github.com/gatewaycron/gatewaycron/internal/standin"
)

// StandIns say where the stand-ins listen; for the demo and for tests only.
type StandIns struct {
	AIAddr       string // host:port; port 0 picks one
	ChannelAddr  string
	ChannelToken string
	// JournalDir, if set, gets ai.jsonl and channel.jsonl: every request received,
	// one a line.
	JournalDir string
	Stdout     io.Writer
}

// RunDemo serves everything with stand-ins in place of the ai-server and the
// channel manager, and says so. Its data lie apart from those of serve.
func RunDemo(ctx context.Context, o Options) error {
	ai, messages, stop, err := StandIns{AIAddr: "127.0.0.1:0", ChannelAddr: "127.0.0.1:0", Stdout: o.Stdout}.start()
	if err != nil {
		return err
	}
	defer stop()
	withoutChannels(&o.Config)
	o.Config.AIServerURL, o.Config.ChannelManagerURL = ai, messages
	o.Config.AlertURL, o.Config.AlertSecret, o.Config.HeartbeatURL = "", "", ""
	o.Config.StateDir = filepath.Join(o.Config.StateDir, "demo")
	o.Config.Prefix += "-demo" // on a Redis that serve uses too, its jobs are not the demo's to run
	fmt.Fprintf(o.Stdout, "DEMO: no model and no chat. A stand-in ai-server echoes each task (%s),\n"+
		"and a stand-in channel writes down each message: GET %s/messages\n", ai, messages)
	o.welcome = welcome
	return Run(ctx, o)
}

// welcome makes sure of a job to try the demo with, and prints commands to copy.
func welcome(ctx context.Context, a *App) {
	_, err := a.store.CreateJob(ctx, "hello", job.Spec{Name: "Hello", Schedule: "0 9 * * *", Enabled: true, Task: "Say hello",
		Channel: "telegram", ChatID: "123"})
	if err != nil && !errors.Is(err, job.ErrExists) {
		a.logger.Warn("the demo's job was not made", "err", err)
		return
	}
	command, flags := shellWord(cmp.Or(a.opts.Command, "gateway-cron")), ""
	if addr := a.Addr(); addr != config.DefaultAddr {
		flags = " --url " + a.opts.Config.Scheme() + "://" + reachable(addr)
	}
	where := "In another terminal, from here"
	if a.opts.Config.Token != "" {
		where += ", with the GATEWAY_CRON_TOKEN of this one"
	}
	fmt.Fprintf(a.opts.Stdout, "%s:\n\n  %[2]s job run hello --wait%[3]s\n"+
		"  %[2]s job add \"*/5 * * * *\" \"Look after the build\" --channel telegram --chat 123%[3]s\n"+
		"  %[2]s jobs%[3]s\n", where, command, flags)
}

// reachable is an address at which this machine reaches one that is listened on.
func reachable(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if ip := net.ParseIP(host); err != nil || ip != nil && !ip.IsUnspecified() {
		return addr
	}
	return net.JoinHostPort("127.0.0.1", port)
}

// shellWord quotes what a shell would take apart.
func shellWord(s string) string {
	if strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./+:@%") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// RunStandIns serves only the stand-ins, until ctx ends.
func RunStandIns(ctx context.Context, s StandIns) error {
	ai, messages, stop, err := s.start()
	if err != nil {
		return err
	}
	defer stop()
	fmt.Fprintf(s.Stdout, "stand-ins ready: ai-server %s, channel manager %s\n", ai, messages)
	<-ctx.Done()
	return nil
}

// start runs both stand-ins and answers their URLs.
func (s StandIns) start() (ai, messages string, stop func(), err error) {
	var closers []func() error
	closeAll := func() {
		for _, c := range slices.Backward(closers) {
			_ = c() // the process ends anyway
		}
	}
	defer func() {
		if err != nil {
			closeAll()
		}
	}()
	journal := func(name string) string {
		if s.JournalDir == "" {
			return ""
		}
		return filepath.Join(s.JournalDir, name)
	}
	echo, err := standin.NewEchoAI(standin.EchoOptions{JournalPath: journal("ai.jsonl")})
	if err != nil {
		return "", "", nil, fmt.Errorf("start the stand-in ai-server: %w", err)
	}
	closers = append(closers, echo.Close)
	recorder, err := standin.NewRecordingChannel(standin.ChannelOptions{Token: s.ChannelToken, JournalPath: journal("channel.jsonl"),
		OnMessage: func(m standin.Message) {
			fmt.Fprintf(s.Stdout, "stand-in channel: message to %s chat %s: %s\n", m.Channel, m.ChatID, firstLine(m.Text))
		}})
	if err != nil {
		return "", "", nil, fmt.Errorf("start the stand-in channel: %w", err)
	}
	closers = append(closers, recorder.Close)
	aiServer, err := echo.Start(s.AIAddr)
	if err != nil {
		return "", "", nil, fmt.Errorf("start the stand-in ai-server: %w", err)
	}
	closers = append(closers, aiServer.Close)
	channelServer, err := recorder.Start(s.ChannelAddr)
	if err != nil {
		return "", "", nil, fmt.Errorf("start the stand-in channel: %w", err)
	}
	closers = append(closers, channelServer.Close)
	return aiServer.URL(), channelServer.URL(), closeAll, nil
}

// firstLine cuts a message down to what fits a line of a terminal.
func firstLine(text string) string {
	const most = 100
	for i, r := range text {
		if r == '\n' || i >= most {
			return text[:i] + "…"
		}
	}
	return text
}
