package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/sluiceflow/sluice/services/cmd/sluice/internal/cli"
	"github.com/sluiceflow/sluice/services/internal/conf"
)

// world is what the program gets from outside.
type world struct {
	lookup         conf.Lookup
	stdin          io.Reader
	stdout, stderr io.Writer
}

const (
	groupRoles  = "roles"
	groupLocal  = "local"
	groupPeople = "people"
)

func rootCommand(w world) *cobra.Command {
	root := &cobra.Command{
		Use:   "sluice",
		Short: "Run goal-driven flows of steps whose work other programs do",
		Long: "Sluice runs goal-driven flows of steps whose work other programs do.\n\n" +
			"Try it with `sluice demo`, or start everything in one process with `sluice dev`.\n" +
			"Each setting is an environment variable and a flag; `sluice <command> --help` lists them.",
		Version:      version,
		SilenceUsage: true, SilenceErrors: true,
	}
	root.SetOut(w.stdout)
	root.SetErr(w.stderr)
	root.SetVersionTemplate("{{.Version}}\n")
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddGroup(
		&cobra.Group{ID: groupLocal, Title: "All in one process:"},
		&cobra.Group{ID: groupRoles, Title: "Roles, each a process:"},
		&cobra.Group{ID: groupPeople, Title: "For people:"})
	add(root, groupLocal, devCommand(w), demoCommand(w))
	add(root, groupRoles, gatewayCommand(w), engineCommand(w), dispatcherCommand(w), consoleCommand(w))
	add(root, groupPeople, cli.Step(w.lookup), cli.Flow(w.lookup), cli.Schedule(w.lookup),
		cli.Message(w.lookup), cli.Dead(w.lookup), cli.Status(w.lookup),
		streamsCommand(w), verifyCommand(w))
	root.AddCommand(healthCommand(w), workerCommand(w), scriptCommand(w), versionCommand(w))
	return root
}

func add(root *cobra.Command, group string, commands ...*cobra.Command) {
	for _, cmd := range commands {
		cmd.GroupID = group
		root.AddCommand(cmd)
	}
}

func versionCommand(w world) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(w.stdout, version)
			return err
		},
	}
}
