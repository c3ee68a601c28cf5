package main

import (
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/sluiceflow/sluice/services/internal/script"
)

// scriptCommand is the child in which scripts run; only Sluice itself starts it.
func scriptCommand(w world) *cobra.Command {
	return &cobra.Command{
		Use: script.Command + " MEMORY", Short: "Run scripts that come on the standard input, with so many bytes of memory",
		Args: cobra.ExactArgs(1), Hidden: true,
		RunE: func(_ *cobra.Command, args []string) error {
			memory, err := strconv.ParseUint(args[0], 10, 64)
			if err != nil {
				return fmt.Errorf("the memory is %q, it must be a number of bytes", args[0])
			}
			return script.Serve(w.stdin, w.stdout, memory)
		},
	}
}
