// Package webhook turns the POST of a worker into a completion that is stored,
// and says what became of it.
package webhook
