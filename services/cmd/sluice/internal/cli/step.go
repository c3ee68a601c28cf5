package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/sluiceflow/sluice/pkg/client"
	"github.com/sluiceflow/sluice/pkg/step"
	"github.com/sluiceflow/sluice/services/internal/conf"
)

// Step is the commands about steps.
func Step(lookup conf.Lookup) *cobra.Command {
	cmd := &cobra.Command{Use: "step", Short: "List, show, register and delete steps"}
	cmd.AddCommand(stepList(lookup), stepGet(lookup), stepApply(lookup), stepDelete(lookup))
	return cmd
}

func stepList(lookup conf.Lookup) *cobra.Command {
	return command(lookup, "list", "List the steps", cobra.NoArgs,
		func(cmd *cobra.Command, console *client.Client, _ []string) error {
			steps, err := console.Steps(cmd.Context())
			if err != nil {
				return err
			}
			table := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(table, "ID\tTYPE\tNAME")
			for _, d := range steps {
				fmt.Fprintf(table, "%s\t%s\t%s\n", d.ID, d.Type, d.Name)
			}
			return table.Flush()
		})
}

func stepGet(lookup conf.Lookup) *cobra.Command {
	return command(lookup, "get ID", "Show a step's definition", cobra.ExactArgs(1),
		func(cmd *cobra.Command, console *client.Client, args []string) error {
			d, err := console.Step(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return writeJSON(cmd.OutOrStdout(), d)
		})
}

func stepDelete(lookup conf.Lookup) *cobra.Command {
	return command(lookup, "delete ID", "Delete a step; flows that run keep it", cobra.ExactArgs(1),
		func(cmd *cobra.Command, console *client.Client, args []string) error {
			return console.DeleteStep(cmd.Context(), args[0])
		})
}

func stepApply(lookup conf.Lookup) *cobra.Command {
	var path string
	cmd := command(lookup, "apply -f FILE", "Register the steps of a file, or update them", cobra.NoArgs,
		func(cmd *cobra.Command, console *client.Client, _ []string) error {
			data, err := read(path, cmd.InOrStdin())
			if err != nil {
				return err
			}
			return each(data, func(d step.Definition) error { return apply(cmd, console, d) })
		})
	cmd.Flags().StringVarP(&path, "file", "f", "-", "file with definitions as JSON, one after the other; - is the standard input")
	return cmd
}

func read(path string, stdin io.Reader) ([]byte, error) {
	if path == "-" {
		return io.ReadAll(stdin)
	}
	return os.ReadFile(path)
}

// each gives the definitions that stand one after the other.
func each(data []byte, do func(step.Definition) error) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	for n := 1; ; n++ {
		var one json.RawMessage
		err := decoder.Decode(&one)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read definition %d: %w", n, err)
		}
		d, err := step.ParseDefinition(one)
		if err != nil {
			return fmt.Errorf("definition %d: %w", n, err)
		}
		if err := do(d); err != nil {
			return fmt.Errorf("step %s: %w", d.ID, err)
		}
	}
}

func apply(cmd *cobra.Command, console *client.Client, d step.Definition) error {
	said := "unchanged"
	created, err := console.RegisterStep(cmd.Context(), d)
	switch {
	case client.StatusOf(err) == http.StatusConflict:
		if err := console.UpdateStep(cmd.Context(), d); err != nil {
			return err
		}
		said = "updated"
	case err != nil:
		return err
	case created:
		said = "registered"
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s %s\n", d.ID, said)
	return err
}
