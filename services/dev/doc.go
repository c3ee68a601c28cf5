// Package dev is the whole of Sluice in one process: an embedded NATS server
// that keeps its state in a folder, an embedded Redis, and all the roles.
package dev
