package endpoint

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
)

// ErrRefused is the cause of every call that the rules forbid. Trying again
// cannot help: the definition or the configuration has to change.
var ErrRefused = errors.New("the endpoint is not allowed")

// Rules say which endpoints may be called.
type Rules struct {
	// AllowPrivate permits loopback and private addresses.
	AllowPrivate bool
	// AllowHosts, where not empty, lists the only hosts that may be called, as
	// "host" or "*.domain" (any host under it), without a port.
	AllowHosts []string
}

// CheckURL reports an error that wraps [ErrRefused] if the rules or HTTP itself
// forbid to call u, whatever its host's address is.
func (r Rules) CheckURL(u *url.URL) error {
	if u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("%w: scheme %q is neither http nor https", ErrRefused, u.Scheme)
	}
	host := strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
	if host == "" {
		return fmt.Errorf("%w: it names no host", ErrRefused)
	}
	if len(r.AllowHosts) == 0 {
		return nil
	}
	for _, allowed := range r.AllowHosts {
		if matches(strings.ToLower(allowed), host) {
			return nil
		}
	}
	return fmt.Errorf("%w: host %s is not in ENDPOINT_ALLOW_HOSTS", ErrRefused, host)
}

func matches(allowed, host string) bool {
	if domain, ok := strings.CutPrefix(allowed, "*."); ok {
		return strings.HasSuffix(host, "."+domain)
	}
	return allowed == host
}

// CheckAddr reports an error that wraps [ErrRefused] if addr may not be called.
func (r Rules) CheckAddr(addr netip.Addr) error {
	addr = carried(addr.WithZone("").Unmap())
	switch {
	case never(addr):
		return fmt.Errorf("%w: address %s is reserved", ErrRefused, addr)
	case !r.AllowPrivate && private(addr):
		return fmt.Errorf("%w: address %s is private (ALLOW_PRIVATE_ENDPOINTS=true permits it)", ErrRefused, addr)
	}
	return nil
}

// control is asked with the address that is dialed, after the name was
// resolved: a name that changes its mind between check and use gains nothing.
func (r Rules) control(network, address string, _ syscall.RawConn) error {
	if !strings.HasPrefix(network, "tcp") {
		return fmt.Errorf("%w: network %s", ErrRefused, network)
	}
	dialed, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return r.CheckAddr(dialed.Addr())
}

// never lists what no configuration permits. Clouds serve credentials of the
// machine on the single addresses.
func never(addr netip.Addr) bool {
	if !addr.IsValid() || addr.IsUnspecified() || addr.IsMulticast() || addr.IsLinkLocalUnicast() {
		return true
	}
	return in(addr,
		"0.0.0.0/8",          // this network
		"240.0.0.0/4",        // reserved, and broadcast
		"168.63.129.16/32",   // Azure
		"100.100.100.200/32", // Alibaba
		"192.0.0.192/32",     // Oracle
		"fd00:ec2::/32",      // AWS
		"fd20:ce::254/128",   // Google
	)
}

func private(addr netip.Addr) bool {
	return addr.IsLoopback() || addr.IsPrivate() || in(addr,
		"100.64.0.0/10",  // shared by carriers
		"192.0.0.0/24",   // protocol assignments
		"198.18.0.0/15",  // benchmarking
		"64:ff9b:1::/48", // NAT64 of a local network
		"fec0::/10",      // site-local, deprecated
		"2001::/32",      // Teredo
	)
}

func in(addr netip.Addr, prefixes ...string) bool {
	for _, prefix := range prefixes {
		if netip.MustParsePrefix(prefix).Contains(addr) {
			return true
		}
	}
	return false
}

// carried returns the IPv4 address that addr stands for where a translator on
// the way would take it out (NAT64, 6to4, IPv4-compatible), else addr.
func carried(addr netip.Addr) netip.Addr {
	if !addr.Is6() || addr == netip.IPv6Loopback() || addr.IsUnspecified() {
		return addr
	}
	b := addr.As16()
	switch {
	case in(addr, "64:ff9b::/96", "::/96"):
		return netip.AddrFrom4([4]byte(b[12:16]))
	case in(addr, "2002::/16"):
		return netip.AddrFrom4([4]byte(b[2:6]))
	}
	return addr
}

// HostPort returns the host and port that u's calls share their slots by.
func HostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = "80"
		if u.Scheme == "https" {
			port = "443"
		}
	}
	return net.JoinHostPort(strings.ToLower(strings.TrimSuffix(u.Hostname(), ".")), port)
}
