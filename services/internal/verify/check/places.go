package check

import sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"

// placesKept is how many of the last commands' places are remembered: 16 bytes
// each, and more than a server takes in between two syncs to its disk.
const placesKept = 1 << 20

// Places finds sequences of a COMMANDS stream that were given out twice: its end
// was lost after commits had folded it, and other commands took its place.
type Places struct {
	kept []place
}

type place struct {
	sequence uint64
	time     int64
}

// Add takes a command that a commit folded. It reports true where another
// command, of another time, had its sequence.
func (p *Places) Add(c *sluicev1.FoldedCommand) bool {
	if p.kept == nil {
		p.kept = make([]place, placesKept)
	}
	at := &p.kept[c.GetSequence()%placesKept]
	twice := at.sequence == c.GetSequence() && at.time != c.GetTimeNs() && at.time != 0
	*at = place{c.GetSequence(), c.GetTimeNs()}
	return twice
}
