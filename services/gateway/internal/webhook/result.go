package webhook

import (
	"net/url"
	"strconv"

	"github.com/sluiceflow/sluice/pkg/step"
)

// parseResult reads a StepResult and the attempt that it is of, which the query
// may say, or the body, or nobody: then it is the first.
func parseResult(body []byte, rawQuery string) (step.Result, error) {
	result, err := step.ParseResult(body)
	if err != nil {
		return step.Result{}, err
	}
	attempt, err := attemptOf(result.Attempt, rawQuery)
	if err != nil {
		return step.Result{}, err
	}
	result.Attempt = max(attempt, 1)
	return result, nil
}

// attemptOf is the attempt that a body or a query says, 0 where neither does.
func attemptOf(said uint32, rawQuery string) (uint32, error) {
	if rawQuery == "" {
		return said, nil
	}
	query, err := url.ParseQuery(rawQuery)
	if err != nil {
		return 0, &step.FieldError{Field: "attempt", Message: "cannot be read from the query"}
	}
	for _, text := range query["attempt"] {
		n, err := strconv.ParseUint(text, 10, 32)
		if err != nil || n == 0 {
			return 0, &step.FieldError{Field: "attempt", Message: "in the query must be a whole number from 1"}
		}
		if said != 0 && said != uint32(n) {
			return 0, &step.FieldError{Field: "attempt", Message: "is said twice, and differs"}
		}
		said = uint32(n)
	}
	return said, nil
}
