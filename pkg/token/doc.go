// Package token makes and checks the one-time tokens that bind a webhook to one
// work item.
//
// A token is unpadded base64url of a 128-bit HMAC-SHA-256, then version, key
// id, run, generation and item. The MAC stands first, so that the 8 characters
// that people are shown tell tokens apart, and it covers flow and step id, which
// stand in the URL. A token is a function of its claims and the key: it can be
// made again after a crash, and is the same on every attempt.
package token
