// Package dispatcher calls the endpoints of HTTP steps: it takes invocations
// from their stream, as many as there are slots for, and tells the engine what
// came back.
//
// Three kinds of goroutines do it. Pullers fetch and decode invocations, one a
// stream. The desk, a single goroutine, decides which of them run, wait or go
// back to the stream. Each call runs in a goroutine of its own.
package dispatcher
