// Command script-only decides on loans without any worker: all its steps are
// scripts.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os/signal"
	"syscall"

	"github.com/sluiceflow/sluice/pkg/client"
	"github.com/sluiceflow/sluice/pkg/step"
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
	for _, d := range steps() {
		if _, err := sluice.RegisterStep(ctx, d); err != nil {
			return fmt.Errorf("register step %s: %w", d.ID, err)
		}
	}
	for _, income := range []int{1500, 5200} {
		state, err := sluice.StartAndWait(ctx, client.StartRequest{
			Goals: []string{"offer", "decline"},
			Init:  map[string]any{"income": income, "debts": []int{120, 300}, "amount": 20_000},
		}, client.MaxWait)
		if err != nil {
			return err
		}
		show(income, state)
	}
	return nil
}

// steps in three languages. Of offer and decline one runs: each has a predicate,
// and a goal that its own predicate skips counts as reached.
func steps() []step.Definition {
	in := func(t step.Type) step.Attribute { return step.Attribute{Role: step.RoleRequired, Type: t} }
	out := func(t step.Type) step.Attribute { return step.Attribute{Role: step.RoleOutput, Type: t} }
	return []step.Definition{
		{
			ID: "free-income", Type: step.KindScript,
			Script: &step.Script{Language: "lua", Script: `
				local free = income
				for _, debt in ipairs(debts) do free = free - debt end
				return {free = free}`},
			Attributes: map[string]step.Attribute{
				"income": in(step.TypeNumber), "debts": in(step.TypeArray), "free": out(step.TypeNumber),
			},
		},
		{
			ID: "offer", Type: step.KindScript,
			Predicate:  &step.Script{Language: "cel", Script: `free * 12 >= amount`},
			Script:     &step.Script{Language: "cel", Script: `{"monthly": amount / 36, "offered": true}`},
			Attributes: map[string]step.Attribute{"free": in(step.TypeNumber), "amount": in(step.TypeNumber), "monthly": out(step.TypeNumber)},
		},
		{
			ID: "decline", Type: step.KindScript,
			Predicate:  &step.Script{Language: "ale", Script: `(< (* free 12) amount)`},
			Script:     &step.Script{Language: "ale", Script: `{:reason (str "only " free " a month are free")}`},
			Attributes: map[string]step.Attribute{"free": in(step.TypeNumber), "amount": in(step.TypeNumber), "reason": out(step.TypeString)},
		},
	}
}

func show(income int, state client.FlowState) {
	fmt.Printf("income %d: the flow is %s %s\n", income, state.Status, state.Error)
	for _, id := range []string{"free-income", "offer", "decline"} {
		execution := state.Executions[id]
		fmt.Printf("  %-12s %-10s %s%s\n", id, execution.Status, execution.Outputs, execution.Error)
	}
}
