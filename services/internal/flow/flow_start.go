package flow

import (
	"bytes"
	"encoding/json"
	"fmt"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
)

// startFlow starts the flow, or says whether the one that exists was asked for
// by an equal request.
func (t *Turn) startFlow(c *sluicev1.StartFlow) Verdict {
	if t.s.Exists() {
		if bytes.Equal(t.s.RequestDigest, c.GetRequestDigest()) {
			return Verdict{Reply: &sluicev1.Reply{Code: sluicev1.ReplyCode_REPLY_CODE_REPEATED}}
		}
		return Verdict{Reply: &sluicev1.Reply{
			Code:   sluicev1.ReplyCode_REPLY_CODE_CONFLICT,
			Detail: fmt.Sprintf("flow %q was started by another request", t.s.ID),
		}}
	}
	if _, err := t.s.plans(c.GetPlan()); err != nil {
		return Verdict{Kind: Impossible, Reason: fmt.Sprintf("plan: %v", err)}
	}
	init := make(map[string]json.RawMessage, len(c.GetInit()))
	for name, value := range c.GetInit() {
		init[name] = value
	}
	t.emit(&sluicev1.Event{Kind: &sluicev1.Event_FlowStarted{FlowStarted: &sluicev1.FlowStarted{
		Plan:          c.GetPlan(),
		Run:           t.env.Run,
		Init:          t.values.refs(init),
		Labels:        c.GetLabels(),
		TimeoutMs:     c.GetTimeoutMs(),
		RequestDigest: c.GetRequestDigest(),
		ParentFlowId:  c.GetParentFlowId(),
		ParentStepId:  c.GetParentStepId(),
		Parent:        c.GetParent(),
		CallbackUrl:   c.GetCallbackUrl(),
		// Sealed by the shell.
		CallbackSecret: c.GetCallbackSecret(),
		StartAtNs:      c.GetStartAtNs(),
	}}})
	if t.s.Parent != nil {
		t.startChild()
	} else {
		t.advance()
	}
	return Verdict{Reply: &sluicev1.Reply{Code: sluicev1.ReplyCode_REPLY_CODE_OK}}
}
