package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluiceflow/sluice/services/internal/bus"
	"github.com/sluiceflow/sluice/services/internal/conf"
	"github.com/sluiceflow/sluice/services/internal/telemetry"
)

// applyTimeout bounds the whole of a change, the waiting for NATS included.
const applyTimeout = time.Minute

func streamsCommand(w world) *cobra.Command {
	cmd := &cobra.Command{Use: "streams", Short: "Look at the streams on NATS, and change them"}
	cmd.AddCommand(streamsListCommand(w), streamsApplyCommand(w))
	return cmd
}

// streamsApplyCommand is the way out of a start that was refused since streams
// exist with other sizes or replicas.
func streamsApplyCommand(w world) *cobra.Command {
	type config struct {
		Telemetry telemetry.Config
		Bus       bus.Config
	}
	cfg := new(config)
	settings := conf.New(cfg, nil)
	cmd := &cobra.Command{
		Use: "apply", Args: cobra.NoArgs,
		Short: "Change sizes and replicas of what exists to the settings",
		Long: "Change sizes and replicas of the streams that exist, and their consumers, to the settings.\n\n" +
			"Give it the settings that all roles are then started with. Roles that run may go on. What cannot be\n" +
			"changed (such as PARTITIONS) is refused, and then nothing is changed.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := settings.Load(w.lookup); err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), applyTimeout)
			defer cancel()
			b, err := bus.Connect(ctx, cfg.Bus, "sluice-streams", telemetry.Logger(cfg.Telemetry, w.stderr))
			if err != nil {
				return err
			}
			defer b.Close()
			changes := 0
			err = b.Apply(ctx, func(change string) {
				changes++
				fmt.Fprintln(w.stdout, change)
			})
			if err == nil && changes == 0 {
				fmt.Fprintln(w.stdout, "nothing to change")
			}
			return err
		},
	}
	settings.Bind(cmd.Flags())
	return cmd
}
