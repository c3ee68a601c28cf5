// Command fan-out prices 1,000 items of one order, 50 at once, and adds up what
// they cost.
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

	"github.com/sluiceflow/sluice/pkg/client"
	"github.com/sluiceflow/sluice/pkg/step"
	"github.com/sluiceflow/sluice/pkg/worker"
)

const items = 1000

func main() {
	url := flag.String("sluice", "http://127.0.0.1:8080", "control API of Sluice")
	listen := flag.String("listen", "127.0.0.1:9102", "address of the worker; Sluice must reach it")
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
	w, err := worker.New(worker.Options{})
	if err != nil {
		return err
	}
	w.Async("price", price)
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
	order := make([]string, items)
	for i := range order {
		order[i] = fmt.Sprintf("item-%d", i)
	}
	state, err := sluice.StartAndWait(ctx, client.StartRequest{Goals: []string{"add-up"}, Init: map[string]any{"product": order}}, client.MaxWait)
	if err != nil {
		return err
	}
	return show(state)
}

// steps: price has a work item for each element of the array product, and gives an
// array, from which a script makes one number.
func steps(endpoint string) []step.Definition {
	return []step.Definition{
		{
			ID: "price", Type: step.KindAsync, HTTP: &step.HTTP{Endpoint: endpoint},
			Attributes: map[string]step.Attribute{
				"product": {Role: step.RoleRequired, Type: step.TypeString, ForEach: true},
				"cents":   {Role: step.RoleOutput, Type: step.TypeNumber},
			},
			WorkConfig: &step.WorkConfig{Parallelism: 50, MaxRetries: 5, TimeoutMS: 60_000},
		},
		{
			ID: "add-up", Type: step.KindScript,
			Script: &step.Script{Language: "lua", Script: `
				local total = 0
				for _, line in ipairs(cents) do total = total + line.cents end
				return {total = total, lines = #cents}`},
			Attributes: map[string]step.Attribute{
				"cents": {Role: step.RoleRequired, Type: step.TypeArray},
				"total": {Role: step.RoleOutput, Type: step.TypeNumber}, "lines": {Role: step.RoleOutput, Type: step.TypeNumber},
			},
		},
	}
}

// price is the work of one item.
func price(_ context.Context, call worker.Call) (worker.Outputs, error) {
	var in struct {
		Product string `json:"product"`
	}
	if err := call.Bind(&in); err != nil {
		return nil, err
	}
	var n int
	if _, err := fmt.Sscanf(in.Product, "item-%d", &n); err != nil {
		return nil, fmt.Errorf("no item is called %q", in.Product)
	}
	return worker.Outputs{"cents": 100 + n%7}, nil
}

func show(state client.FlowState) error {
	var first struct {
		Product string `json:"product"`
		Cents   int    `json:"cents"`
	}
	var lines []json.RawMessage
	if err := json.Unmarshal(state.Attributes["cents"].Value, &lines); err != nil {
		return fmt.Errorf("flow %s is %s %s: %w", state.ID, state.Status, state.Error, err)
	}
	if err := json.Unmarshal(lines[0], &first); err != nil {
		return err
	}
	fmt.Printf("flow %s is %s after %s\n", state.ID, state.Status, state.CompletedAt.Sub(state.CreatedAt))
	fmt.Printf("%d lines, the first one: %s for %d cents\n", len(lines), first.Product, first.Cents)
	fmt.Printf("total: %s cents\n", state.Attributes["total"].Value)
	return nil
}
