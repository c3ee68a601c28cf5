// Package testkit gives tests the real thing: a NATS server with JetStream in
// the process, a Redis, and a way to wait for what happens elsewhere.
package testkit
