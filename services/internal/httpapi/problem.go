package httpapi

import (
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"
)

const (
	problemType = "application/problem+json"
	problemURN  = "urn:sluice:problem:"
	instanceKey = "httpapi.instance"
)

// A Field is a part of the request and what is wrong with it.
type Field struct {
	Name    string `json:"field"`
	Message string `json:"message"`
}

// ProblemError is an error that the error handler of NewEcho answers as an
// RFC 9457 problem.
type ProblemError struct {
	// Status is the HTTP status, and its text the problem's title.
	Status int
	// Code ends the problem's type: urn:sluice:problem:<code>.
	Code string
	// Detail is for the reader; it must not tell secrets.
	Detail string
	// Field names the one part of the request that is wrong, if it is one.
	Field string
	// Fields are all the parts that are wrong, with their reasons.
	Fields []Field
	// FlowID, where not empty, is the flow that the request asked for, and that
	// may be there by now.
	FlowID string
	// RetryAfter, rounded up to seconds, becomes the header of that name. 0
	// means none.
	RetryAfter time.Duration
	// Cause is logged for statuses from 500 on, and never answered.
	Cause error
}

// Error gives the detail.
func (e *ProblemError) Error() string { return e.Detail }

// Unwrap gives the cause.
func (e *ProblemError) Unwrap() error { return e.Cause }

// body is a problem on the wire. "error" repeats the detail for clients that
// read that.
type body struct {
	Type     string  `json:"type"`
	Title    string  `json:"title"`
	Status   int     `json:"status"`
	Detail   string  `json:"detail,omitempty"`
	Instance string  `json:"instance,omitempty"`
	Field    string  `json:"field,omitempty"`
	Errors   []Field `json:"errors,omitempty"`
	FlowID   string  `json:"flow_id,omitempty"`
	Error    string  `json:"error,omitempty"`
}

// Problem answers with a problem. A single field is also named as "field".
func Problem(c echo.Context, status int, code, detail string, fields ...Field) error {
	return write(c, &ProblemError{Status: status, Code: code, Detail: detail, Fields: fields})
}

// SetInstance sets the "instance" of the problems of this request, where its
// path holds what must not be repeated.
func SetInstance(c echo.Context, instance string) { c.Set(instanceKey, instance) }

func write(c echo.Context, p *ProblemError) error {
	header := c.Response().Header()
	if p.RetryAfter > 0 {
		header.Set(echo.HeaderRetryAfter, strconv.Itoa(int(math.Ceil(p.RetryAfter.Seconds()))))
	}
	field := p.Field
	if field == "" && len(p.Fields) == 1 {
		field = p.Fields[0].Name
	}
	data, err := json.Marshal(body{
		Type: problemURN + p.Code, Title: http.StatusText(p.Status), Status: p.Status,
		Detail: p.Detail, Instance: instance(c), Field: field, Errors: p.Fields, FlowID: p.FlowID, Error: p.Detail,
	})
	if err != nil {
		return err
	}
	if c.Request().Method == http.MethodHead {
		header.Set(echo.HeaderContentType, problemType)
		return c.NoContent(p.Status)
	}
	return c.Blob(p.Status, problemType, data)
}

func instance(c echo.Context) string {
	if set, ok := c.Get(instanceKey).(string); ok {
		return set
	}
	return c.Request().URL.EscapedPath()
}
