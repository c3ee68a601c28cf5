package load

import (
	"context"
	"strconv"
)

func (l *load) stepID(i int) string { return l.prefix + "-step-" + strconv.Itoa(i) }

// output is the attribute that a step gives.
func output(step string) string { return "out_" + step }

// register makes the steps: each needs what the one before gives.
func (l *load) register(ctx context.Context, endpoint string) error {
	in := "seed"
	for i := range l.cfg.Steps {
		id := l.stepID(i)
		def := map[string]any{
			"id": id, "name": id, "type": "async",
			"attributes": map[string]any{
				in:         map[string]any{"role": "required", "type": "string"},
				output(id): map[string]any{"role": "output", "type": "string"},
			},
			"http": map[string]any{"endpoint": endpoint, "timeout": 10000},
		}
		if err := l.api.Register(ctx, def); err != nil {
			return err
		}
		in = output(id)
	}
	return nil
}

func (l *load) start(ctx context.Context, id string) error {
	return l.api.Start(ctx, map[string]any{
		"id": id, "goals": []string{l.stepID(l.cfg.Steps - 1)}, "init": map[string]any{"seed": "s"},
	})
}

// check reads a sample of the finished flows back: each must be completed soon, for its last result was accepted.
func (l *load) check(ctx context.Context) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, settleLimit)
	defer cancel()
	checked := 0
	for i := 0; i < len(l.finished); i += max(1, len(l.finished)/sample) {
		if err := l.api.Completed(ctx, l.finished[i]); err != nil {
			return checked, err
		}
		checked++
	}
	return checked, nil
}
