// Package demo runs a small order flow through a Sluice, with a worker of its
// own: to see it work, and as an example of one.
package demo
