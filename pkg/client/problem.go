package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Problem is what the control API answers instead of what was asked for: an
// RFC 9457 problem.
type Problem struct { //nolint:errname // it is what RFC 9457 calls it
	// Type is a URN that ends in the code.
	Type  string `json:"type"`
	Title string `json:"title"`
	// Status is the HTTP status.
	Status int `json:"status"`
	// Detail says in words what is wrong.
	Detail   string `json:"detail"`
	Instance string `json:"instance"`
	// Field names the part of the request that is wrong, if it is one.
	Field string `json:"field"`
	// Errors are all the parts that are wrong.
	Errors []FieldError `json:"errors"`
	// FlowID is the flow that was asked for, where a start got no answer in time.
	// It may start yet: the same request with this id may be sent again.
	FlowID string `json:"flow_id"`
	// RetryAfter is how long to wait before the same request, if it was said.
	RetryAfter time.Duration `json:"-"`
}

// FieldError is one part of a request and what is wrong with it.
type FieldError struct {
	Field   string `json:"field"`
	Message string `json:"message"`
}

// Code is the last part of the type, such as "not-found"; empty when the answer
// came from something other than Sluice.
func (p *Problem) Code() string {
	code, found := strings.CutPrefix(p.Type, "urn:sluice:problem:")
	if !found {
		return ""
	}
	return code
}

func (p *Problem) Error() string {
	text := fmt.Sprintf("%d %s", p.Status, p.Title)
	if p.Detail != "" {
		text += ": " + p.Detail
	}
	if p.Field != "" && !strings.Contains(p.Detail, p.Field) {
		text += " (" + p.Field + ")"
	}
	return text
}

// Temporary reports whether the same request may succeed later.
func (p *Problem) Temporary() bool {
	return p.Status >= http.StatusInternalServerError || p.Status == http.StatusTooManyRequests
}

// StatusOf gives the HTTP status of a [*Problem], and 0 for any other error.
func StatusOf(err error) int {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p.Status
	}
	return 0
}

// problemFrom reads the answer of a refused request. What is no problem, as
// from a proxy between, becomes one.
func problemFrom(resp *http.Response, body []byte) *Problem {
	var p Problem
	if json.Unmarshal(body, &p) != nil {
		p = Problem{Detail: firstLine(body)}
	}
	p.Status = resp.StatusCode
	if p.Title == "" {
		p.Title = http.StatusText(resp.StatusCode)
	}
	if seconds, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && seconds > 0 {
		p.RetryAfter = time.Duration(seconds) * time.Second
	}
	return &p
}

func firstLine(body []byte) string {
	const enough = 200
	line, _, _ := strings.Cut(strings.TrimSpace(string(body)), "\n")
	if len(line) > enough {
		line = line[:enough]
	}
	return strings.ToValidUTF8(line, "")
}
