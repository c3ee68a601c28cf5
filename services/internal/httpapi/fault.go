package httpapi

import (
	"errors"
	"net/http"
	"time"

	"github.com/sluiceflow/sluice/services/internal/fault"
)

// retryUnavailable is when a client may ask again while a dependency is down.
const retryUnavailable = time.Second

// FromFault says an error's kind in HTTP. What is internal stays so: its text
// goes to the log alone.
func FromFault(err error) *ProblemError {
	switch fault.KindOf(err) {
	case fault.Invalid:
		return &ProblemError{Status: http.StatusBadRequest, Code: "invalid", Detail: detail(err), Cause: err}
	case fault.NotFound:
		return &ProblemError{Status: http.StatusNotFound, Code: "not_found", Detail: detail(err), Cause: err}
	case fault.Conflict:
		return &ProblemError{Status: http.StatusConflict, Code: "conflict", Detail: detail(err), Cause: err}
	case fault.Unavailable:
		return &ProblemError{
			Status: http.StatusServiceUnavailable, Code: "unavailable",
			Detail: detail(err), RetryAfter: retryUnavailable, Cause: err,
		}
	case fault.Internal:
	}
	return &ProblemError{
		Status: http.StatusInternalServerError, Code: "internal",
		Detail: "something went wrong here; the log says what", Cause: err,
	}
}

// detail is an error's text without the name of the operation, which is for
// the log.
func detail(err error) string {
	if e, ok := errors.AsType[*fault.Error](err); ok && e.Err != nil {
		return e.Err.Error()
	}
	return err.Error()
}
