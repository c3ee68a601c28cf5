// Package answer says what an endpoint's answer to an invocation means, exactly
// as the contract's table does.
package answer

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/sluiceflow/sluice/pkg/step"
)

// MaxRetryAfter is the longest delay that an endpoint's Retry-After may ask for.
const MaxRetryAfter = time.Hour

// Class is what an answer comes to.
type Class string

// The classes of answers.
const (
	Accepted     Class = "accepted"      // an async step took the work: its webhook will tell
	Succeeded    Class = "succeeded"     // the outputs are here
	Failed       Class = "failed"        // for good
	NotCompleted Class = "not_completed" // the engine tries again
)

// Answer is what came back from a call.
type Answer struct {
	// Status is the HTTP status; 0 means that there was no answer.
	Status int
	// RetryAfter is the header of that name.
	RetryAfter string
	// Body is the whole body of a 2xx; other bodies are not looked at.
	Body []byte
	// TooLarge says that the body of a 2xx is over the limit.
	TooLarge bool
	// Err says why there was no answer, or why the body of a 2xx broke off.
	Err error
	// Refused says that the call was not made and never can be; Err says why.
	Refused bool
}

// DependsOnRepetition reports whether the answer means something else to a call
// that may have been made before.
func (a Answer) DependsOnRepetition() bool {
	return a.Err == nil && a.Status >= 400 && a.Status < 500 && !tryAgain(a.Status)
}

// ok reports whether the answer is a 2xx, whatever its body.
func (a Answer) ok() bool { return a.Status >= 200 && a.Status < 300 }

// Call is what the meaning of an answer depends on beside the answer.
type Call struct {
	// Async says that the step completes by webhook.
	Async bool
	// Compensates says that the call undoes a success: any 2xx says that it did.
	Compensates bool
	// Repeated says that an earlier call of the same attempt may have been
	// answered; it is asked only where [Answer.DependsOnRepetition].
	Repeated bool
	// Now is when the answer came.
	Now time.Time
}

// Verdict is what the engine is told. An accepted call's result is empty.
type Verdict struct {
	Class  Class
	Result step.Result
}

// Classify says what an answer means.
func Classify(call Call, a Answer) Verdict {
	switch {
	case a.Refused:
		return failed(a.Err.Error())
	case call.Compensates && a.ok():
		return Verdict{Succeeded, step.Result{Success: true}}
	case a.Err != nil:
		return notCompleted(a.Err.Error(), 0)
	case a.ok():
		return classifySuccess(call, a)
	case a.Status >= 300 && a.Status < 400:
		return failed(said(a.Status) + ": redirects are not followed")
	case a.DependsOnRepetition() && !call.Repeated:
		return failed(said(a.Status))
	case a.DependsOnRepetition():
		return notCompleted(said(a.Status)+" to a repeated call", retryAfter(a.RetryAfter, call.Now))
	default:
		return notCompleted(said(a.Status), retryAfter(a.RetryAfter, call.Now))
	}
}

// classifySuccess tells a StepResult from what is none: a sync step owes one,
// an async step's 2xx accepts the work unless it says the contrary.
func classifySuccess(call Call, a Answer) Verdict {
	if a.TooLarge {
		return failed("the answer's body is over the limit (MAX_BODY_BYTES)")
	}
	result, err := step.ParseResult(a.Body)
	switch {
	case err == nil && !result.Success && result.NotCompleted:
		return Verdict{NotCompleted, result}
	case err == nil && !result.Success:
		return Verdict{Failed, result}
	case call.Async:
		return Verdict{Class: Accepted}
	case err != nil:
		return failed("the answer is not a StepResult: " + err.Error())
	}
	return Verdict{Succeeded, result}
}

func failed(why string) Verdict {
	return Verdict{Failed, step.Result{Error: why}}
}

func notCompleted(why string, after time.Duration) Verdict {
	return Verdict{NotCompleted, step.Result{Error: why, NotCompleted: true, RetryAfterMS: after.Milliseconds()}}
}

func said(status int) string {
	if text := http.StatusText(status); text != "" {
		return fmt.Sprintf("the endpoint answered %d %s", status, text)
	}
	return fmt.Sprintf("the endpoint answered %d", status)
}

func tryAgain(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	}
	return false
}

// retryAfter reads a Retry-After header: seconds or a date. What is neither
// asks for nothing.
func retryAfter(header string, now time.Time) time.Duration {
	header = strings.TrimSpace(header)
	if header == "" {
		return 0
	}
	if strings.Trim(header, "0123456789") == "" {
		seconds, err := strconv.ParseInt(header, 10, 32)
		if err != nil || seconds > int64(MaxRetryAfter/time.Second) {
			return MaxRetryAfter
		}
		return time.Duration(seconds) * time.Second
	}
	at, err := http.ParseTime(header)
	if err != nil {
		return 0
	}
	return min(max(at.Sub(now), 0), MaxRetryAfter)
}
