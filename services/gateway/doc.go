// Package gateway is the public edge: it takes the webhooks of workers, checks
// their tokens, stores what they say as completions and answers. It knows
// nothing of flows and keeps nothing.
package gateway
