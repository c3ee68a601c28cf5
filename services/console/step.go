package console

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/sluiceflow/sluice/pkg/step"
	"github.com/sluiceflow/sluice/services/internal/registry"
	"github.com/sluiceflow/sluice/services/internal/script"
)

// redacted stands for secrets in what is read. Written back it would replace
// them.
const redacted = "********"

type stepAnswer struct {
	Step    step.Definition `json:"step"`
	Message string          `json:"message"`
}

func (c *Console) createStep(ec echo.Context) error {
	d, err := c.definition(ec)
	if err != nil {
		return err
	}
	outcome, err := c.steps.Create(ec.Request().Context(), d)
	if err != nil {
		return err
	}
	if outcome == registry.Unchanged {
		return answer(ec, http.StatusOK, stepAnswer{d.Redacted(), fmt.Sprintf("step %q is registered already, the same", d.ID)})
	}
	return answer(ec, http.StatusCreated, stepAnswer{d.Redacted(), fmt.Sprintf("step %q is registered", d.ID)})
}

func (c *Console) updateStep(ec echo.Context) error {
	id, err := pathID(ec)
	if err != nil {
		return err
	}
	d, err := c.definition(ec)
	if err != nil {
		return err
	}
	if d.ID != id {
		return wrong("id", "is %q in the body and %q in the URL", d.ID, id)
	}
	if _, ok := c.steps.Get(id); !ok {
		return unknownStep(id)
	}
	outcome, err := c.steps.Put(ec.Request().Context(), d)
	if err != nil {
		return err
	}
	message := fmt.Sprintf("step %q is updated", id)
	if outcome == registry.Unchanged {
		message = fmt.Sprintf("step %q is the same as before", id)
	}
	return answer(ec, http.StatusOK, stepAnswer{d.Redacted(), message})
}

// definition reads and checks the definition that a request carries.
func (c *Console) definition(ec echo.Context) (step.Definition, error) {
	text, err := c.body(ec)
	if err != nil {
		return step.Definition{}, err
	}
	d, err := step.ParseDefinition(text)
	if err != nil {
		return step.Definition{}, err
	}
	if err := d.Validate(step.Limits{}); err != nil {
		return step.Definition{}, err
	}
	if d.HTTP != nil {
		for name, value := range d.HTTP.Headers {
			if value == redacted {
				return step.Definition{}, wrong("http.headers."+name, "is the mark that stands for a value in what is read; send the value itself")
			}
		}
	}
	return d, c.compiles(ec.Request().Context(), d)
}

// compiles refuses a step whose script or predicate does not compile, with the
// line and the reason.
func (c *Console) compiles(ctx context.Context, d step.Definition) error {
	var mistakes step.FieldErrors
	var key *step.Script
	if d.Wait != nil && d.Wait.Message != nil {
		key = d.Wait.Message.Key
	}
	for _, s := range []struct {
		field string
		text  *step.Script
	}{{"script", d.Script}, {"predicate", d.Predicate}, {"wait.message.key", key}} {
		if s.text == nil {
			continue
		}
		err := c.scripts.Check(ctx, script.Program{
			Language: script.Language(s.text.Language), Source: s.text.Script, Names: d.Inputs(), Predicate: s.field == "predicate",
		})
		wrong, own := errors.AsType[*script.Error](err)
		switch {
		case own:
			mistakes = append(mistakes, step.FieldError{Field: s.field + ".script", Message: "does not compile: " + wrong.Error()})
		case err != nil:
			return err //nolint:wrapcheck // it says all
		}
	}
	if len(mistakes) > 0 {
		return mistakes
	}
	return nil
}

func (c *Console) getStep(ec echo.Context) error {
	id, err := pathID(ec)
	if err != nil {
		return err
	}
	s, ok := c.steps.Get(id)
	if !ok {
		return unknownStep(id)
	}
	return answer(ec, http.StatusOK, s.Definition.Redacted())
}

func (c *Console) listSteps(ec echo.Context) error {
	list := []step.Definition{}
	for _, s := range c.steps.List() {
		list = append(list, s.Definition.Redacted())
	}
	return answer(ec, http.StatusOK, struct {
		Steps []step.Definition `json:"steps"`
		Count int               `json:"count"`
	}{list, len(list)})
}

func (c *Console) deleteStep(ec echo.Context) error {
	id, err := pathID(ec)
	if err != nil {
		return err
	}
	if err := c.steps.Delete(ec.Request().Context(), id); err != nil {
		return err
	}
	return answer(ec, http.StatusOK, map[string]string{"message": fmt.Sprintf("step %q is unregistered", id)})
}

func unknownStep(id string) error {
	return problem(http.StatusNotFound, "unknown_step", fmt.Sprintf("there is no step %q", id))
}
