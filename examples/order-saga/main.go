// Command order-saga books two orders. The second one cannot be shipped, so what
// was done for it is undone, the last thing first.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os/signal"
	"syscall"

	"github.com/sluiceflow/sluice/pkg/client"
	"github.com/sluiceflow/sluice/pkg/step"
	"github.com/sluiceflow/sluice/pkg/worker"
)

func main() {
	url := flag.String("sluice", "http://127.0.0.1:8080", "control API of Sluice")
	listen := flag.String("listen", "127.0.0.1:9101", "address of the worker; Sluice must reach it")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *url, *listen); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, url, listen string) (err error) {
	sluice, err := client.New(url, client.Options{})
	if err != nil {
		return err
	}
	w, err := shop()
	if err != nil {
		return err
	}
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
	for _, address := range []string{"12 Main Street", "nowhere"} {
		state, err := sluice.StartAndWait(ctx, client.StartRequest{
			Goals: []string{"ship"}, Init: map[string]any{"item": "teapot", "amount": 39.9, "address": address},
		}, client.MaxWait)
		if err != nil {
			return err
		}
		show(address, state)
	}
	return nil
}

// steps need each other by their attributes: ship needs the payment, charge the
// reservation.
func steps(endpoint string) []step.Definition {
	in := func(t step.Type) step.Attribute { return step.Attribute{Role: step.RoleRequired, Type: t} }
	out := step.Attribute{Role: step.RoleOutput, Type: step.TypeString}
	undoable := &step.HTTP{Endpoint: endpoint, Compensate: endpoint}
	return []step.Definition{
		{
			ID: "reserve", Type: step.KindAsync, HTTP: undoable,
			Attributes: map[string]step.Attribute{"item": in(step.TypeString), "reservation": out},
		},
		{
			ID: "charge", Type: step.KindAsync, HTTP: undoable,
			Attributes: map[string]step.Attribute{"reservation": in(step.TypeString), "amount": in(step.TypeNumber), "payment": out},
		},
		{
			ID: "ship", Type: step.KindAsync, HTTP: &step.HTTP{Endpoint: endpoint},
			Attributes: map[string]step.Attribute{"payment": in(step.TypeString), "address": in(step.TypeString), "parcel": out},
		},
	}
}

// shop does the steps and undoes them. Real work would take the receipt token as
// its idempotency key, for any of these may be called more than once.
func shop() (*worker.Worker, error) {
	w, err := worker.New(worker.Options{})
	if err != nil {
		return nil, err
	}
	w.Async("reserve", func(context.Context, worker.Call) (worker.Outputs, error) {
		return worker.Outputs{"reservation": "shelf 4"}, nil
	})
	w.Async("charge", func(context.Context, worker.Call) (worker.Outputs, error) {
		return worker.Outputs{"payment": "receipt 17"}, nil
	})
	w.Async("ship", func(_ context.Context, call worker.Call) (worker.Outputs, error) {
		var in struct {
			Address string `json:"address"`
		}
		if err := call.Bind(&in); err != nil {
			return nil, err
		}
		if in.Address == "nowhere" {
			return nil, errors.New("no such address")
		}
		return worker.Outputs{"parcel": "to " + in.Address}, nil
	})
	for _, id := range []string{"reserve", "charge"} {
		w.Compensate(id, func(_ context.Context, c worker.Compensation) error {
			fmt.Printf("%s is undone: %s\n", id, c.Outputs)
			return nil
		})
	}
	return w, nil
}

func show(address string, state client.FlowState) {
	fmt.Printf("order to %s is %s %s\n", address, state.Status, state.Error)
	for _, id := range []string{"reserve", "charge", "ship"} {
		execution := state.Executions[id]
		fmt.Printf("  %-8s %-10s %s\n", id, execution.Status, execution.WorkItems["0"].Status)
	}
}
