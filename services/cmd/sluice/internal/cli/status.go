package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/sluiceflow/sluice/pkg/client"
	"github.com/sluiceflow/sluice/services/internal/conf"
)

// unknown stands for what a console does not say.
const unknown = "unknown"

// errNotReady makes the exit code say so, too.
var errNotReady = errors.New("not ready")

// Status shows how an installation is.
func Status(lookup conf.Lookup) *cobra.Command {
	return command(lookup, "status", "Show the version, the promise of durability and what is not well", cobra.NoArgs,
		func(cmd *cobra.Command, console *client.Client, _ []string) error {
			ready, err := console.Ready(cmd.Context())
			if err != nil {
				return err
			}
			if err := writeStatus(cmd.OutOrStdout(), ready); err != nil {
				return err
			}
			if ready.Status != "ready" {
				return errNotReady
			}
			return nil
		})
}

func writeStatus(out io.Writer, r *client.Readiness) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "status\t%s\n", r.Status)
	fmt.Fprintf(table, "version\t%s\n", cmp.Or(r.Version, unknown))
	fmt.Fprintf(table, "durability\t%s\t%s\n", cmp.Or(r.Durability, unknown), r.DurabilityDetail)
	fmt.Fprintf(table, "roles here\t%s\n", cmp.Or(strings.Join(r.Roles, " "), unknown))
	if r.Partitions != "" {
		fmt.Fprintf(table, "partitions here\t%s\n", r.Partitions)
	}
	if r.Layout.Partitions > 0 {
		fmt.Fprintf(table, "streams\t%d partitions, %d shards, %d replicas\n", r.Layout.Partitions, r.Layout.Shards, r.Layout.Replicas)
	}
	for _, name := range slices.Sorted(maps.Keys(r.Checks)) {
		fmt.Fprintf(table, "%s\t%s\n", name, r.Checks[name])
	}
	return table.Flush()
}
