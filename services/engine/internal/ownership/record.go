package ownership

import (
	"crypto/rand"
	"os"
	"strings"
	"time"

	"github.com/sluiceflow/sluice/pkg/subject"
)

// state is where a member stands.
type state string

const (
	// joining is a member that does not know the others yet: nothing is given
	// to it.
	joining state = "joining"
	// active is a member that takes its share.
	active state = "active"
	// leaving is a member that finishes what it has begun: its share is others'.
	leaving state = "leaving"
)

// record is what a member says of itself, under its id.
type record struct {
	// Process tells two processes apart that have chosen the same id.
	Process string    `json:"process"`
	State   state     `json:"state"`
	Started time.Time `json:"started"`
	Version string    `json:"version,omitempty"`
	// Holds are the partitions that it works on, those included that it is
	// about to let go of.
	Holds []int `json:"holds"`
}

// newID names a member: by its host, for people, and at random.
func newID() string {
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "engine"
	}
	return subject.Escape(host) + "-" + strings.ToLower(rand.Text()[:10])
}
