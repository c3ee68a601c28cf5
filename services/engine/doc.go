// Package engine is the only writer of flow histories: it consumes commands,
// decides by the flow core, commits, and publishes what follows.
//
// Each partition has one loop that takes what commands are there, folds those
// of each flow into one commit, publishes the commits of many flows together,
// then their effects, and acks the commands last. Whatever dies in between, the
// commands come again: those that were folded are recognized, and the effects
// of their commit are emitted again.
package engine
