package cli

import (
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluiceflow/sluice/pkg/client"
	"github.com/sluiceflow/sluice/services/internal/conf"
)

// Flow is the commands about flows.
func Flow(lookup conf.Lookup) *cobra.Command {
	cmd := &cobra.Command{Use: "flow", Short: "Start, show, list, cancel and repair flows"}
	cmd.AddCommand(flowStart(lookup), flowGet(lookup), flowList(lookup), flowCancel(lookup), flowEvents(lookup),
		flowPause(lookup), flowResume(lookup), flowRetry(lookup), flowSkip(lookup), flowComplete(lookup), flowFail(lookup),
		flowApprove(lookup), flowReject(lookup))
	return cmd
}

func flowStart(lookup conf.Lookup) *cobra.Command {
	var (
		request      client.StartRequest
		init, labels []string
		timeout      time.Duration
		at           string
		wait         bool
	)
	cmd := command(lookup, "start GOAL...", "Start a flow that reaches steps", cobra.MinimumNArgs(1),
		func(cmd *cobra.Command, console *client.Client, args []string) (err error) {
			request.Goals, request.TimeoutMS = args, timeout.Milliseconds()
			if request.Init, err = pairs("init", init, value); err != nil {
				return err
			}
			if request.Labels, err = pairs("label", labels, func(s string) string { return s }); err != nil {
				return err
			}
			if at != "" {
				if request.StartAt, err = time.Parse(time.RFC3339, at); err != nil {
					return fmt.Errorf("--at %q is no time such as 2030-01-31T09:30:00Z", at)
				}
			}
			id, err := console.StartFlow(cmd.Context(), request)
			if err != nil {
				return err
			}
			if _, err := fmt.Fprintln(cmd.OutOrStdout(), id); err != nil || !wait {
				return err
			}
			return waitFor(cmd, console, id)
		})
	flags := cmd.Flags()
	flags.StringVar(&request.ID, "id", "", "id of the flow; one is made by default")
	flags.StringArrayVar(&init, "init", nil, "attribute to begin with, as name=value; a value that is no JSON is a string (repeatable)")
	flags.StringArrayVar(&labels, "label", nil, "label, as name=value (repeatable)")
	flags.DurationVar(&timeout, "timeout", 0, "how long the flow may take; 0 is no limit")
	flags.StringVar(&at, "at", "", "when its steps start, such as 2030-01-31T09:30:00Z; at once by default")
	flags.BoolVar(&wait, "wait", false, "wait for the end; an end that is not completed is an error")
	return cmd
}

// pairs reads a list of name=value.
func pairs[V any](flag string, list []string, read func(string) V) (map[string]V, error) {
	values := make(map[string]V, len(list))
	for _, pair := range list {
		name, text, ok := strings.Cut(pair, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("--%s %q is not name=value", flag, pair)
		}
		values[name] = read(text)
	}
	return values, nil
}

// value is JSON where the text is some, else a string. Numbers keep their text.
func value(text string) any {
	if json.Valid([]byte(text)) {
		return json.RawMessage(text)
	}
	return text
}

func waitFor(cmd *cobra.Command, console *client.Client, id string) error {
	digest, err := console.WaitFlow(cmd.Context(), id)
	if err != nil {
		return err
	}
	if digest.Status != client.Completed {
		return fmt.Errorf("flow %s: %s %s", id, digest.Status, digest.Error)
	}
	_, err = fmt.Fprintln(cmd.OutOrStdout(), digest.Status)
	return err
}

func flowGet(lookup conf.Lookup) *cobra.Command {
	var wait bool
	cmd := command(lookup, "get ID", "Show a flow's whole state", cobra.ExactArgs(1),
		func(cmd *cobra.Command, console *client.Client, args []string) error {
			if wait {
				if _, err := console.WaitFlow(cmd.Context(), args[0]); err != nil {
					return err
				}
			}
			state, err := console.Flow(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return writeJSON(cmd.OutOrStdout(), state)
		})
	cmd.Flags().BoolVar(&wait, "wait", false, "wait for the end first, whatever it is")
	return cmd
}

func flowList(lookup conf.Lookup) *cobra.Command {
	var (
		filter   client.FlowFilter
		statuses []string
		limit    int
	)
	cmd := command(lookup, "list", "List flows, newest first", cobra.NoArgs,
		func(cmd *cobra.Command, console *client.Client, _ []string) error {
			for _, status := range statuses {
				filter.Statuses = append(filter.Statuses, client.Status(status))
			}
			table := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(table, "ID\tSTATUS\tCREATED\tERROR")
			count := 0
			for flow, err := range console.Flows(cmd.Context(), filter) {
				if err != nil {
					return err
				}
				fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", flow.ID, flow.Digest.Status,
					flow.Digest.CreatedAt.UTC().Format(time.RFC3339), flow.Digest.Error)
				if count++; count == limit {
					break
				}
			}
			return table.Flush()
		})
	flags := cmd.Flags()
	flags.StringSliceVar(&statuses, "status", nil, "only flows with one of these statuses")
	flags.StringArrayVar(&filter.Labels, "label", nil, "only flows with this label, as name=value or name (repeatable)")
	flags.StringVar(&filter.Goal, "goal", "", "only flows with this goal")
	flags.StringVar(&filter.IDPrefix, "id-prefix", "", "only flows whose ids begin so")
	flags.BoolVar(&filter.Children, "children", false, "flows that other flows started, too")
	flags.IntVar(&limit, "limit", 100, "how many at most; 0 is all")
	return cmd
}

func flowCancel(lookup conf.Lookup) *cobra.Command {
	var reason string
	cmd := command(lookup, "cancel ID", "Cancel a flow", cobra.ExactArgs(1),
		func(cmd *cobra.Command, console *client.Client, args []string) error {
			return console.CancelFlow(cmd.Context(), args[0], reason)
		})
	cmd.Flags().StringVar(&reason, "reason", "", "why")
	return cmd
}

func flowEvents(lookup conf.Lookup) *cobra.Command {
	return command(lookup, "events ID", "Show a flow's history, an event a line", cobra.ExactArgs(1),
		func(cmd *cobra.Command, console *client.Client, args []string) error {
			events, err := console.FlowEvents(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			out := json.NewEncoder(cmd.OutOrStdout())
			out.SetEscapeHTML(false)
			for _, e := range events {
				if err := out.Encode(e); err != nil {
					return fmt.Errorf("write an event: %w", err)
				}
			}
			return nil
		})
}
