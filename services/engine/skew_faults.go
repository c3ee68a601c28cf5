//go:build faults

package engine

import (
	"fmt"
	"os"
	"time"
)

// skew is how far the local clock is off. Nothing but the fault suite is built
// with the tag faults, so no installation can be told to.
var skew = func() time.Duration {
	text := os.Getenv("FAULTS_CLOCK_SKEW")
	if text == "" {
		return 0
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		panic(fmt.Sprintf("FAULTS_CLOCK_SKEW: %v", err))
	}
	return d
}()
