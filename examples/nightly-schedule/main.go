// Command nightly-schedule has a report made each night, and shows the same with
// one that is made each second.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os/signal"
	"syscall"
	"time"

	"github.com/sluiceflow/sluice/pkg/client"
	"github.com/sluiceflow/sluice/pkg/step"
)

const (
	nightly     = "nightly-report"
	everySecond = "report-each-second"
	// shown is how many of its flows are waited for.
	shown = 3
	poll  = 100 * time.Millisecond
)

func main() {
	url := flag.String("sluice", "http://127.0.0.1:8080", "control API of Sluice")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *url); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, url string) error {
	sluice, err := client.New(url, client.Options{})
	if err != nil {
		return err
	}
	if _, err := sluice.RegisterStep(ctx, report()); err != nil {
		return err
	}
	flow := client.StartRequest{Goals: []string{"make-report"}, Init: map[string]any{"team": "pay"}, TimeoutMS: time.Hour.Milliseconds()}
	// Whoever runs this twice puts the same schedule: that changes nothing.
	_, err = sluice.PutSchedule(ctx, nightly, client.ScheduleDefinition{
		Cron: "30 2 * * *", TimeZone: "Europe/Berlin", Overlap: client.OverlapSkip, Flow: flow,
	})
	if err != nil {
		return err
	}
	schedule, err := sluice.Schedule(ctx, nightly)
	if err != nil {
		return err
	}
	fmt.Printf("%s starts at\n", nightly)
	for _, at := range schedule.Next {
		fmt.Printf("  %s\n", at.Format(time.RFC3339))
	}
	if _, err := sluice.PutSchedule(ctx, everySecond, client.ScheduleDefinition{EveryMS: 1000, Flow: flow}); err != nil {
		return err
	}
	if err := watch(ctx, sluice); err != nil {
		return err
	}
	// Flows that were started go on, and stay in the list.
	return sluice.DeleteSchedule(ctx, everySecond)
}

func report() step.Definition {
	return step.Definition{
		ID: "make-report", Type: step.KindScript,
		Script: &step.Script{Language: "cel", Script: `{"report": "all is well with " + team}`},
		Attributes: map[string]step.Attribute{
			"team":   {Role: step.RoleRequired, Type: step.TypeString},
			"report": {Role: step.RoleOutput, Type: step.TypeString},
		},
	}
}

// watch waits until some flows of the schedule have ended, and prints them.
func watch(ctx context.Context, sluice *client.Client) error {
	seen := map[string]bool{}
	for len(seen) < shown {
		ofSchedule := client.FlowFilter{Labels: []string{"sluice.schedule=" + everySecond}, Statuses: []client.Status{client.Completed}}
		for entry, err := range sluice.Flows(ctx, ofSchedule) {
			if err != nil {
				return err
			}
			if len(seen) == shown || seen[entry.ID] {
				continue
			}
			state, err := sluice.Flow(ctx, entry.ID)
			if err != nil {
				return err
			}
			seen[entry.ID] = true
			fmt.Printf("flow %s is %s: %s\n", entry.ID, state.Status, state.Attributes["report"].Value)
		}
		select {
		case <-time.After(poll):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
