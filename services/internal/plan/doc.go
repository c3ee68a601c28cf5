// Package plan makes a flow's plan of the registered steps and the goals, and
// reads plans for the core. It is pure: no I/O, no clock.
package plan
