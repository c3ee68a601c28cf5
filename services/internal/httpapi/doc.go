// Package httpapi is what the HTTP sides of the services share: problems,
// health and a server that drains.
package httpapi
