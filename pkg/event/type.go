package event

// A Type names what happened.
type Type string

// The types of events of flows.
const (
	FlowStarted     Type = "flow_started"
	FlowCompleted   Type = "flow_completed"
	FlowFailed      Type = "flow_failed"
	FlowCanceled    Type = "flow_canceled"
	FlowPaused      Type = "flow_paused"
	FlowResumed     Type = "flow_resumed"
	FlowBegun       Type = "flow_begun"       // the time came that it was started for
	FlowDeactivated Type = "flow_deactivated" // ended, and nothing of it can act any more
	FlowRetired     Type = "flow_retired"     // the history is about to be purged
	ParentTold      Type = "parent_told"      // a child's parent has heard of its end

	StepStarted    Type = "step_started"
	StepCompleted  Type = "step_completed"
	StepFailed     Type = "step_failed"
	StepSkipped    Type = "step_skipped"
	StepOverridden Type = "step_overridden" // repaired by hand
	AttributeSet   Type = "attribute_set"

	PredicateAsked Type = "predicate_asked" // whether the step should start
	PredicateHeld  Type = "predicate_held"  // it should; one that says no skips the step

	WorkStarted        Type = "work_started"
	WorkSucceeded      Type = "work_succeeded"
	WorkFailed         Type = "work_failed"
	WorkNotCompleted   Type = "work_not_completed"
	RetryScheduled     Type = "retry_scheduled"
	WorkTimedOut       Type = "work_timed_out"
	WorkHeartbeat      Type = "work_heartbeat" // live only: no history holds it
	CompletionIgnored  Type = "completion_ignored"
	WorkCompensating   Type = "work_compensating"
	WorkCompensated    Type = "work_compensated"
	CompensationFailed Type = "compensation_failed"

	ApprovalGiven Type = "approval_given" // or rejected, which ends the wait
	WaitKeyed     Type = "wait_keyed"     // a work item waits for a message of that key
	MessageTaken  Type = "message_taken"

	// MailboxOpened and what follows is about mailboxes, where messages meet who waits
	// for them. Their ids are none that a flow can have, and these events are no part
	// of any flow's history.
	MailboxOpened  Type = "mailbox_opened"
	WaiterAdded    Type = "waiter_added"
	MessageKept    Type = "message_kept"
	MessageMatched Type = "message_matched"
	WaiterGone     Type = "waiter_gone"
	MessageExpired Type = "message_expired"
)

// Ends reports whether the event ends its flow.
func (t Type) Ends() bool {
	return t == FlowCompleted || t == FlowFailed || t == FlowCanceled
}
