// Package durability says what an acknowledgement of NATS survives, as its
// servers are set at the moment.
package durability

import (
	"fmt"
	"slices"
	"strings"
)

// A Promise is the least that what was acknowledged survives.
type Promise string

// The promises.
const (
	// Synced is a power cut: each write is on disk before it is acknowledged.
	Synced Promise = "synced"
	// Replicated is the loss of a node.
	Replicated Promise = "replicated"
	// Fast is the end of a process; a power cut may take the last moments.
	Fast Promise = "fast"
)

// enoughReplicas is how many must hold a stream so that one may be lost.
const enoughReplicas = 3

// Promises are all of them, the strongest first.
func Promises() []Promise { return []Promise{Replicated, Synced, Fast} }

// State is what is promised, and why.
type State struct {
	Promise Promise
	// Synced is true where every server writes to disk before it acknowledges.
	// Replicated is promised without it, too.
	Synced bool
	// Detail says it in words.
	Detail string
}

// server is one that was asked.
type server struct {
	name   string // its address, for people
	id     string
	synced bool
	every  string // how often it syncs, where that is not always
	size   int    // of its cluster, as it knows it; 0 without one
	away   bool   // it does not answer now: this is what it said last
	err    error
}

// judge is the promise of all servers together: the weakest counts, and one that
// is not known counts as one that does not sync.
func judge(servers []server, replicas int, connected string) State {
	doubts := doubtsOf(servers, connected)
	synced := len(doubts) == 0
	switch {
	case replicas >= enoughReplicas && synced:
		return State{Replicated, true, fmt.Sprintf(
			"%d replicas, each write on disk before it is acknowledged: survives the loss of a node, and a power cut of all at once", replicas)}
	case replicas >= enoughReplicas:
		return State{Replicated, false, fmt.Sprintf(
			"%d replicas: survives the loss of a node; a power cut of all at once may take the last moments (%s)", replicas, strings.Join(doubts, "; "))}
	case synced:
		return State{Synced, true, "each write is on disk before it is acknowledged: survives a power cut"}
	default:
		return State{Fast, false, "a power cut may take the last moments: " + strings.Join(doubts, "; ")}
	}
}

// doubtsOf lists all that speaks against every write being synced.
func doubtsOf(servers []server, connected string) []string {
	if len(servers) == 0 {
		return []string{"NATS_MONITOR_URL is not set, so what the server does is not known"}
	}
	var (
		doubts []string
		ids    []string
		size   int
		failed bool
	)
	for _, s := range servers {
		switch {
		case s.err != nil:
			failed = true
			doubts = append(doubts, fmt.Sprintf("not known of %s: %s", s.name, s.err))
			continue
		case !s.synced:
			doubts = append(doubts, fmt.Sprintf("%s writes to disk every %s", s.name, s.every))
		}
		failed = failed || s.away
		size = max(size, s.size)
		if !slices.Contains(ids, s.id) {
			ids = append(ids, s.id)
		}
	}
	switch {
	case failed: // whoever did not answer may be the one that is missing below
	case len(ids) < size:
		doubts = append(doubts, fmt.Sprintf("NATS_MONITOR_URL names %d of the cluster's %d servers", len(ids), size))
	case connected != "" && !slices.Contains(ids, connected):
		doubts = append(doubts, "NATS_MONITOR_URL names other servers than the one that is connected to")
	}
	return doubts
}
