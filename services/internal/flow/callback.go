package flow

import (
	"github.com/sluiceflow/sluice/pkg/subject"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
)

// callback is what the ending c tells whoever asked to be told, or nil where
// nobody did. What it signs with is for the shell to fill in. An ending that is
// none any more is not told: the flow has another one.
func (s *State) callback(c *sluicev1.Commit) *sluicev1.Invocation {
	if s.CallbackURL == "" || !s.Final() || s.EndedRevision != c.GetRevision() {
		return nil
	}
	outputs := make(map[string][]byte, len(s.Plan.Results))
	for _, name := range s.Plan.Results {
		if attribute, ok := s.Attributes[name]; ok {
			outputs[name] = attribute.Value
		}
	}
	return &sluicev1.Invocation{
		FlowId:   s.ID,
		Work:     &sluicev1.WorkRef{Run: s.Run, StepId: subject.CallbackStep},
		Endpoint: s.CallbackURL,
		Labels:   s.Labels,
		Callback: &sluicev1.Callback{
			Revision: s.EndedRevision, Status: s.Status, Outputs: outputs, Error: s.Error,
			CompletedNs: s.Completed, Signed: len(s.CallbackSecret) > 0,
		},
	}
}
