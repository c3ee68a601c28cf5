// Command child-flows opens an account: a check of the person is a flow of its
// own, which other flows can use too, and runs once for each owner.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"os/signal"
	"strconv"
	"syscall"

	"github.com/sluiceflow/sluice/pkg/client"
	"github.com/sluiceflow/sluice/pkg/step"
	"github.com/sluiceflow/sluice/pkg/worker"
)

func main() {
	url := flag.String("sluice", "http://127.0.0.1:8080", "control API of Sluice")
	listen := flag.String("listen", "127.0.0.1:9103", "address of the worker; Sluice must reach it")
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
	w.Async("look-up", lookUp)
	w.Async("open-account", func(context.Context, worker.Call) (worker.Outputs, error) {
		return worker.Outputs{"account": "DE17 0000 0042"}, nil
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
	for _, owners := range [][]string{{"Ada", "Grace"}, {"Ada", "Mallory"}} {
		state, err := sluice.StartAndWait(ctx, client.StartRequest{
			Goals: []string{"open-account"}, Init: map[string]any{"owner": owners},
		}, client.MaxWait)
		if err != nil {
			return err
		}
		if err := show(ctx, sluice, owners, state); err != nil {
			return err
		}
	}
	return nil
}

// steps: check-owner starts a flow with the goal judge for each owner. In it the
// owner is called person, and its verdict comes back as checked.
func steps(endpoint string) []step.Definition {
	in := func(t step.Type) step.Attribute { return step.Attribute{Role: step.RoleRequired, Type: t} }
	out := step.Attribute{Role: step.RoleOutput, Type: step.TypeString}
	http := &step.HTTP{Endpoint: endpoint}
	return []step.Definition{
		{
			ID: "look-up", Type: step.KindAsync, HTTP: http,
			Attributes: map[string]step.Attribute{"person": in(step.TypeString), "record": out},
		},
		{
			ID: "judge", Type: step.KindScript,
			Script:     &step.Script{Language: "lua", Script: `if record ~= "clean" then error(person .. " has a record") end return {verdict = "fine"}`},
			Attributes: map[string]step.Attribute{"person": in(step.TypeString), "record": in(step.TypeString), "verdict": out},
		},
		{
			ID: "check-owner", Type: step.KindFlow,
			Flow: &step.Child{Goals: []string{"judge"}, InputMap: map[string]string{"owner": "person"}, OutputMap: map[string]string{"verdict": "checked"}},
			Attributes: map[string]step.Attribute{
				"owner":   {Role: step.RoleRequired, Type: step.TypeString, ForEach: true},
				"checked": out,
			},
			WorkConfig: &step.WorkConfig{Parallelism: 4},
		},
		{
			ID: "open-account", Type: step.KindAsync, HTTP: http,
			Attributes: map[string]step.Attribute{"checked": in(step.TypeArray), "account": out},
		},
	}
}

func lookUp(_ context.Context, call worker.Call) (worker.Outputs, error) {
	var in struct {
		Person string `json:"person"`
	}
	if err := call.Bind(&in); err != nil {
		return nil, err
	}
	if in.Person == "Mallory" {
		return worker.Outputs{"record": "three entries"}, nil
	}
	return worker.Outputs{"record": "clean"}, nil
}

// show prints a flow and the children that it started.
func show(ctx context.Context, sluice *client.Client, owners []string, state client.FlowState) error {
	fmt.Printf("account for %s: %s %s\n", owners, state.Status, state.Error)
	if account, ok := state.Attributes["account"]; ok {
		var number string
		if err := json.Unmarshal(account.Value, &number); err != nil {
			return err
		}
		fmt.Printf("  it is %s\n", number)
	}
	for i := range owners {
		child, err := sluice.FlowStatus(ctx, state.Executions["check-owner"].WorkItems[strconv.Itoa(i)].ChildFlowID)
		if err != nil {
			return err
		}
		fmt.Printf("  the check of %s is a flow of its own: %s %s\n", owners[i], child.Status, child.Error)
	}
	return nil
}
