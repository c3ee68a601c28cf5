// Package tokenindex keeps in Redis what has become of each token, so that a
// webhook can be answered without asking the engine.
//
// It is an index and not the truth: it may be empty, old or gone at any moment.
// It makes an answer fast; it never refuses, and never spares a publish, where
// the engine would not.
//
// A token has one record, a hash named by the token's hash, with these fields:
//
//	d  what the engine decided: "<revision> <s|f|c> <digest|->", a success, a
//	   failure or closed without an outcome
//	u  the last attempt that is superseded
//	s  the success that was accepted: "<digest> <attempt> <server>"
//	f  the final failure that was accepted, of the latest attempt that had one
//	n  the not-completed that was accepted, of the latest attempt that had one
//	c  the outcome that is being stored: "<digest> <s|f|n> <attempt> <lease end>"
//	x  set when another outcome found a lapsed claim, whose own may be stored
//	b  the last heartbeat: "<time in ms> <attempt, 0 when it did not say>"
//	p  what it said, as JSON
//
// The hash "listening" says since when the engines have seen Redis without a gap
// (since), and when they did last (last): only then does the absence of a
// heartbeat prove anything.
//
// Equal payloads share a claim: it belongs to a digest and not to a request, so
// whichever of them is stored first is accepted, and a call that Redis got twice
// does nothing twice. Time is that of Redis.
package tokenindex
