package ownership

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// peer is another member as it was last heard.
type peer struct {
	record

	revision uint64
	heard    time.Time
}

// peers are the other members. Who was not heard for a while is dead, whatever
// the bucket still holds.
type peers struct {
	self string
	all  map[string]*peer
}

func newPeers(self string) *peers { return &peers{self: self, all: map[string]*peer{}} }

// takeAll takes a list of all members. One that is new was heard when it was
// written, by the server's clock: the list tells it by our own entry.
func (p *peers) takeAll(entries []jetstream.KeyValueEntry, now time.Time) {
	listed := make(map[string]bool, len(entries))
	var written time.Time
	for _, e := range entries {
		listed[e.Key()] = true
		if e.Key() == p.self {
			written = e.Created()
		}
	}
	for id := range p.all {
		if !listed[id] {
			delete(p.all, id)
		}
	}
	for _, e := range entries {
		heard := now
		if age := written.Sub(e.Created()); age > 0 {
			heard = now.Add(-age)
		}
		p.take(e, heard)
	}
}

// take takes one member's entry, unless that is known.
func (p *peers) take(e jetstream.KeyValueEntry, heard time.Time) {
	known := p.all[e.Key()]
	if e.Key() == p.self || (known != nil && known.revision >= e.Revision()) {
		return
	}
	var r record
	if e.Operation() != jetstream.KeyValuePut || json.Unmarshal(e.Value(), &r) != nil {
		delete(p.all, e.Key())
		return
	}
	p.all[e.Key()] = &peer{record: r, revision: e.Revision(), heard: heard}
}

// lives reports whether a peer was heard lately.
func (p *peer) lives(now time.Time) bool { return now.Sub(p.heard) <= peerTerm }

// active returns the members that partitions are spread over, this one among
// them, sorted.
func (p *peers) active(now time.Time) []string {
	ids := []string{p.self}
	for id, other := range p.all {
		if other.State == active && other.lives(now) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// holds reports whether another living member still works on a partition.
func (p *peers) holds(partition int, now time.Time) bool {
	for _, other := range p.all {
		if other.lives(now) && slices.Contains(other.Holds, partition) {
			return true
		}
	}
	return false
}
