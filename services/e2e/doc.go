// Package e2e holds no code: its tests run Sluice as its users do, every role a
// process of its own, and kill what they run.
package e2e
