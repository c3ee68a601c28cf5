// Package event gives the facts about flows as Go values and JSON, in the
// shape that the contract promises, from the commits that travel on NATS.
package event
