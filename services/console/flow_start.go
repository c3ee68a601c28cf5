package console

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"
	"google.golang.org/protobuf/proto"

	"github.com/sluiceflow/sluice/pkg/step"
	"github.com/sluiceflow/sluice/pkg/subject"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/fault"
	"github.com/sluiceflow/sluice/services/internal/httpapi"
)

// maxLabelValue is the longest value of a label.
const maxLabelValue = 1024

type startRequest struct {
	ID        string                     `json:"id"`
	Goals     []string                   `json:"goals"`
	Init      map[string]json.RawMessage `json:"init"`
	Labels    map[string]*string         `json:"labels"`
	TimeoutMS int64                      `json:"timeout_ms"`

	CallbackURL    string `json:"callback_url"`
	CallbackSecret string `json:"callback_secret"`
	StartAt        string `json:"start_at"`
}

// A flowRequest is a start request that was checked, and what makes it equal to
// another one.
type flowRequest struct {
	id     string
	made   bool // the id is ours
	goals  []string
	init   map[string]json.RawMessage
	labels map[string]string
	limit  int64

	callbackURL, callbackSecret string

	startAt time.Time // zero means at once

	digest []byte
}

func (c *Console) startFlow(ec echo.Context) error {
	if err := onlyQuery(ec, waitParam); err != nil {
		return err
	}
	patience, err := patienceOf(ec)
	if err != nil {
		return err
	}
	var r startRequest
	if err := c.decode(ec, &r); err != nil {
		return err
	}
	request, err := c.check(r)
	if err != nil {
		return err
	}
	if err := c.bus.Full(); err != nil {
		return err
	}
	if patience > 0 {
		return c.startAndWait(ec, request, patience)
	}
	status, err := c.start(ec.Request().Context(), request)
	if err != nil {
		return err
	}
	return answer(ec, status, startAnswer{FlowID: request.id})
}

type startAnswer struct {
	FlowID string `json:"flow_id"`
	// Flow is the state, where the request waited for the end.
	Flow any `json:"flow,omitempty"`
}

// startAndWait starts nothing where there is no place to wait.
func (c *Console) startAndWait(ec echo.Context, r flowRequest, patience time.Duration) error {
	w, err := c.join(r.id)
	if err != nil {
		return err
	}
	defer w.Leave()
	status, err := c.start(ec.Request().Context(), r)
	if err != nil {
		return err
	}
	return answer(ec, status, startAnswer{FlowID: r.id, Flow: c.stateOfStarted(ec, w, r.id, patience)})
}

// start asks the engine for the flow and returns the status to answer with.
func (c *Console) start(ctx context.Context, r flowRequest) (int, error) {
	made, err := c.planner.plan(r.goals, r.init)
	if err != nil {
		return c.startedBefore(ctx, r, err)
	}
	init := make(map[string][]byte, len(r.init))
	for name, value := range r.init {
		init[name] = value
	}
	cmd := &sluicev1.Command{
		FlowId: r.id,
		Kind: &sluicev1.Command_StartFlow{StartFlow: &sluicev1.StartFlow{
			Plan: made.bytes, Init: init, Labels: r.labels, TimeoutMs: r.limit, RequestDigest: r.digest,
			CallbackUrl: r.callbackURL, CallbackSecret: []byte(r.callbackSecret), StartAtNs: nanoseconds(r.startAt),
		}},
	}
	if size, limit := proto.Size(cmd), int(c.bus.NC.MaxPayload()/2); size > limit {
		return 0, wrong("goals", "need a plan that takes %d bytes together with init, and may take %d", size, limit)
	}
	reply, err := c.bus.Ask(ctx, cmd)
	switch {
	case fault.KindOf(err) == fault.Unavailable:
		return 0, unanswered(r, err)
	case err != nil:
		return 0, err
	case reply.GetCode() == sluicev1.ReplyCode_REPLY_CODE_REPEATED:
		return http.StatusOK, nil
	}
	return http.StatusCreated, refusal(reply)
}

// unanswered says of a flow that may start yet, or not, how to ask for it again.
func unanswered(r flowRequest, err error) *httpapi.ProblemError {
	p := explain(err)
	p.FlowID = r.id
	if r.made {
		p.Detail += fmt.Sprintf(`; the same request with "id": %q may be sent again`, r.id)
	} else {
		p.Detail += "; the same request may be sent again"
	}
	return p
}

// startedBefore answers a request that cannot be planned now: steps may have
// changed since the flow was started by it.
func (c *Console) startedBefore(ctx context.Context, r flowRequest, unplannable error) (int, error) {
	if r.made {
		return 0, unplannable
	}
	state, broken, err := c.load(ctx, r.id)
	switch {
	case errors.Is(err, errNoFlow):
		return 0, unplannable
	case err != nil:
		return 0, err
	case broken != "" || !bytes.Equal(state.RequestDigest, r.digest):
		return 0, problem(http.StatusConflict, "conflict", fmt.Sprintf("flow %q was started by another request", r.id))
	}
	return http.StatusOK, nil
}

// check refuses what cannot be started, with the field's name.
func (c *Console) check(r startRequest) (flowRequest, error) {
	var none flowRequest
	if err := checkCallback(r.CallbackURL, r.CallbackSecret); err != nil {
		return none, err
	}
	out := flowRequest{
		id: r.ID, init: r.Init, limit: r.TimeoutMS, callbackURL: r.CallbackURL, callbackSecret: r.CallbackSecret,
	}
	var err error
	if out.goals, err = c.checkGoals(r.Goals); err != nil {
		return none, err
	}
	if err := c.checkInit(r.Init); err != nil {
		return none, err
	}
	if out.labels, err = c.checkLabels(r.Labels); err != nil {
		return none, err
	}
	if r.TimeoutMS < 0 || r.TimeoutMS > maxTimeoutMS {
		return none, wrong("timeout_ms", "must be a whole number from 0 to %d", maxTimeoutMS)
	}
	if out.startAt, err = parseStartAt(r.StartAt); err != nil {
		return none, err
	}
	if r.ID == "" {
		id, err := uuid.NewV7() // in order of time, so that lists of ids are too
		if err != nil {
			return none, fmt.Errorf("make an id: %w", err)
		}
		out.id, out.made = id.String(), true
	} else if err := subject.CheckID(r.ID); err != nil {
		return none, wrong("id", "%s", err)
	}
	out.digest, err = out.digestOf()
	return out, err
}

func (c *Console) checkLabels(labels map[string]*string) (map[string]string, error) {
	if len(labels) > c.cfg.MaxLabels {
		return nil, wrong("labels", "has %d entries, and may have %d", len(labels), c.cfg.MaxLabels)
	}
	out := make(map[string]string, len(labels))
	for name, value := range labels {
		switch {
		case name == "" || len(name) > maxName:
			return nil, wrong("labels", "a name must have 1 to %d characters", maxName)
		case value == nil:
			return nil, wrong("labels."+name, "must be a string")
		case len(*value) > maxLabelValue:
			return nil, wrong("labels."+name, "must have at most %d characters", maxLabelValue)
		}
		out[name] = *value
	}
	return out, nil
}

// digestOf is equal for requests that ask for the same: what is absent is what
// is empty, and the id is the address.
func (r flowRequest) digestOf() ([]byte, error) {
	same := map[string]any{"goals": r.goals}
	if len(r.init) > 0 {
		same["init"] = r.init
	}
	if len(r.labels) > 0 {
		same["labels"] = r.labels
	}
	if r.limit > 0 {
		same["timeout_ms"] = r.limit
	}
	if r.callbackURL != "" {
		same["callback_url"] = r.callbackURL
	}
	if r.callbackSecret != "" { // of more than can be guessed, so its digest tells nothing of it
		same["callback_secret"] = r.callbackSecret
	}
	if !r.startAt.IsZero() {
		same["start_at"] = r.startAt.Format(time.RFC3339Nano)
	}
	text, err := json.Marshal(same)
	if err != nil {
		return nil, fmt.Errorf("write the request: %w", err)
	}
	return step.CanonicalDigest(text)
}

// refusal is what the engine said no with, or nil.
func refusal(reply *sluicev1.Reply) error {
	switch reply.GetCode() {
	case sluicev1.ReplyCode_REPLY_CODE_OK, sluicev1.ReplyCode_REPLY_CODE_REPEATED:
		return nil
	case sluicev1.ReplyCode_REPLY_CODE_CONFLICT:
		return problem(http.StatusConflict, "conflict", reply.GetDetail())
	case sluicev1.ReplyCode_REPLY_CODE_NOT_FOUND:
		return problem(http.StatusNotFound, "unknown_flow", "there is no such flow")
	case sluicev1.ReplyCode_REPLY_CODE_UNKNOWN_STEP:
		return problem(http.StatusNotFound, "unknown_step", reply.GetDetail())
	case sluicev1.ReplyCode_REPLY_CODE_INVALID:
		return problem(http.StatusBadRequest, "invalid", reply.GetDetail())
	case sluicev1.ReplyCode_REPLY_CODE_UNSPECIFIED:
	}
	return fmt.Errorf("the engine answered with code %v", reply.GetCode())
}
