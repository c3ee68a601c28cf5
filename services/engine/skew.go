//go:build !faults

package engine

import "time"

// skew is how far the local clock is off: not at all, but in the builds of the
// fault suite.
const skew time.Duration = 0
