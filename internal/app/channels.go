package app

import (
	"fmt"

	"github.com/gatewaycron/gatewaycron/internal/channel"
	"github.com/gatewaycron/gatewaycron/internal/config"
)

type channelManager = *channel.Manager

// channels connects what the configuration names: Telegram directly, and a
// channel manager for every other name. Without either, no job can have a target.
func channels(c config.Config) (channelManager, error) {
	direct := map[string]channel.Channel{}
	if c.TelegramToken != "" {
		telegram, err := channel.NewTelegram(channel.TelegramOptions{Token: c.TelegramToken, ServerURL: c.TelegramURL})
		if err != nil {
			return nil, fmt.Errorf("GATEWAY_CRON_TELEGRAM_TOKEN: %w", err)
		}
		direct["telegram"] = telegram
	}
	var fallback channel.Channel
	if c.ChannelManagerURL != "" {
		manager, err := channel.NewHTTP(channel.HTTPOptions{BaseURL: c.ChannelManagerURL, Token: c.ChannelManagerToken})
		if err != nil {
			return nil, fmt.Errorf("GATEWAY_CRON_CHANNEL_MANAGER_URL: %w", err)
		}
		fallback = manager
	}
	return channel.NewManager(direct, fallback), nil
}
