package step

import (
	"bytes"
	"fmt"
	"maps"

	"github.com/go-json-experiment/json"
)

// Kind says how a step does its work.
type Kind string

// The kinds of steps.
const (
	KindSync   Kind = "sync"   // the endpoint's answer is the outcome
	KindAsync  Kind = "async"  // the outcome comes later by webhook
	KindScript Kind = "script" // a script of ours computes the outputs
	KindFlow   Kind = "flow"   // a child flow
	KindWait   Kind = "wait"   // time, a message or an approval
)

// Role says what an attribute is to a step.
type Role string

// The roles of attributes.
const (
	RoleRequired Role = "required" // the step cannot start without it
	RoleOptional Role = "optional" // waited for as long as somebody may give it
	RoleConst    Role = "const"    // always the default
	RoleOutput   Role = "output"   // the step gives it
)

// Backoff says how the delay before a retry grows.
type Backoff string

// The kinds of backoff.
const (
	BackoffFixed       Backoff = "fixed"
	BackoffLinear      Backoff = "linear"
	BackoffExponential Backoff = "exponential"
)

// valid reports whether the kind of backoff exists.
func (b Backoff) valid() bool {
	return b == BackoffFixed || b == BackoffLinear || b == BackoffExponential
}

// Definition is a step as it is registered. All times are in milliseconds.
type Definition struct {
	ID         string               `json:"id"`
	Name       string               `json:"name,omitempty"`
	Type       Kind                 `json:"type"`
	Labels     map[string]string    `json:"labels,omitempty"`
	Attributes map[string]Attribute `json:"attributes,omitempty"`
	HTTP       *HTTP                `json:"http,omitzero"`
	// NATS is not in this release.
	NATS *NATS `json:"nats,omitzero"`
	// Script is what a step of type script runs.
	Script *Script `json:"script,omitzero"`
	// Flow is what a step of type flow starts.
	Flow *Child `json:"flow,omitzero"`
	// Wait is what a step of type wait waits for.
	Wait *Wait `json:"wait,omitzero"`
	// Predicate is asked whether the step should start when it could.
	Predicate  *Script     `json:"predicate,omitzero"`
	WorkConfig *WorkConfig `json:"work_config,omitzero"`
	// Memoizable says that equal inputs give equal outputs, so that a success may
	// stand for equal work of other flows.
	Memoizable bool `json:"memoizable,omitzero"`
}

// Attribute is one input or output of a step.
type Attribute struct {
	Role Role `json:"role"`
	// Type is any where it is absent.
	Type Type `json:"type,omitempty"`
	// Default is JSON text, for optional and const inputs; nil when there is none.
	Default *string `json:"default,omitzero"`
	// ForEach makes a work item of each element of the input, which must be an
	// array. See [Attribute.ElementType].
	ForEach bool `json:"for_each,omitzero"`
}

// HTTP is how a step is called.
type HTTP struct {
	// Endpoint and HealthCheck are absolute URLs.
	Endpoint string `json:"endpoint"`
	// Timeout is how long the call alone may take; 0 means the default.
	Timeout     int64  `json:"timeout,omitzero"`
	HealthCheck string `json:"health_check,omitempty"`
	// Secret signs the calls (Standard Webhooks: whsec_ and base64). Reads never
	// show it, nor the values of Headers.
	Secret  string            `json:"secret,omitempty"`
	Headers map[string]string `json:"headers,omitempty"`
	// Compensate is an absolute URL that undoes a success when its flow fails or
	// is canceled; see [Compensation].
	Compensate string `json:"compensate,omitempty"`
}

// NATS says that the step's workers are on NATS.
type NATS struct{}

// Script is a text in one of the script languages.
type Script struct {
	// Language is cel, lua or ale.
	Language string `json:"language"`
	Script   string `json:"script"`
}

// Child is the flow that a step of type flow starts.
type Child struct {
	Goals []string `json:"goals,omitempty"`
	// InputMap is the step's input to the child's; what it does not name keeps its
	// name. See [Definition.ChildInputs].
	InputMap map[string]string `json:"input_map,omitempty"`
	// OutputMap is the child's attribute to the step's output; an output that it
	// does not name is the attribute of the same name.
	OutputMap map[string]string `json:"output_map,omitempty"`
}

// WorkConfig is how the work items of a step are retried and limited.
type WorkConfig struct {
	// MaxRetries is the number of attempts after the first; -1 means no limit.
	MaxRetries int32 `json:"max_retries,omitzero"`
	// BackoffMS is the delay before the first retry; nil means the default, 0 none.
	BackoffMS *int64 `json:"backoff_ms,omitzero"`
	// MaxBackoffMS bounds the delay; nil and 0 mean the default.
	MaxBackoffMS *int64 `json:"max_backoff_ms,omitzero"`
	// BackoffType is the default where it is absent.
	BackoffType Backoff `json:"backoff_type,omitempty"`
	// Parallelism is how many work items run at once; 0 means 1.
	Parallelism int32 `json:"parallelism,omitzero"`
	// TimeoutMS is how long an attempt may take until its completion is in; 0
	// means the default and -1 no limit.
	TimeoutMS int64 `json:"timeout_ms,omitzero"`
	// DeadlineMS is how long a work item may take over all its attempts; 0 means
	// that there is no such limit.
	DeadlineMS int64 `json:"deadline_ms,omitzero"`
	// HeartbeatTimeoutMS is how long the worker of an async step may be silent; 0
	// means that no heartbeat is asked for.
	HeartbeatTimeoutMS int64 `json:"heartbeat_timeout_ms,omitzero"`
}

// ParseDefinition reads a step's definition. It returns a [*FieldError] for the
// first field that is unknown, doubled or of another JSON type; what the values
// mean is for [Definition.Validate] to judge.
func ParseDefinition(data []byte) (Definition, error) {
	if err := checkDepth(data); err != nil {
		return Definition{}, err
	}
	if kind := typeOf(data); kind != TypeObject && kind != "" {
		return Definition{}, &FieldError{"", "must be an object"}
	}
	var d Definition
	if err := json.Unmarshal(data, &d, json.RejectUnknownMembers(true)); err != nil {
		return Definition{}, parseError(err)
	}
	return d, nil
}

// Encode writes the definition as JSON, secrets included. Equal definitions
// have equal bytes.
func (d Definition) Encode() ([]byte, error) {
	data, err := json.Marshal(d, json.Deterministic(true))
	if err != nil {
		return nil, fmt.Errorf("write step %q as JSON: %w", d.ID, err)
	}
	return data, nil
}

// Equal reports whether o defines the same step, secrets included.
func (d Definition) Equal(o Definition) bool {
	a, err := d.Encode()
	if err != nil {
		return false
	}
	b, err := o.Encode()
	return err == nil && bytes.Equal(a, b)
}

// Mask stands where a read would show a secret.
const Mask = "********"

// Redacted returns a copy whose secret and header values are marks.
func (d Definition) Redacted() Definition {
	if d.HTTP == nil {
		return d
	}
	call := *d.HTTP
	if call.Secret != "" {
		call.Secret = Mask
	}
	call.Headers = maps.Clone(call.Headers)
	for name := range call.Headers {
		call.Headers[name] = Mask
	}
	d.HTTP = &call
	return d
}

// Inputs returns the names of the step's inputs, sorted.
func (d Definition) Inputs() []string {
	var names []string
	for _, name := range sortedNames(d.Attributes) {
		if d.Attributes[name].Role != RoleOutput {
			names = append(names, name)
		}
	}
	return names
}

// HasCredentials reports whether calls carry a signature or headers of the step.
func (d Definition) HasCredentials() bool {
	return d.HTTP != nil && (d.HTTP.Secret != "" || len(d.HTTP.Headers) > 0)
}
