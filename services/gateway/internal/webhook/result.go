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
	if rawQuery != "" {
		query, err := url.ParseQuery(rawQuery)
		if err != nil {
			return step.Result{}, &step.FieldError{Field: "attempt", Message: "cannot be read from the query"}
		}
		for _, text := range query["attempt"] {
			n, err := strconv.ParseUint(text, 10, 32)
			if err != nil || n == 0 {
				return step.Result{}, &step.FieldError{Field: "attempt", Message: "in the query must be a whole number from 1"}
			}
			if result.Attempt != 0 && result.Attempt != uint32(n) {
				return step.Result{}, &step.FieldError{Field: "attempt", Message: "is said twice, and differs"}
			}
			result.Attempt = uint32(n)
		}
	}
	result.Attempt = max(result.Attempt, 1)
	return result, nil
}
