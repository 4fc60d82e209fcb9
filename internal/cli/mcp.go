package cli

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/gatewaycron/gatewaycron/internal/client"
	"github.com/gatewaycron/gatewaycron/internal/config"
	"github.com/gatewaycron/gatewaycron/internal/mcp"
)

// toolPatience is how long a tool waits for an API that asks for it.
const toolPatience = 3 * time.Second

// newMCP is the command that a client of the Model Context Protocol starts as its child
// and talks to over the standard streams, so that nothing else may be printed there.
func newMCP(version string, stdin io.Reader, stdout, stderr io.Writer) *cobra.Command {
	return &cobra.Command{Use: "mcp", Short: "offer the jobs as tools to an AI agent (MCP over stdin and stdout)",
		Long: `Offers the jobs as tools to an AI agent, by the Model Context Protocol over
stdin and stdout; the agent's program starts it. It calls the gateway-cron that
runs at GATEWAY_CRON_URL (without it, at GATEWAY_CRON_ADDR) with
GATEWAY_CRON_TOKEN. A running gateway-cron offers the same tools at /mcp.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := load()
			if err != nil {
				return err
			}
			calls, err := client.New(c.APIURL(), c.Token, nil)
			if err != nil {
				return usageError{fmt.Errorf("%sURL: %w", config.EnvPrefix, err)}
			}
			// One agent asks here: a moment costs it less than another turn. What takes
			// longer, the tools say.
			calls = calls.Patient(client.Patience{Most: toolPatience})
			tools := mcp.New(mcp.Options{Client: calls, Version: version, Now: time.Now, Logger: newLogger(c.Config, stderr)})
			return tools.Run(cmd.Context(), stdin, stdout)
		}}
}
