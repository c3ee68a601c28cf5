package httpapi

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"

	"github.com/labstack/echo/v4"
)

// ReadBody reads a request's body of at most limit bytes; a larger one is a
// problem 413.
func ReadBody(c echo.Context, limit int64) ([]byte, error) {
	data, err := io.ReadAll(http.MaxBytesReader(c.Response(), c.Request().Body, limit))
	if err == nil {
		return data, nil
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, &ProblemError{
			Status: http.StatusRequestEntityTooLarge, Code: "body_too_large",
			Detail: fmt.Sprintf("the body is over the limit of %d bytes", limit),
		}
	}
	return nil, &ProblemError{
		Status: http.StatusBadRequest, Code: "body_incomplete",
		Detail: "the body could not be read to its end", Cause: err,
	}
}

// CheckJSON refuses, as a problem 415, a request whose body is said to be
// something else than JSON. One that says nothing passes if absent is true.
func CheckJSON(c echo.Context, absent bool) error {
	said := c.Request().Header.Get(echo.HeaderContentType)
	if said == "" && absent {
		return nil
	}
	if media, _, err := mime.ParseMediaType(said); err == nil && media == echo.MIMEApplicationJSON {
		return nil
	}
	return &ProblemError{
		Status: http.StatusUnsupportedMediaType, Code: "unsupported_media_type",
		Detail: "the body must be JSON, with Content-Type: application/json",
	}
}
