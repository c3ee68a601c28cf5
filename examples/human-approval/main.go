// Command human-approval refunds an order once a person has approved it.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"os/signal"
	"syscall"
	"time"

	"github.com/sluiceflow/sluice/pkg/client"
	"github.com/sluiceflow/sluice/pkg/step"
	"github.com/sluiceflow/sluice/pkg/worker"
)

// poll is the pause between two looks for the links.
const poll = 50 * time.Millisecond

func main() {
	url := flag.String("sluice", "http://127.0.0.1:8080", "control API of Sluice")
	listen := flag.String("listen", "127.0.0.1:9104", "address of the worker; Sluice must reach it")
	answer := flag.String("answer", "", "approve or reject at once, in place of a person who clicks")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *url, *listen, *answer); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, url, listen, answer string) (err error) {
	sluice, err := client.New(url, client.Options{})
	if err != nil {
		return err
	}
	w, err := worker.New(worker.Options{})
	if err != nil {
		return err
	}
	w.Async("pay-back", func(context.Context, worker.Call) (worker.Outputs, error) {
		return worker.Outputs{"transfer": "4711"}, nil
	})
	endpoint, stop, err := w.Start(ctx, listen)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	for _, d := range steps(endpoint) {
		if _, err := sluice.RegisterStep(ctx, d); err != nil {
			return fmt.Errorf("register step %s: %w", d.ID, err)
		}
	}
	id, err := sluice.StartFlow(ctx, client.StartRequest{
		Goals: []string{"pay-back"}, Init: map[string]any{"refund": 39.9},
	})
	if err != nil {
		return err
	}
	if err := ask(ctx, sluice, id, answer); err != nil {
		return err
	}
	if _, err := sluice.WaitFlow(ctx, id); err != nil {
		return err
	}
	state, err := sluice.Flow(ctx, id)
	if err != nil {
		return err
	}
	fmt.Printf("%s by %s: the flow is %s, pay-back is %s\n", verdict(state), state.Attributes["by"].Value,
		state.Status, state.Executions["pay-back"].Status)
	return nil
}

// steps: review asks a person, for a week at most; pay-back runs if it was
// approved.
func steps(endpoint string) []step.Definition {
	in := func(t step.Type) step.Attribute { return step.Attribute{Role: step.RoleRequired, Type: t} }
	out := func(t step.Type) step.Attribute { return step.Attribute{Role: step.RoleOutput, Type: t} }
	return []step.Definition{
		{
			ID: "review", Type: step.KindWait,
			Wait: &step.Wait{
				Approval:  &step.Approval{Title: "Pay this refund?"},
				TimeoutMS: (7 * 24 * time.Hour).Milliseconds(),
				OnTimeout: &step.OnTimeout{Outputs: map[string]json.RawMessage{
					"approved": json.RawMessage(`false`), "by": json.RawMessage(`"nobody"`),
				}},
			},
			Attributes: map[string]step.Attribute{
				"refund": in(step.TypeNumber), "approved": out(step.TypeBoolean), "by": out(step.TypeString),
			},
		},
		{
			ID: "pay-back", Type: step.KindAsync, HTTP: &step.HTTP{Endpoint: endpoint},
			Predicate:  &step.Script{Language: "cel", Script: "approved"},
			Attributes: map[string]step.Attribute{"approved": in(step.TypeBoolean), "refund": in(step.TypeNumber), "transfer": out(step.TypeString)},
		},
	}
}

// ask shows the links, or answers.
func ask(ctx context.Context, sluice *client.Client, id, answer string) error {
	switch answer {
	case "approve":
		_, err := sluice.Approve(ctx, client.Decision{Flow: id, Step: "review", By: "ada"})
		return err
	case "reject":
		_, err := sluice.Reject(ctx, client.Decision{Flow: id, Step: "review", By: "ada"})
		return err
	}
	for {
		state, err := sluice.Flow(ctx, id)
		if err != nil {
			return err
		}
		if open := state.Executions["review"].WorkItems["0"].Approval; open != nil && len(open.Links) > 0 {
			fmt.Printf("to approve: %s\nto reject:  %s\n", open.Links[0].Approve, open.Links[0].Reject)
			return nil
		}
		select {
		case <-time.After(poll):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func verdict(state client.FlowState) string {
	if string(state.Attributes["approved"].Value) == "true" {
		return "approved"
	}
	return "rejected"
}
