package load

import (
	"context"
	"fmt"
	"time"

	"github.com/sluiceflow/sluice/pkg/client"
	"github.com/sluiceflow/sluice/pkg/step"
)

// A Shape is a kind of flow.
type Shape string

// The shapes.
const (
	Chain    Shape = "chain"    // async, async, sync
	Fan      Shape = "fan"      // one, three at once, one that needs all
	Optional Shape = "optional" // an optional input whose provider fails
	Retry    Shape = "retry"    // attempts that come to nothing before one that does not
	Timeout  Shape = "timeout"  // an attempt that is silent, and its failure later
	Cancel   Shape = "cancel"   // canceled while its step runs
	Deadline Shape = "deadline" // over its time while its step runs
	Failing  Shape = "failing"  // a step that fails for good
	Storm    Shape = "storm"    // many posts of one token at once
)

// Shapes are the ones of an ordinary load.
func Shapes() []Shape {
	return []Shape{Chain, Fan, Optional, Retry, Timeout, Cancel, Deadline, Failing}
}

// attemptLimit is how long an attempt of an ordinary step may take, where the
// load does not say: a worker that had a 2xx says nothing more, so a lost outcome
// ends its flow as failed.
const attemptLimit = 15 * time.Minute

// silentLimit is how long a silent attempt of the Timeout shape may take.
const silentLimit = 600 * time.Millisecond

// goal is what flows of a shape are for.
func (s Shape) goal() string {
	switch s {
	case Chain:
		return "receipt"
	case Fan:
		return "join"
	case Optional:
		return "offer"
	case Retry:
		return "flaky"
	case Timeout:
		return "sleepy"
	case Cancel, Deadline:
		return "endless"
	case Failing:
		return "doomed"
	case Storm:
		return "storm"
	default:
		return string(s)
	}
}

// definitions are the steps of all shapes.
func (l *Load) definitions() []step.Definition {
	offer := l.step("offer", step.KindSync, "profile-out")
	offer.Attributes["score-out"] = step.Attribute{Role: step.RoleOptional, Type: step.TypeString}
	sleepy := l.step("sleepy", step.KindAsync, "order")
	sleepy.WorkConfig.TimeoutMS = silentLimit.Milliseconds()
	return []step.Definition{
		l.step("reserve", step.KindAsync, "order"),
		l.step("charge", step.KindAsync, "reserve-out"),
		l.step("receipt", step.KindSync, "charge-out"),
		l.step("split", step.KindAsync, "order"),
		l.step("left", step.KindAsync, "split-out"),
		l.step("middle", step.KindSync, "split-out"),
		l.step("right", step.KindAsync, "split-out"),
		l.step("join", step.KindAsync, "left-out", "middle-out", "right-out"),
		l.step("profile", step.KindAsync, "order"),
		l.step("score", step.KindAsync, "order"),
		offer,
		l.step("flaky", step.KindAsync, "order"),
		sleepy,
		l.step("endless", step.KindAsync, "order"),
		l.step("doomed", step.KindAsync, "order"),
		l.step("storm", step.KindAsync, "order"),
	}
}

// step is a step of ours, with one output and more retries than a fault can use up.
func (l *Load) step(id string, kind step.Kind, required ...string) step.Definition {
	d := step.Definition{
		ID: id, Type: kind, HTTP: &step.HTTP{Endpoint: l.endpoint + "/work", Timeout: 5000},
		WorkConfig: &step.WorkConfig{
			MaxRetries: 1000, BackoffMS: new(int64(50)), MaxBackoffMS: new(int64(500)), TimeoutMS: l.cfg.AttemptLimit.Milliseconds(),
		},
		Attributes: map[string]step.Attribute{output(id): {Role: step.RoleOutput, Type: step.TypeString}},
	}
	for _, name := range required {
		d.Attributes[name] = step.Attribute{Role: step.RoleRequired, Type: step.TypeString}
	}
	return d
}

func output(stepID string) string { return stepID + "-out" }

// register makes the steps known, however often that must be tried.
func (l *Load) register(ctx context.Context) error {
	for _, d := range l.definitions() {
		for n := 0; ; n++ {
			_, err := l.console().RegisterStep(ctx, d)
			if err == nil {
				break
			}
			if !pause(ctx, patience(n)) {
				return fmt.Errorf("register step %s: %w", d.ID, err)
			}
		}
	}
	return nil
}

// request is what a flow of a shape is started with.
func (s Shape) request(id string) client.StartRequest {
	r := client.StartRequest{ID: id, Goals: []string{s.goal()}, Init: map[string]any{"order": id}}
	if s == Deadline {
		r.TimeoutMS = silentLimit.Milliseconds()
	}
	return r
}
