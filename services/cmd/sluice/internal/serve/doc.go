// Package serve starts a role, or several in one process: it takes the
// address, waits for NATS and Redis, makes what the roles stand on, and stops
// all of it in the order that loses nothing.
package serve
