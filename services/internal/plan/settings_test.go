package plan_test

import (
	"strings"
	"testing"

	"github.com/sluiceflow/sluice/pkg/step"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/plan"
)

func TestSettings(t *testing.T) {
	t.Parallel()
	good := plan.Settings{
		RetryMaxRetries: -1, RetryBackoffMS: 5, RetryMaxBackoffMS: 10, RetryBackoffType: "linear", StepTimeoutMS: 1, AttemptTimeoutMS: -1,
	}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	if d, err := good.Defaults(); err != nil || d.BackoffType != sluicev1.BackoffType_BACKOFF_TYPE_LINEAR || d.MaxRetries != -1 || d.AttemptTimeoutMS != -1 {
		t.Errorf("%+v, %v", d, err)
	}
	err := plan.Settings{RetryMaxRetries: -2, RetryBackoffMS: -1, RetryMaxBackoffMS: -2}.Validate()
	for _, name := range []string{
		"RETRY_MAX_RETRIES", "RETRY_BACKOFF_MS", "RETRY_MAX_BACKOFF_MS", "RETRY_BACKOFF_TYPE", "STEP_TIMEOUT_MS", "ATTEMPT_TIMEOUT_MS",
	} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s is not named: %v", name, err)
		}
	}
}

func TestAMemoizableStepIsPlannedSo(t *testing.T) {
	t.Parallel()
	for _, memoizable := range []bool{true, false} {
		made, err := plan.NewIndex([]plan.Registered{{Definition: step.Definition{
			ID: "a", Type: step.KindSync, HTTP: &step.HTTP{Endpoint: "http://w/"}, Memoizable: memoizable,
		}}}).Build([]string{"a"}, nil, defaults())
		if err != nil || made.GetSteps()[0].GetMemoizable() != memoizable {
			t.Errorf("memoizable %v: %v, %v", memoizable, made, err)
		}
	}
}
