// Command sluice is all of Sluice: each role, all of them in one process, and
// the command line for people.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/sluiceflow/sluice/services/internal/conf"
)

// version is set when a release is built.
var version = "dev"

// gcPercent lets a heap grow to four times what lives before it is collected:
// the roles keep little and allocate much, and at Go's default a fifth of an
// engine's time went into collecting. GOGC sets another value.
const gcPercent = 300

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal asks for an end, the second one ends.
	context.AfterFunc(ctx, stop)
	os.Exit(realMain(ctx, os.Args[1:], os.LookupEnv, os.Stdin, os.Stdout, os.Stderr))
}

// realMain is the program, with all that the world gives it. It returns the
// exit code.
func realMain(ctx context.Context, args []string, lookup conf.Lookup, stdin io.Reader, stdout, stderr io.Writer) int {
	root := rootCommand(world{lookup: lookup, stdin: stdin, stdout: stdout, stderr: stderr}) //nolint:contextcheck // commands get theirs when they run
	root.SetArgs(args)
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(stderr, "sluice:", err)
		if exit, ok := errors.AsType[*exitError](err); ok {
			return exit.code
		}
		return 1
	}
	return 0
}
