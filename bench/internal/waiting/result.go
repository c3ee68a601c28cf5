package waiting

import (
	"errors"
	"fmt"
	"strings"

	"github.com/sluiceflow/sluice/bench/internal/proc"
)

// MaxEngineRSS is what an engine may hold at most, in bytes, however many flows wait.
const MaxEngineRSS = 256 << 20

// A Result is what one measurement gave. Memory is that of each process, by name.
type Result struct {
	Flows      int                    `json:"flows"` // that waited
	StartsPerS float64                `json:"starts_per_s"`
	Idle       map[string]proc.Memory `json:"idle"`    // before the first flow
	Waiting    map[string]proc.Memory `json:"waiting"` // with all flows waiting
	After      map[string]proc.Memory `json:"after"`   // with the engine started again and the sample completed
	// Takeover is how long it took, from the kill of the engine on, until a result that was posted meanwhile was applied, in seconds.
	Takeover float64 `json:"takeover_s"`
	// Checked flows completed after the kill and their histories showed that each did so once.
	Checked int `json:"checked"`
	// Lost says what was lost.
	Lost []string `json:"lost,omitempty"`
	// Duplicates counts invocations that came more than once.
	Duplicates int64 `json:"duplicate_invocations,omitempty"`
	// Errors counts what went wrong, by kind; all of it was repeated until it went right.
	Errors map[string]int64 `json:"errors,omitempty"`
}

// EnginePeak is the most that the engine held, before it was killed or after.
func (r Result) EnginePeak() int64 {
	return max(r.Waiting["engine"].Peak, r.After["engine"].Peak)
}

// Err says what must not be: something was lost, or the engine held too much.
func (r Result) Err() error {
	var errs []error
	if len(r.Lost) > 0 {
		errs = append(errs, errors.New("lost: "+strings.Join(r.Lost, "; ")))
	}
	if peak := r.EnginePeak(); peak >= MaxEngineRSS {
		errs = append(errs, fmt.Errorf("the engine held %d MiB, it must be under %d", peak>>20, MaxEngineRSS>>20))
	}
	return errors.Join(errs...)
}
