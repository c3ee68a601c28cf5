// Package endpoint calls the endpoints and health checks of steps under the rules
// that keep a step's author from reaching what only this machine can reach.
package endpoint
