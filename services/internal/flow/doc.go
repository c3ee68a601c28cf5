// Package flow is the functional core of Sluice: what a flow is, what follows
// from a command, and what must then happen outside.
//
// It does no I/O, reads no clock, draws no random numbers and starts no
// goroutines; all of that is handed in. A [Turn] folds commands into the events
// of one commit, [State.Replay] makes the same state of stored commits, and
// [State.Effects] says what a commit asks of the world. Replaying a flow's
// commits gives its state, always.
//
// Commands and events are the messages of proto/sluice/v1, so that what is
// decided is what is stored.
//
// A State is changed in place, so that a command costs what it changes and not
// what the flow has grown to. Its owner is one goroutine; whoever is told that a
// commit was refused drops the state and loads it again.
package flow
