package report

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/sluiceflow/sluice/bench/internal/waiting"
)

const waitingText = `%d flows of one async step, in the fast mode; the worker accepts each invocation and completes nothing. %s flows/s were started and
invoked. Resident memory in MiB: before the first flow, with all of them waiting, and after the engine was killed with kill -9, started
again, and some flows were completed; the highest is that of a process since its start.`

// writeWaiting is the section of flows that wait.
func writeWaiting(b *strings.Builder, r *waiting.Result) {
	if r == nil {
		return
	}
	section(b, "Waiting flows", fmt.Sprintf(waitingText, r.Flows, number(r.StartsPerS)))
	memory(b, r)
	fmt.Fprintf(b, "\nThe result of a flow was posted as soon as the engine had been killed and started again: %s s after the kill the flow was completed.\n"+
		"After that others were completed, and the histories of %d show that each completed once. %d invocations came more than once.\n",
		number(r.Takeover), r.Checked, r.Duplicates)
	for _, what := range r.Lost {
		fmt.Fprintf(b, "**Wrong**: %s.\n", what)
	}
	sentAgain(b, r.Errors)
}

// memory has a line for each process.
func memory(b *strings.Builder, r *waiting.Result) {
	head(b, 1, "process", "no flows", "all wait", "highest", "after the kill", "highest")
	for _, name := range slices.Sorted(maps.Keys(r.Waiting)) {
		idle, full, after := r.Idle[name], r.Waiting[name], r.After[name]
		cells := []string{name}
		for _, n := range []int64{idle.RSS, full.RSS, full.Peak, after.RSS, after.Peak} {
			cells = append(cells, number(mebibytes(n)))
		}
		line(b, cells...)
	}
}
