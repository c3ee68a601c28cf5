package console

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/labstack/echo/v4"

	"github.com/sluiceflow/sluice/pkg/subject"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
)

func (c *Console) pauseFlow(ec echo.Context) error {
	return c.control(ec, "is paused", func(cmd *sluicev1.Command, reason, by string) {
		cmd.Kind = &sluicev1.Command_PauseFlow{PauseFlow: &sluicev1.PauseFlow{Reason: reason, By: by}}
	})
}

func (c *Console) resumeFlow(ec echo.Context) error {
	return c.control(ec, "goes on", func(cmd *sluicev1.Command, reason, by string) {
		cmd.Kind = &sluicev1.Command_ResumeFlow{ResumeFlow: &sluicev1.ResumeFlow{Reason: reason, By: by}}
	})
}

func (c *Console) retryFlow(ec echo.Context) error {
	return c.control(ec, "begins its failed steps again", func(cmd *sluicev1.Command, reason, by string) {
		cmd.Kind = &sluicev1.Command_RetryFlow{RetryFlow: &sluicev1.RetryFlow{Reason: reason, By: by}}
	})
}

// control asks for something that needs no more than a reason.
func (c *Console) control(ec echo.Context, what string, fill func(cmd *sluicev1.Command, reason, by string)) error {
	if err := onlyQuery(ec); err != nil {
		return err
	}
	id, err := pathID(ec)
	if err != nil {
		return err
	}
	var r struct {
		Reason string `json:"reason"`
	}
	if err := c.decodeOptional(ec, &r); err != nil {
		return err
	}
	if err := checkReason("reason", r.Reason); err != nil {
		return err
	}
	cmd := &sluicev1.Command{FlowId: id}
	fill(cmd, r.Reason, caller(ec))
	if _, err := c.ask(ec, cmd); err != nil {
		return err
	}
	return answer(ec, http.StatusOK, map[string]string{"flow_id": id, "message": fmt.Sprintf("flow %q %s", id, what)})
}

// overrideRequest is what all repairs of a step by hand have.
type overrideRequest struct {
	Item   json.RawMessage `json:"item"`
	Reason string          `json:"reason"`
}

func (c *Console) retryStep(ec echo.Context) error {
	var r overrideRequest
	return c.override(ec, &r, &r, &sluicev1.OverrideStep{Action: sluicev1.OverrideAction_OVERRIDE_ACTION_RETRY})
}

func (c *Console) skipStep(ec echo.Context) error {
	var r overrideRequest
	return c.override(ec, &r, &r, &sluicev1.OverrideStep{Action: sluicev1.OverrideAction_OVERRIDE_ACTION_SKIP})
}

func (c *Console) completeStep(ec echo.Context) error {
	var r struct {
		overrideRequest

		Outputs map[string]json.RawMessage `json:"outputs"`
	}
	o := &sluicev1.OverrideStep{Action: sluicev1.OverrideAction_OVERRIDE_ACTION_COMPLETE, Outputs: map[string][]byte{}}
	return c.override(ec, &r, &r.overrideRequest, o, func() error {
		for name, value := range r.Outputs {
			o.Outputs[name] = value
		}
		return nil
	})
}

func (c *Console) failStep(ec echo.Context) error {
	var r struct {
		overrideRequest

		Error string `json:"error"`
	}
	o := &sluicev1.OverrideStep{Action: sluicev1.OverrideAction_OVERRIDE_ACTION_FAIL}
	return c.override(ec, &r, &r.overrideRequest, o, func() error {
		o.Error = r.Error
		return checkReason("error", r.Error)
	})
}

// override reads a request into body, of which shared is a part, and asks for
// what it says. Each take moves what is the request's own into o.
func (c *Console) override(ec echo.Context, body any, shared *overrideRequest, o *sluicev1.OverrideStep, take ...func() error) error {
	if err := onlyQuery(ec); err != nil {
		return err
	}
	id, err := pathID(ec)
	if err != nil {
		return err
	}
	if o.StepId, err = pathStep(ec); err != nil {
		return err
	}
	if err := c.decodeOptional(ec, body); err != nil {
		return err
	}
	if o.Item, err = parseItem(shared.Item); err != nil {
		return err
	}
	if err := checkReason("reason", shared.Reason); err != nil {
		return err
	}
	for _, t := range take {
		if err := t(); err != nil {
			return err
		}
	}
	o.Reason, o.By = shared.Reason, caller(ec)
	cmd := &sluicev1.Command{FlowId: id, Kind: &sluicev1.Command_OverrideStep{OverrideStep: o}}
	if _, err := c.ask(ec, cmd); err != nil {
		return err
	}
	return answer(ec, http.StatusOK, map[string]string{
		"flow_id": id, "step_id": o.GetStepId(), "message": fmt.Sprintf("step %q of flow %q is overridden", o.GetStepId(), id),
	})
}

// pathStep reads the id of the path's step.
func pathStep(ec echo.Context) (string, error) {
	id, err := url.PathUnescape(ec.Param("step"))
	if err == nil {
		err = subject.CheckID(id)
	}
	if err != nil {
		return "", wrong("step", "%s", err)
	}
	return id, nil
}

// parseItem reads a work item's place, as states show it, or as a number.
func parseItem(text json.RawMessage) (*uint32, error) {
	if len(text) == 0 || string(text) == "null" {
		return nil, nil //nolint:nilnil // none is asked for
	}
	place := string(text)
	if place[0] == '"' {
		if err := json.Unmarshal(text, &place); err != nil {
			return nil, wrong("item", "must be a string")
		}
	}
	n, err := strconv.ParseUint(place, 10, 32)
	if err != nil {
		return nil, wrong("item", `must be the place of a work item, such as "0"`)
	}
	return new(uint32(n)), nil
}

func checkReason(field, text string) error {
	if len(text) > maxReason {
		return wrong(field, "must have at most %d characters", maxReason)
	}
	return nil
}
