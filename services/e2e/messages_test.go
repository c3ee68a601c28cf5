package e2e_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/sluiceflow/sluice/pkg/client"
	"github.com/sluiceflow/sluice/pkg/step"
	"github.com/sluiceflow/sluice/services/internal/testkit"
)

// Engine and console are killed while flows and messages meet: each message is
// taken once, and each flow takes one.
func TestKillsWhileMessagesAreOnTheirWay(t *testing.T) {
	t.Parallel()
	const keys, each = 4, 10
	s := newStack(t)
	console, err := client.New("http://"+s.addrs["console"], client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	registerStep(t, console, step.Definition{
		ID: "paid", Type: step.KindWait,
		Attributes: map[string]step.Attribute{"order": {Role: step.RoleRequired}, "amount": {Role: step.RoleOutput}},
		Wait:       &step.Wait{Message: &step.WaitMessage{Name: "payment", Key: &step.Script{Language: "cel", Script: "order"}}},
	})
	until := func(what string, do func(ctx context.Context) error) {
		t.Helper()
		testkit.Eventually(t, 2*patience, func() error { // the same again, until it is answered
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			defer cancel()
			if err := do(ctx); err != nil {
				return fmt.Errorf("%s: %w", what, err)
			}
			return nil
		})
	}
	kills := map[int]string{3: "engine", 11: "engine", 17: "console", 23: "engine", 31: "engine"}
	for n := range keys * each {
		id, key := fmt.Sprintf("order-%d", n), n%keys
		start := func() {
			until("start "+id, func(ctx context.Context) error {
				_, err := console.StartFlow(ctx, client.StartRequest{ID: id, Goals: []string{"paid"}, Init: map[string]any{"order": key}})
				return err
			})
		}
		post := func() {
			until("post for "+id, func(ctx context.Context) error {
				return console.PostMessage(ctx, client.Message{
					Name: "payment", Key: key, ID: fmt.Sprintf("m-%d", n), Outputs: map[string]any{"amount": n},
				})
			})
		}
		if n%2 == 0 {
			start, post = post, start
		}
		start()
		if role := kills[n]; role != "" {
			s.roles[role].Kill()
			s.start(role)
		}
		post()
	}
	var amounts []string
	for n := range keys * each {
		id := fmt.Sprintf("order-%d", n)
		until("the end of "+id, func(ctx context.Context) error {
			digest, err := console.FlowStatus(ctx, id)
			if err == nil && digest.Status != client.Completed {
				err = fmt.Errorf("it is %s", digest.Status)
			}
			return err
		})
		state, err := console.Flow(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		amounts = append(amounts, string(state.Attributes["amount"].Value))
	}
	if slices.Sort(amounts); len(slices.Compact(slices.Clone(amounts))) != keys*each {
		t.Errorf("of %d messages these were taken: %v", keys*each, amounts)
	}
	if found := s.verify(); len(found) > 0 {
		t.Errorf("verify finds %v", found)
	}
}
