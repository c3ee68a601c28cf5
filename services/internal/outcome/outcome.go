// Package outcome turns what workers say into what travels on NATS.
package outcome

import (
	"github.com/sluiceflow/sluice/pkg/step"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
)

// Of returns a result as a message, its digest included.
func Of(r step.Result) *sluicev1.Outcome {
	o := &sluicev1.Outcome{
		Success: r.Success, NotCompleted: r.NotCompleted, RetryAfterMs: r.RetryAfterMS, Digest: r.Digest(),
	}
	if !r.Success {
		o.Error = r.Error
		return o
	}
	if len(r.Outputs) > 0 {
		o.Outputs = make(map[string][]byte, len(r.Outputs))
		for name, value := range r.Outputs {
			o.Outputs[name] = value
		}
	}
	return o
}
