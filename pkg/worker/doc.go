// Package worker does the work of steps: an http.Handler that takes Sluice's
// invocations, and a sender that posts completions until they are stored.
package worker
