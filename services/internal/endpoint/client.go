package endpoint

import (
	"net"
	"net/http"
	"time"
)

// Limits of one connection. They bound what an endpoint can make us hold; how
// long a call may take as a whole is the call's context's matter.
const (
	dialTimeout     = 10 * time.Second
	idleTimeout     = 90 * time.Second
	maxHeaderBytes  = 64 << 10
	maxIdleTotal    = 4096
	keepAlivePeriod = 30 * time.Second
)

// NewClient returns an HTTP client that keeps to the rules: it checks each
// address that it dials, follows no redirect, asks no proxy and decompresses
// nothing. It keeps up to perHost idle connections to each host and port.
func NewClient(rules Rules, perHost int) *http.Client {
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: keepAlivePeriod, Control: rules.control}
	return &http.Client{
		Transport: &http.Transport{
			Proxy:                  nil,
			DialContext:            dialer.DialContext,
			TLSHandshakeTimeout:    dialTimeout,
			MaxIdleConns:           maxIdleTotal,
			MaxIdleConnsPerHost:    perHost,
			IdleConnTimeout:        idleTimeout,
			MaxResponseHeaderBytes: maxHeaderBytes,
			DisableCompression:     true,
			ForceAttemptHTTP2:      true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
