// Package bus is Sluice's use of NATS: the connection, the layout of streams,
// buckets and consumers, and how commands and commits travel.
package bus
