package app

import (
	"context"
	"fmt"
	"strings"

	"github.com/gatewaycron/gatewaycron/internal/channel"
	"github.com/gatewaycron/gatewaycron/internal/config"
	"github.com/gatewaycron/gatewaycron/internal/doctor"
)

// connection is a channel that this product can connect, and all that it knows of one beside
// what every channel can.
type connection struct {
	name    string // by which jobs name it; "" serves every name that no other has
	people  string // what people call it
	setting string // that connects it
	on      func(c config.Config) bool
	// off takes its settings out of a configuration, its secrets too.
	off     func(c *config.Config)
	connect func(c config.Config) (askedChannel, error)
	// unsure is the error of a question that the channel may not know; nil if it knows it.
	unsure error
	well   func(c config.Config, said string) string // what the doctor says of one that responds
	remedy func(c config.Config) string              // where it does not
}

// askedChannel is a channel that can say how it is.
type askedChannel interface {
	channel.Channel
	asker
}

// connections are the channels that there are. Whoever needs one by one ranges over them.
func connections() []connection {
	return []connection{
		{
			name: "telegram", people: "telegram", setting: "GATEWAY_CRON_TELEGRAM_TOKEN",
			on:  func(c config.Config) bool { return c.TelegramToken != "" },
			off: func(c *config.Config) { c.TelegramToken = "" },
			connect: func(c config.Config) (askedChannel, error) {
				return channel.NewTelegram(channel.TelegramOptions{Token: c.TelegramToken, ServerURL: c.TelegramURL})
			},
			well: func(_ config.Config, said string) string { return said },
			remedy: func(c config.Config) string {
				return "is GATEWAY_CRON_TELEGRAM_TOKEN as @BotFather gave it, and " + c.TelegramURL + " within reach?"
			},
		},
		{
			people: "channel manager", setting: "GATEWAY_CRON_CHANNEL_MANAGER_URL",
			on:  func(c config.Config) bool { return c.ChannelManagerURL != "" },
			off: func(c *config.Config) { c.ChannelManagerURL, c.ChannelManagerToken = "", "" },
			connect: func(c config.Config) (askedChannel, error) {
				return channel.NewHTTP(channel.HTTPOptions{BaseURL: c.ChannelManagerURL, Token: c.ChannelManagerToken})
			},
			unsure: channel.ErrNoHealth,
			well:   func(c config.Config, said string) string { return c.ChannelManagerURL + " " + said },
			remedy: func(config.Config) string {
				return "start it, or set GATEWAY_CRON_CHANNEL_MANAGER_URL and …_TOKEN"
			},
		},
	}
}

type channelManager = *channel.Manager

// channels connects what the configuration names. Without any, no job can have a target.
func channels(c config.Config) (channelManager, error) {
	direct := map[string]channel.Channel{}
	var fallback channel.Channel
	for _, ch := range connections() {
		if !ch.on(c) {
			continue
		}
		connected, err := ch.connect(c)
		switch {
		case err != nil:
			return nil, fmt.Errorf("%s: %w", ch.setting, err)
		case ch.name == "":
			fallback = connected
		default:
			direct[ch.name] = connected
		}
	}
	return channel.NewManager(direct, fallback), nil
}

// channelParties are the channels that the doctor asks, and what is wrong with their settings.
func channelParties(c config.Config) (all []doctor.Party, found []doctor.Finding) {
	var settings []string
	for _, ch := range connections() {
		settings = append([]string{ch.setting}, settings...)
		if !ch.on(c) {
			continue
		}
		connected, err := ch.connect(c)
		if err != nil {
			found = append(found, doctor.Finding{Level: doctor.Fail, What: ch.people, Found: err.Error()})
			continue
		}
		all = append(all, doctor.Party{What: ch.people, Unsure: ch.unsure, Remedy: ch.remedy(c),
			Ask: func(ctx context.Context) (string, error) {
				said, err := connected.Ask(ctx)
				return ch.well(c, said), err
			}})
	}
	if len(all)+len(found) == 0 {
		found = append(found, doctor.Finding{Level: doctor.Warn, What: "channels", Found: "none is connected: replies stay in the history",
			Remedy: "set " + strings.Join(settings, " or ")})
	}
	return all, found
}

// withoutChannels takes every channel out of a configuration.
func withoutChannels(c *config.Config) {
	for _, ch := range connections() {
		ch.off(c)
	}
}
