package health

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"syscall"
	"time"
)

// ErrRefused means that the address of a health check may not be asked.
var ErrRefused = errors.New("the address is not allowed")

// NewClient returns a client for health checks. It follows no redirect, asks no
// proxy, and checks each address that it dials, after the name was resolved:
// link-local and metadata addresses are never asked, private and loopback ones
// only with allowPrivate.
func NewClient(allowPrivate bool) *http.Client {
	dialer := &net.Dialer{Timeout: Limit, Control: func(_, address string, _ syscall.RawConn) error {
		dialed, err := netip.ParseAddrPort(address)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrRefused, err)
		}
		return check(dialed.Addr(), allowPrivate)
	}}
	return &http.Client{
		Transport: &http.Transport{
			DialContext:            dialer.DialContext,
			TLSHandshakeTimeout:    Limit,
			MaxIdleConns:           256,
			IdleConnTimeout:        2 * time.Minute,
			MaxResponseHeaderBytes: 64 << 10,
			DisableCompression:     true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func check(addr netip.Addr, allowPrivate bool) error {
	addr = addr.WithZone("").Unmap()
	inside := addr.IsLoopback() || addr.IsPrivate() ||
		in(addr, "100.64.0.0/10", "192.0.0.0/24", "198.18.0.0/15", "fec0::/10")
	switch {
	case addr.IsLinkLocalUnicast(), addr.IsMulticast(), addr.IsUnspecified(), metadata(addr),
		in(addr, "0.0.0.0/8", "240.0.0.0/4", "64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32"),
		in(addr, "::/96") && !addr.IsLoopback():
		return fmt.Errorf("%w: %s is reserved", ErrRefused, addr)
	case inside && !allowPrivate:
		return fmt.Errorf("%w: %s is private (ALLOW_PRIVATE_ENDPOINTS=true permits it)", ErrRefused, addr)
	}
	return nil
}

// metadata reports whether a cloud tells secrets at this address.
func metadata(addr netip.Addr) bool {
	return slices.Contains([]string{
		"100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254",
	}, addr.String())
}

func in(addr netip.Addr, prefixes ...string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return netip.MustParsePrefix(p).Contains(addr) })
}
