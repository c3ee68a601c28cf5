package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluiceflow/sluice/pkg/client"
	"github.com/sluiceflow/sluice/services/internal/conf"
)

// Schedule is the commands about schedules.
func Schedule(lookup conf.Lookup) *cobra.Command {
	cmd := &cobra.Command{Use: "schedule", Short: "List, show, put, pause, resume and delete schedules"}
	cmd.AddCommand(scheduleList(lookup), scheduleGet(lookup), schedulePut(lookup),
		onSchedule(lookup, "pause ID", "Let a schedule start nothing", (*client.Client).PauseSchedule),
		onSchedule(lookup, "resume ID", "Let a paused schedule go on", (*client.Client).ResumeSchedule),
		onSchedule(lookup, "delete ID", "Delete a schedule; flows that it started go on", (*client.Client).DeleteSchedule))
	return cmd
}

func scheduleList(lookup conf.Lookup) *cobra.Command {
	return command(lookup, "list", "List the schedules", cobra.NoArgs,
		func(cmd *cobra.Command, console *client.Client, _ []string) error {
			schedules, err := console.Schedules(cmd.Context())
			if err != nil {
				return err
			}
			table := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(table, "ID\tWHEN\tNEXT\tLAST\tSTARTED\tMISSED\tSKIPPED\tFAILED\tERROR")
			for i := range schedules {
				s := &schedules[i]
				next, last, problem := "-", "-", ""
				switch {
				case s.Paused:
					next = "paused"
				case len(s.Next) > 0:
					next = s.Next[0].Format(time.RFC3339)
				}
				if s.Last != nil {
					last = s.Last.FlowID
				}
				if s.Error != nil {
					problem = s.Error.Message
				}
				fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%d\t%d\t%d\t%d\t%s\n", s.ID, when(s), next, last, s.Started, s.Missed, s.Skipped, s.Failed, problem)
			}
			return table.Flush()
		})
}

// when says in a few words when a schedule is due.
func when(s *client.Schedule) string {
	switch {
	case s.EveryMS > 0:
		return "every " + (time.Duration(s.EveryMS) * time.Millisecond).String()
	case s.TimeZone != "":
		return s.Cron + " " + s.TimeZone
	default:
		return s.Cron
	}
}

func scheduleGet(lookup conf.Lookup) *cobra.Command {
	return command(lookup, "get ID", "Show a schedule and what has become of it", cobra.ExactArgs(1),
		func(cmd *cobra.Command, console *client.Client, args []string) error {
			s, err := console.Schedule(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return writeJSON(cmd.OutOrStdout(), s)
		})
}

func schedulePut(lookup conf.Lookup) *cobra.Command {
	var path string
	cmd := command(lookup, "put ID -f FILE", "Make a schedule, or replace its definition", cobra.ExactArgs(1),
		func(cmd *cobra.Command, console *client.Client, args []string) error {
			data, err := read(path, cmd.InOrStdin())
			if err != nil {
				return err
			}
			var d client.ScheduleDefinition
			decoder := json.NewDecoder(bytes.NewReader(data))
			decoder.UseNumber() // numbers keep their text
			decoder.DisallowUnknownFields()
			if err := decoder.Decode(&d); err != nil {
				return fmt.Errorf("read the definition: %w", err)
			}
			said := "stored"
			created, err := console.PutSchedule(cmd.Context(), args[0], d)
			if err != nil {
				return err
			}
			if created {
				said = "made"
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s %s\n", args[0], said)
			return err
		})
	cmd.Flags().StringVarP(&path, "file", "f", "-", "file with the definition as JSON; - is the standard input")
	return cmd
}

// onSchedule is a command that does one thing to a schedule.
func onSchedule(lookup conf.Lookup, use, short string, do func(*client.Client, context.Context, string) error) *cobra.Command {
	return command(lookup, use, short, cobra.ExactArgs(1),
		func(cmd *cobra.Command, console *client.Client, args []string) error {
			return do(console, cmd.Context(), args[0])
		})
}
