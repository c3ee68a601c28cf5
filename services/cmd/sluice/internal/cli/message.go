package cli

import (
	"github.com/spf13/cobra"

	"github.com/sluiceflow/sluice/pkg/client"
	"github.com/sluiceflow/sluice/services/internal/conf"
)

// Message is the command for messages that steps wait for.
func Message(lookup conf.Lookup) *cobra.Command {
	cmd := &cobra.Command{Use: "message", Short: "Send messages that steps wait for"}
	cmd.AddCommand(messagePost(lookup))
	return cmd
}

func messagePost(lookup conf.Lookup) *cobra.Command {
	var (
		m       client.Message
		outputs []string
	)
	cmd := command(lookup, "post NAME KEY", "Complete a step that waits for a message of that name and key, now or later", cobra.ExactArgs(2),
		func(cmd *cobra.Command, console *client.Client, args []string) error {
			m.Name, m.Key = args[0], value(args[1])
			var err error
			if m.Outputs, err = pairs("output", outputs, value); err != nil {
				return err
			}
			return console.PostMessage(cmd.Context(), m)
		})
	cmd.Flags().StringArrayVar(&outputs, "output", nil, "output, as name=value; a value that is no JSON is a string (repeatable)")
	cmd.Flags().StringVar(&m.ID, "id", "", "by which the message is known when it is sent again")
	cmd.Flags().DurationVar(&m.TTL, "ttl", 0, "how long it is kept where nobody waits for it yet; a day by default")
	return cmd
}
