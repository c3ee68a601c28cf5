package webhook

import (
	"errors"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/sluiceflow/sluice/pkg/step"
	"github.com/sluiceflow/sluice/services/internal/httpapi"
)

// When a worker should send the same again.
const (
	retrySoon = time.Second
	retryFull = 5 * time.Second // somebody must free space first
)

// Answers to what is stored.
const (
	accepted = "accepted"
	replayed = "replayed"
)

func write(c echo.Context, answer string) error {
	if answer == replayed {
		c.Response().Header().Set("Idempotency-Replayed", "true")
		return c.JSONBlob(http.StatusOK, []byte(`{"status":"replayed"}`))
	}
	return c.JSONBlob(http.StatusOK, []byte(`{"status":"accepted"}`))
}

// notFound is the one answer to every token that is not ours.
func notFound() error {
	return &httpapi.ProblemError{
		Status: http.StatusNotFound, Code: "not_found", Detail: "no such token for this flow and step",
	}
}

func limited(wait time.Duration) error {
	return &httpapi.ProblemError{
		Status: http.StatusTooManyRequests, Code: "too_many_bad_tokens",
		Detail: "too many bad tokens came from this address", RetryAfter: wait,
	}
}

func methodNotAllowed() error {
	return &httpapi.ProblemError{
		Status: http.StatusMethodNotAllowed, Code: "method_not_allowed", Detail: "a webhook takes POST",
	}
}

func badResult(err error) error {
	p := &httpapi.ProblemError{Status: http.StatusBadRequest, Code: "invalid_result", Detail: err.Error()}
	if field, ok := errors.AsType[*step.FieldError](err); ok {
		p.Field = field.Field
	}
	return p
}

func refused() error {
	return &httpapi.ProblemError{
		Status: http.StatusConflict, Code: "conflict", Detail: "the token already carries a different outcome",
	}
}

func gone() error {
	return &httpapi.ProblemError{
		Status: http.StatusGone, Code: "closed", Detail: "the work item, or this attempt of it, takes no outcome any more",
	}
}

func busy() error {
	return &httpapi.ProblemError{
		Status: http.StatusServiceUnavailable, Code: "busy",
		Detail: "another outcome of this token is being stored; send the same again", RetryAfter: retrySoon,
	}
}

func contested() error {
	return &httpapi.ProblemError{
		Status: http.StatusServiceUnavailable, Code: "contested",
		Detail: "which outcome of this token counts is being decided; send the same again", RetryAfter: retrySoon,
	}
}

func notStored(cause error, wait time.Duration) error {
	return &httpapi.ProblemError{
		Status: http.StatusServiceUnavailable, Code: "unavailable",
		Detail: "the outcome could not be stored; send the same again", RetryAfter: wait, Cause: cause,
	}
}

// codeOf is what metrics call an answer.
func codeOf(answer string, err error) string {
	if err == nil {
		return answer
	}
	if p, ok := errors.AsType[*httpapi.ProblemError](err); ok {
		return p.Code
	}
	return "internal"
}
