package cli

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluiceflow/sluice/pkg/client"
	"github.com/sluiceflow/sluice/services/internal/conf"
)

// Dead is the commands about dead letters.
func Dead(lookup conf.Lookup) *cobra.Command {
	cmd := &cobra.Command{Use: "dead", Short: "List, show, redrive and drop what can never be processed"}
	cmd.AddCommand(deadList(lookup), deadShow(lookup),
		deadEach(lookup, "redrive ID...", "Publish the messages again and remove their letters", "redriven", (*client.Client).RedriveDeadLetter),
		deadEach(lookup, "drop ID...", "Remove letters and their messages, for good", "dropped", (*client.Client).DropDeadLetter))
	return cmd
}

func deadList(lookup conf.Lookup) *cobra.Command {
	var (
		filter client.DeadFilter
		limit  int
	)
	cmd := command(lookup, "list", "List dead letters, newest first", cobra.NoArgs,
		func(cmd *cobra.Command, console *client.Client, _ []string) error {
			table := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(table, "ID\tWHAT\tCLASS\tFLOW\tDEAD SINCE\tREDRIVES\tREASON")
			count := 0
			for l, err := range console.DeadLetters(cmd.Context(), filter) {
				if err != nil {
					return err
				}
				fmt.Fprintf(table, "%d\t%s\t%s\t%s\t%s\t%d\t%s\n", l.ID, l.What, l.Class, cmp.Or(l.FlowID, "-"),
					l.DeadAt.UTC().Format(time.RFC3339), l.Redrives, strconv.QuoteToGraphic(l.Reason))
				if count++; count == limit {
					break
				}
			}
			return table.Flush()
		})
	flags := cmd.Flags()
	flags.StringVar(&filter.What, "what", "", "only those that were this: command, invocation or wake")
	flags.IntVar(&limit, "limit", 100, "how many at most; 0 is all")
	return cmd
}

func deadShow(lookup conf.Lookup) *cobra.Command {
	return command(lookup, "show ID", "Show a dead letter with its message", cobra.ExactArgs(1),
		func(cmd *cobra.Command, console *client.Client, args []string) error {
			id, err := letterID(args[0])
			if err != nil {
				return err
			}
			letter, err := console.DeadLetter(cmd.Context(), id)
			if err != nil {
				return err
			}
			return writeJSON(cmd.OutOrStdout(), letter)
		})
}

// deadEach makes a command that does one thing with letters, one after the other,
// and stops at the first that it cannot be done with.
func deadEach(
	lookup conf.Lookup, use, short, said string, do func(*client.Client, context.Context, uint64) error,
) *cobra.Command {
	return command(lookup, use, short, cobra.MinimumNArgs(1),
		func(cmd *cobra.Command, console *client.Client, args []string) error {
			ids := make([]uint64, len(args))
			for i, arg := range args {
				id, err := letterID(arg)
				if err != nil {
					return err
				}
				ids[i] = id
			}
			for _, id := range ids {
				if err := do(console, cmd.Context(), id); err != nil {
					return fmt.Errorf("dead letter %d: %w", id, err)
				}
				if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%d %s\n", id, said); err != nil {
					return err
				}
			}
			return nil
		})
}

func letterID(text string) (uint64, error) {
	id, err := strconv.ParseUint(text, 10, 64)
	if err != nil || id == 0 {
		return 0, fmt.Errorf("%q is not the number of a dead letter", text)
	}
	return id, nil
}
