package plan

import (
	"github.com/sluiceflow/sluice/pkg/step"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
)

func waitOf(w *step.Wait) *sluicev1.Wait {
	out := &sluicev1.Wait{DurationMs: w.DurationMS, TimeoutMs: w.TimeoutMS}
	if at, ok := w.Moment(); ok {
		out.UntilNs = new(at.UnixNano())
	}
	if w.Message != nil {
		out.Message = &sluicev1.WaitMessage{Name: w.Message.Name, Key: scriptOf(w.Message.Key)}
	}
	if w.Approval != nil {
		out.Approval = &sluicev1.WaitApproval{Approvers: uint32(max(1, w.Approval.Approvers)), Title: w.Approval.Title}
	}
	if w.OnTimeout != nil && !w.OnTimeout.Fail {
		out.OnTimeout = &sluicev1.WaitOutputs{Outputs: make(map[string][]byte, len(w.OnTimeout.Outputs))}
		for name, value := range w.OnTimeout.Outputs {
			out.OnTimeout.Outputs[name] = value
		}
	}
	return out
}

// waitWork is the work config of a step that waits: nobody is called, so there
// are no retries, and no attempt that could be late.
func waitWork(w *step.WorkConfig) *sluicev1.WorkConfig {
	out := &sluicev1.WorkConfig{Parallelism: 1}
	if w != nil {
		out.Parallelism = max(1, w.Parallelism)
	}
	return out
}
