package app

import (
	"fmt"
	"net/http"
	"time"

	"github.com/gatewaycron/gatewaycron/api"
	"github.com/gatewaycron/gatewaycron/internal/client"
	"github.com/gatewaycron/gatewaycron/internal/mcp"
)

// tools are the API's routes as tools for models. Their calls stay in the process and
// bear the token of whoever calls the tool.
func (a *App) tools(o api.Options, routes http.Handler) (http.Handler, error) {
	calls, err := client.New("http://127.0.0.1", "", client.Handler(api.Checked(routes)))
	if err != nil {
		return nil, fmt.Errorf("make the client of the tools: %w", err)
	}
	s := mcp.New(mcp.Options{Client: calls, Version: a.opts.Version, Now: time.Now, Logger: a.logger})
	return api.Protect(o, s.Handler(a.opts.Config.MaxBodyBytes), s.Stops), nil
}
