// Command bench measures Sluice beside the floor of its machine and writes a page with ratios.
//
//	bench -sluice bin/sluice                            starts all, alternates, writes docs/benchmarks.md
//	bench -sluice bin/sluice -sections fast,waiting     the same for some sections of the page
//	bench waiting -sluice bin/sluice -flows 100000      flows that wait: memory, kill -9 of the engine, what goes on
//	bench stack -sluice bin/sluice                      starts servers and roles, says where they are, keeps them until interrupted
//	bench sluice -api http://127.0.0.1:8080 -c 64       the load alone, against what runs already
//	bench floor -nats URL -redis URL -worker URL -c 64  the floor alone
//	bench nats | worker                                 the processes that the others start
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"syscall"
)

func main() {
	// Children are killed by the kernel when the thread that started them ends: that is this one, which lives as long as the program.
	runtime.LockOSThread()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := realMain(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1) //nolint:forbidigo // main exits
	}
}

func realMain(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	name := ""
	if len(args) > 0 && args[0] != "" && args[0][0] != '-' {
		name, args = args[0], args[1:]
	}
	flags := flag.NewFlagSet("bench "+name, flag.ContinueOnError)
	flags.SetOutput(stderr)
	switch name {
	case "":
		return runPage(ctx, flags, args, stdout, stderr)
	case "stack":
		return runStack(ctx, flags, args, stdout)
	case "waiting":
		return runWaiting(ctx, flags, args, stdout, stderr)
	case "sluice":
		return runLoad(ctx, flags, args, stdout)
	case "floor":
		return runFloor(ctx, flags, args, stdout)
	case "nats":
		return runNATS(ctx, flags, args)
	case "worker":
		return runWorker(ctx, flags, args)
	default:
		return fmt.Errorf("no command %q: there are waiting, stack, sluice, floor, nats and worker", name)
	}
}
