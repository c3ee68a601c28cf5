// Package dead keeps what can never be processed: it puts messages into DEAD
// with their reasons, reads them there, and publishes them again on request.
package dead
