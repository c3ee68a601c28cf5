package console

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/sluiceflow/sluice/pkg/step"
	"github.com/sluiceflow/sluice/services/internal/fault"
	"github.com/sluiceflow/sluice/services/internal/httpapi"
	"github.com/sluiceflow/sluice/services/internal/plan"
)

// explain is the console's one switch from errors to problems.
func explain(err error) *httpapi.ProblemError {
	if p, ok := errors.AsType[*httpapi.ProblemError](err); ok {
		return p
	}
	if fe, ok := errors.AsType[*step.FieldError](err); ok {
		return invalid(*fe)
	}
	if all, ok := errors.AsType[step.FieldErrors](err); ok {
		return invalid(all...)
	}
	if p := unplanned(err); p != nil {
		return p
	}
	p := httpapi.FromFault(err)
	if fe, ok := errors.AsType[*fault.Error](err); ok && p.Status != http.StatusInternalServerError && fe.Err != nil {
		p.Detail = fe.Err.Error() // without the name of the function
	}
	return p
}

// invalid is a 400 that names the fields.
func invalid(mistakes ...step.FieldError) *httpapi.ProblemError {
	p := &httpapi.ProblemError{Status: http.StatusBadRequest, Code: "invalid", Detail: step.FieldErrors(mistakes).Error()}
	for _, m := range mistakes {
		p.Fields = append(p.Fields, httpapi.Field{Name: m.Field, Message: m.Message})
	}
	return p
}

// wrong is a 400 for one field.
func wrong(field, format string, args ...any) *httpapi.ProblemError {
	return invalid(step.FieldError{Field: field, Message: fmt.Sprintf(format, args...)})
}

// unplanned says why there is no plan, or nil when that is not what err says.
func unplanned(err error) *httpapi.ProblemError {
	if e, ok := errors.AsType[*plan.ChildError](err); ok {
		return unplannedChild(e)
	}
	if e, ok := errors.AsType[*plan.UnknownGoalError](err); ok {
		return &httpapi.ProblemError{
			Status: http.StatusNotFound, Code: "unknown_goal", Field: "goals",
			Detail: "no such step: " + strings.Join(e.Goals, ", "),
		}
	}
	if e, ok := errors.AsType[*plan.MissingInputsError](err); ok {
		p := &httpapi.ProblemError{
			Status: http.StatusBadRequest, Code: "missing_inputs",
			Detail: "init lacks what nothing in the plan gives: " + strings.Join(e.Inputs, ", "),
		}
		for _, name := range e.Inputs {
			p.Fields = append(p.Fields, httpapi.Field{Name: "init." + name, Message: "is required"})
		}
		return p
	}
	if e, ok := errors.AsType[*plan.InitTypeError](err); ok {
		return &httpapi.ProblemError{Status: http.StatusBadRequest, Code: "invalid", Field: "init", Detail: e.Error()}
	}
	return nil
}

// unplannedChild says which step's child flow has no plan, and why. No field of the
// request is to blame.
func unplannedChild(e *plan.ChildError) *httpapi.ProblemError {
	p := &httpapi.ProblemError{Status: http.StatusBadRequest, Code: "invalid", Field: "goals", Detail: e.Error()}
	if _, ok := errors.AsType[*plan.UnknownGoalError](e); ok {
		p.Status, p.Code = http.StatusNotFound, "unknown_goal"
	}
	if _, ok := errors.AsType[*plan.MissingInputsError](e); ok {
		p.Code = "missing_inputs"
	}
	return p
}
