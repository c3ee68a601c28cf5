package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sluiceflow/sluice/pkg/client"
	"github.com/sluiceflow/sluice/services/internal/conf"
)

func flowApprove(lookup conf.Lookup) *cobra.Command {
	return decide(lookup, "approve ID STEP", "Say yes to what a step asks people", (*client.Client).Approve)
}

func flowReject(lookup conf.Lookup) *cobra.Command {
	return decide(lookup, "reject ID STEP", "Say no to what a step asks people", (*client.Client).Reject)
}

func decide(lookup conf.Lookup, use, short string, say func(*client.Client, context.Context, client.Decision) (string, error)) *cobra.Command {
	var d client.Decision
	cmd := command(lookup, use, short, cobra.ExactArgs(2),
		func(cmd *cobra.Command, console *client.Client, args []string) error {
			d.Flow, d.Step = args[0], args[1]
			says, err := say(console, cmd.Context(), d)
			if err == nil {
				fmt.Fprintln(cmd.OutOrStdout(), says)
			}
			return err
		})
	cmd.Flags().StringVar(&d.Item, "item", "", "place of the work item, such as 0, where the step has several")
	cmd.Flags().StringVar(&d.By, "by", "", "who says it, where the console has no API keys")
	cmd.Flags().StringVar(&d.Comment, "comment", "", "for the flow's history")
	return cmd
}
