package worker

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/sluiceflow/sluice/pkg/step"
)

// Call is one attempt of one work item. The same attempt may come more than
// once: Metadata.ReceiptToken is the same on all of them and serves as
// idempotency key towards others.
type Call struct {
	step.Request
}

// Bind reads the arguments into a struct or map, by the rules of encoding/json.
// Numbers that go into an any are [json.Number]. Its error is one that fails the
// work item for good.
func (c Call) Bind(into any) error { return bind("arguments", c.Arguments, into) }

func bind(what string, values map[string]json.RawMessage, into any) error {
	text, err := json.Marshal(values)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(into); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// Outputs are what a step gives: anything that encoding/json writes, by name.
type Outputs map[string]any

// Func does the work. Its error fails the work item for good, unless it came
// from [NotCompleted]. ctx ends at the attempt's deadline, when a worker that is
// closing loses patience, and for sync steps when the caller hung up; an error
// after that is not completed, for the engine to try again.
type Func func(ctx context.Context, call Call) (Outputs, error)
