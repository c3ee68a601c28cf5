package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/sluiceflow/sluice/services/internal/bus"
	"github.com/sluiceflow/sluice/services/internal/conf"
	"github.com/sluiceflow/sluice/services/internal/telemetry"
)

// streamsListCommand shows how full the streams are.
func streamsListCommand(w world) *cobra.Command {
	type config struct {
		Telemetry telemetry.Config
		Bus       bus.Config
	}
	cfg := new(config)
	settings := conf.New(cfg, map[string]string{"LOG_LEVEL": "warn"}).Without("OTEL_EXPORTER_OTLP_ENDPOINT", "NATS_MONITOR_URL",
		"STREAM_REPLICAS", "COMMANDS_MAX_BYTES", "FLOWS_MAX_BYTES", "INVOCATIONS_MAX_BYTES", "DEAD_MAX_BYTES")
	cmd := &cobra.Command{
		Use: "list", Short: "Show what each stream holds and may hold", Args: cobra.NoArgs,
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
			rooms, err := b.Rooms(ctx)
			if err != nil {
				return err
			}
			return writeRooms(w.stdout, rooms)
		},
	}
	settings.Bind(cmd.Flags())
	return cmd
}

func writeRooms(out io.Writer, rooms []bus.Room) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "STREAM\tMESSAGES\tBYTES\tMAX BYTES\tFULL") // Flush says what failed
	for _, r := range rooms {
		most, full := "no limit", "-"
		if r.MaxBytes > 0 {
			most = strconv.FormatInt(r.MaxBytes, 10)
			full = strconv.FormatFloat(float64(r.Bytes)/float64(r.MaxBytes)*100, 'f', 1, 64) + "%"
		}
		_, _ = fmt.Fprintf(table, "%s\t%d\t%d\t%s\t%s\n", r.Stream, r.Messages, r.Bytes, most, full)
	}
	return table.Flush()
}
