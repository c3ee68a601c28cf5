package subject

import (
	"fmt"
	"strconv"
	"strings"
)

// A Kind says what a commit did to its flow, as far as subscribers choose by it.
type Kind string

// The kinds of commits.
const (
	KindAdvanced  Kind = "advanced" // anything that is no ending
	KindCompleted Kind = "completed"
	KindFailed    Kind = "failed"
	KindCanceled  Kind = "canceled"
	KindRetired   Kind = "retired" // the history is about to go
)

// A Source says which role sent a command.
type Source string

// The sources of commands.
const (
	SourceHook   Source = "hook"   // gateway
	SourceAPI    Source = "api"    // console
	SourceReport Source = "report" // dispatcher
	SourceEngine Source = "engine"
)

// mailboxPrefix begins the ids of mailboxes, where messages meet who waits for them.
const mailboxPrefix = "@mailbox."

// Mailbox returns the id under which a mailbox has its commands and commits beside
// the flows. No flow has such an id.
func Mailbox(name string) string { return mailboxPrefix + name }

// IsMailbox reports whether an id is that of a mailbox, and not of a flow.
func IsMailbox(id string) bool { return strings.HasPrefix(id, mailboxPrefix) }

// A Space is the names of one installation. Several share a NATS server by
// namespaces; the zero Space has none.
type Space struct {
	namespace string
	root      string
}

// NewSpace returns the names below a namespace, which may be empty.
func NewSpace(namespace string) Space {
	if namespace == "" {
		return Space{}
	}
	return Space{namespace: namespace, root: namespace + "."}
}

// Namespace returns the namespace, which may be empty.
func (s Space) Namespace() string { return s.namespace }

// Name returns the name of a stream or bucket.
func (s Space) Name(base string) string {
	if s.namespace == "" {
		return base
	}
	return s.namespace + "_" + base
}

func (s Space) join(class, middle string, partition int, flowID string) string {
	return s.root + "sluice." + class + "." + middle + strconv.Itoa(partition) + "." + Escape(flowID)
}

// Command is where a command to a flow goes.
func (s Space) Command(src Source, partition int, flowID string) string {
	return s.join("cmd", string(src)+".", partition, flowID)
}

// Commands matches the commands of one partition, or of all when it is negative.
func (s Space) Commands(partition int) string {
	return s.root + "sluice.cmd.*." + wildcard(partition) + ".*"
}

// Timer is where a flow's schedule stands; there is at most one.
func (s Space) Timer(partition int, flowID string) string {
	return s.join("timer", "", partition, flowID)
}

// Timers matches the schedules of one partition, or of all when it is negative.
func (s Space) Timers(partition int) string {
	return s.root + "sluice.timer." + wildcard(partition) + ".*"
}

// Wake is where a flow's schedule is delivered at its time.
func (s Space) Wake(partition int, flowID string) string {
	return s.join("wake", "", partition, flowID)
}

// Wakes matches what schedules of one partition delivered, or of all when it is
// negative.
func (s Space) Wakes(partition int) string {
	return s.root + "sluice.wake." + wildcard(partition) + ".*"
}

// Flow is where a commit of a flow goes.
func (s Space) Flow(kind Kind, partition int, flowID string) string {
	return s.join("flow", string(kind)+".", partition, flowID)
}

// Fence matches all commits of a flow. The server compares the fences of
// proposals in flight by their bytes, so nobody may spell it in another way.
func (s Space) Fence(partition int, flowID string) string {
	return s.join("flow", "*.", partition, flowID)
}

// FlowEvents matches the commits of one kind, or of all when kind is empty, in
// all partitions.
func (s Space) FlowEvents(kind Kind) string {
	if kind == "" {
		return s.root + "sluice.flow.>"
	}
	return s.root + "sluice.flow." + string(kind) + ".>"
}

// Flows matches the commits of one kind in one partition; an empty kind and a
// negative partition stand for all.
func (s Space) Flows(kind Kind, partition int) string {
	if kind == "" {
		kind = "*"
	}
	return s.root + "sluice.flow." + string(kind) + "." + wildcard(partition) + ".*"
}

// FlowOf matches the commits of one flow, for who does not know its partition.
func (s Space) FlowOf(flowID string) string { return s.root + "sluice.flow.*.*." + Escape(flowID) }

// InvokeHTTP is where an invocation of an HTTP step goes.
func (s Space) InvokeHTTP(stepID string, partition int, flowID string) string {
	return s.join("invoke.http", Escape(stepID)+".", partition, flowID)
}

// CallbackStep stands in place of a step where the invocation is a flow's
// callback. No step can have that id.
const CallbackStep = "_callback"

// InvocationsHTTP matches the HTTP invocations of one partition, or of all when
// it is negative.
func (s Space) InvocationsHTTP(partition int) string {
	return s.root + "sluice.invoke.http.*." + wildcard(partition) + ".*"
}

// Heartbeat is where heartbeats of a flow's workers go, by core NATS.
func (s Space) Heartbeat(partition int, flowID string) string {
	return s.join("heartbeat", "", partition, flowID)
}

// Heartbeats matches the heartbeats of one partition, or of all when it is
// negative.
func (s Space) Heartbeats(partition int) string {
	return s.root + "sluice.heartbeat." + wildcard(partition) + ".*"
}

// InvokeScript is where a script goes that is to be run for a step.
func (s Space) InvokeScript(stepID string, partition int, flowID string) string {
	return s.join("invoke.script", Escape(stepID)+".", partition, flowID)
}

// InvocationsScript matches the scripts of one partition, or of all when it is
// negative.
func (s Space) InvocationsScript(partition int) string {
	return s.root + "sluice.invoke.script.*." + wildcard(partition) + ".*"
}

// Dead is where a dead letter goes: what it is, and then whatever names it.
func (s Space) Dead(what string, rest ...string) string {
	parts := append(make([]string, 0, len(rest)+1), what)
	for _, r := range rest {
		parts = append(parts, Escape(r))
	}
	return s.root + "sluice.dead." + strings.Join(parts, ".")
}

// DeadLetters matches the dead letters of one kind, or all when what is empty.
func (s Space) DeadLetters(what string) string {
	if what == "" {
		return s.root + "sluice.dead.>"
	}
	return s.Dead(what) + ".>"
}

// Redrive is where engines are asked to publish a dead letter's original again.
func (s Space) Redrive() string { return s.root + "sluice.redrive" }

// Registry is where an event of the step registry goes.
func (s Space) Registry(stepID, kind string) string {
	return s.root + "sluice.registry." + Escape(stepID) + "." + kind
}

func wildcard(partition int) string {
	if partition < 0 {
		return "*"
	}
	return strconv.Itoa(partition)
}

// parse splits a subject of a class into its n tokens, the last two of which are
// a partition and a flow id.
func (s Space) parse(subject, class string, n int) (parts []string, partition int, flowID string, err error) {
	rest, ok := strings.CutPrefix(subject, s.root+"sluice."+class+".")
	if !ok {
		return nil, 0, "", fmt.Errorf("subject %q is not of %ssluice.%s", subject, s.root, class)
	}
	parts = strings.Split(rest, ".")
	if len(parts) != n {
		return nil, 0, "", fmt.Errorf("subject %q has not %d parts after %s", subject, n, class)
	}
	partition, err = strconv.Atoi(parts[n-2])
	if err != nil || partition < 0 || strconv.Itoa(partition) != parts[n-2] {
		return nil, 0, "", fmt.Errorf("subject %q names no partition", subject)
	}
	flowID, err = Unescape(parts[n-1])
	if err != nil {
		return nil, 0, "", fmt.Errorf("subject %q: %w", subject, err)
	}
	return parts, partition, flowID, nil
}

// ParseCommand reads a subject that [Space.Command] made.
func (s Space) ParseCommand(subject string) (src Source, partition int, flowID string, err error) {
	parts, partition, flowID, err := s.parse(subject, "cmd", 3)
	if err != nil {
		return "", 0, "", err
	}
	switch src = Source(parts[0]); src {
	case SourceHook, SourceAPI, SourceReport, SourceEngine:
		return src, partition, flowID, nil
	}
	return "", 0, "", fmt.Errorf("subject %q names no source of commands", subject)
}

// ParseWake reads a subject that [Space.Wake] made.
func (s Space) ParseWake(subject string) (partition int, flowID string, err error) {
	_, partition, flowID, err = s.parse(subject, "wake", 2)
	return partition, flowID, err
}

// ParseTimed reads the flow from a subject that [Space.Timer] or [Space.Wake]
// made.
func (s Space) ParseTimed(subject string) (flowID string, err error) {
	if _, _, flowID, err = s.parse(subject, "timer", 2); err == nil {
		return flowID, nil
	}
	_, flowID, err = s.ParseWake(subject)
	return flowID, err
}

// ParseFlow reads a subject that [Space.Flow] made.
func (s Space) ParseFlow(subject string) (kind Kind, partition int, flowID string, err error) {
	parts, partition, flowID, err := s.parse(subject, "flow", 3)
	if err != nil {
		return "", 0, "", err
	}
	switch kind = Kind(parts[0]); kind {
	case KindAdvanced, KindCompleted, KindFailed, KindCanceled, KindRetired:
		return kind, partition, flowID, nil
	}
	return "", 0, "", fmt.Errorf("subject %q names no kind of commit", subject)
}

// ParseInvoke reads a subject that [Space.InvokeHTTP] or [Space.InvokeScript]
// made.
func (s Space) ParseInvoke(subject string) (stepID string, partition int, flowID string, err error) {
	parts, partition, flowID, err := s.parse(subject, "invoke", 4)
	if err != nil {
		return "", 0, "", err
	}
	if parts[0] != "http" && parts[0] != "script" {
		return "", 0, "", fmt.Errorf("subject %q names no kind of invocation", subject)
	}
	if stepID, err = Unescape(parts[1]); err != nil {
		return "", 0, "", fmt.Errorf("subject %q: %w", subject, err)
	}
	return stepID, partition, flowID, nil
}
