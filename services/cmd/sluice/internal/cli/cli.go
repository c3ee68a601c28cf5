// Package cli is the command line for people: it talks to the console.
package cli

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/sluiceflow/sluice/pkg/client"
	"github.com/sluiceflow/sluice/services/internal/conf"
)

// config is where the console is.
type config struct {
	URL string `env:"CONSOLE_URL" envDefault:"http://127.0.0.1:8080" help:"URL of the console, or of sluice dev"`
	Key string `env:"CONSOLE_KEY" secret:"true" help:"API key, where the console wants one"`
}

// command makes a command that is given a client of the console.
func command(
	lookup conf.Lookup, use, short string, args cobra.PositionalArgs,
	do func(cmd *cobra.Command, console *client.Client, args []string) error,
) *cobra.Command {
	cfg := new(config)
	settings := conf.New(cfg, nil)
	cmd := &cobra.Command{
		Use: use, Short: short, Args: args,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := settings.Load(lookup); err != nil {
				return err
			}
			console, err := client.New(cfg.URL, client.Options{Key: cfg.Key})
			if err != nil {
				return err
			}
			return do(cmd, console, args)
		},
	}
	settings.Bind(cmd.Flags())
	return cmd
}

// writeJSON writes a value for people and programs to read.
func writeJSON(out io.Writer, value any) error {
	data, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return fmt.Errorf("write as JSON: %w", err)
	}
	_, err = fmt.Fprintf(out, "%s\n", data)
	return err
}
