package main

import (
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluiceflow/sluice/services/internal/conf"
)

const healthTimeout = 2 * time.Second

// healthCommand is for images without a shell: the process beside it is asked.
func healthCommand(w world) *cobra.Command {
	type config struct {
		Listen string `env:"LISTEN_ADDR" envDefault:"127.0.0.1:8080" help:"address that the process listens on"`
	}
	cfg := new(config)
	settings := conf.New(cfg, nil)
	cmd := &cobra.Command{
		Use: "health", Short: "Ask the process on LISTEN_ADDR whether it lives", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := settings.Load(w.lookup); err != nil {
				return err
			}
			url := baseURL(cfg.Listen) + "/health"
			req, err := http.NewRequestWithContext(cmd.Context(), http.MethodGet, url, http.NoBody)
			if err != nil {
				return fmt.Errorf("ask %s: %w", url, err)
			}
			resp, err := (&http.Client{Timeout: healthTimeout}).Do(req)
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				return fmt.Errorf("%s answered %s", url, resp.Status)
			}
			return nil
		},
	}
	settings.Bind(cmd.Flags())
	return cmd
}
