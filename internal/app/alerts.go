package app

import (
	"context"
	"fmt"

	"github.com/gatewaycron/gatewaycron/internal/alert"
	"github.com/gatewaycron/gatewaycron/internal/job"
)

// alerts makes the sender of what there is to tell. A target that cannot be sent to stops
// the start: it would be noticed when something else went wrong.
func (a *App) alerts(channels channelManager, leads func() bool) (*alert.Sender, error) {
	c := a.opts.Config
	o := alert.Options{Outbox: a.store, Channels: channels, ID: a.id, Leads: leads, Logger: a.logger,
		Chat: job.Target{Channel: c.AlertChannel, ChatID: c.AlertChat, ThreadID: c.AlertThread}}
	if problems := channels.Check(o.Chat); len(problems) > 0 {
		return nil, fmt.Errorf("GATEWAY_CRON_ALERT_CHANNEL and GATEWAY_CRON_ALERT_CHAT: %w", &job.InvalidError{Problems: problems})
	}
	if c.AlertURL != "" {
		hook, err := alert.NewHook(alert.HookOptions{URL: c.AlertURL, Secret: c.AlertSecret})
		if err != nil {
			return nil, fmt.Errorf("GATEWAY_CRON_ALERT_URL and GATEWAY_CRON_ALERT_SECRET: %w", err)
		}
		a.onClose(hook.CloseIdle)
		o.Hook = hook
	}
	return alert.New(o), nil
}

// outsideWatch makes what calls the outside watch, if there is one.
func (a *App) outsideWatch(leads func() bool, signals *signals) ([]func(context.Context) error, error) {
	url := a.opts.Config.HeartbeatURL
	if url == "" {
		return nil, nil
	}
	h, err := alert.NewHeartbeat(alert.HeartbeatOptions{URL: url, Failing: signals.failing, Logger: a.logger,
		Leads: func(ctx context.Context) (bool, error) {
			if err := a.ready(ctx); err != nil {
				return false, err
			}
			return leads(), nil
		}})
	if err != nil {
		return nil, fmt.Errorf("GATEWAY_CRON_HEARTBEAT_URL: %w", err)
	}
	return []func(context.Context) error{h.Run}, nil
}
