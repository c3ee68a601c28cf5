package cli

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/sluiceflow/sluice/pkg/client"
	"github.com/sluiceflow/sluice/services/internal/conf"
)

func flowPause(lookup conf.Lookup) *cobra.Command {
	var reason string
	cmd := command(lookup, "pause ID", "Let nothing new of a flow start", cobra.ExactArgs(1),
		func(cmd *cobra.Command, console *client.Client, args []string) error {
			return console.PauseFlow(cmd.Context(), args[0], reason)
		})
	reasonFlag(cmd, &reason)
	return cmd
}

func flowResume(lookup conf.Lookup) *cobra.Command {
	var reason string
	cmd := command(lookup, "resume ID", "Make a paused flow go on", cobra.ExactArgs(1),
		func(cmd *cobra.Command, console *client.Client, args []string) error {
			return console.ResumeFlow(cmd.Context(), args[0], reason)
		})
	reasonFlag(cmd, &reason)
	return cmd
}

func flowRetry(lookup conf.Lookup) *cobra.Command {
	var o client.Override
	cmd := command(lookup, "retry ID [STEP]", "Begin a flow's failed steps again, or one step", cobra.RangeArgs(1, 2),
		func(cmd *cobra.Command, console *client.Client, args []string) error {
			if len(args) == 2 {
				o.Flow, o.Step = args[0], args[1]
				return console.RetryStep(cmd.Context(), o)
			}
			if o.Item != "" {
				return errors.New("--item needs a step")
			}
			return console.RetryFlow(cmd.Context(), args[0], o.Reason)
		})
	overrideFlags(cmd, &o)
	return cmd
}

func flowSkip(lookup conf.Lookup) *cobra.Command {
	var o client.Override
	cmd := command(lookup, "skip ID STEP", "Skip a step by hand", cobra.ExactArgs(2),
		func(cmd *cobra.Command, console *client.Client, args []string) error {
			o.Flow, o.Step = args[0], args[1]
			return console.SkipStep(cmd.Context(), o)
		})
	overrideFlags(cmd, &o)
	return cmd
}

func flowComplete(lookup conf.Lookup) *cobra.Command {
	var (
		o       client.Override
		outputs []string
	)
	cmd := command(lookup, "complete ID STEP", "Complete a step by hand", cobra.ExactArgs(2),
		func(cmd *cobra.Command, console *client.Client, args []string) error {
			o.Flow, o.Step = args[0], args[1]
			values, err := pairs("output", outputs, value)
			if err != nil {
				return err
			}
			return console.CompleteStep(cmd.Context(), o, values)
		})
	overrideFlags(cmd, &o)
	cmd.Flags().StringArrayVar(&outputs, "output", nil, "output, as name=value; a value that is no JSON is a string (repeatable)")
	return cmd
}

func flowFail(lookup conf.Lookup) *cobra.Command {
	var (
		o       client.Override
		message string
	)
	cmd := command(lookup, "fail ID STEP", "Fail a step by hand", cobra.ExactArgs(2),
		func(cmd *cobra.Command, console *client.Client, args []string) error {
			o.Flow, o.Step = args[0], args[1]
			return console.FailStep(cmd.Context(), o, message)
		})
	overrideFlags(cmd, &o)
	cmd.Flags().StringVar(&message, "error", "", "what went wrong")
	return cmd
}

func reasonFlag(cmd *cobra.Command, reason *string) {
	cmd.Flags().StringVar(reason, "reason", "", "why, for the flow's history")
}

func overrideFlags(cmd *cobra.Command, o *client.Override) {
	reasonFlag(cmd, &o.Reason)
	cmd.Flags().StringVar(&o.Item, "item", "", "place of the work item, such as 0; the whole step by default")
}
