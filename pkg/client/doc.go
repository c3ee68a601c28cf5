// Package client is for programs that use Sluice: a typed client of the control
// API, and the events of flows, live from NATS.
package client
