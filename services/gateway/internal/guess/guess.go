// Package guess bounds how fast one address may try tokens that are none.
package guess

import (
	"net/netip"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"
)

// Addresses that are remembered at most. Who comes from more than that is
// slowed down by having to own them.
const maxAddresses = 1 << 16

// networkBits are the part of an IPv6 address that one customer is given whole.
const networkBits = 64

// Limiter counts bad tokens by address. It is safe for concurrent use.
type Limiter struct {
	perMinute int
	seen      *lru.Cache[netip.Addr, *rate.Limiter]
}

// New returns a limiter that lets each address fail perMinute times at once and
// then at that rate.
func New(perMinute int) (*Limiter, error) {
	seen, err := lru.New[netip.Addr, *rate.Limiter](maxAddresses)
	if err != nil {
		return nil, err
	}
	return &Limiter{perMinute: perMinute, seen: seen}, nil
}

// Failed counts a bad token from an address, as [netip.ParseAddr] reads it. It
// returns how long the address should wait when there were too many, else 0.
// Addresses that cannot be read are counted as one.
func (l *Limiter) Failed(address string) time.Duration {
	addr, err := netip.ParseAddr(address)
	if err != nil {
		addr = netip.IPv6Unspecified()
	}
	every := time.Minute / time.Duration(l.perMinute)
	if l.of(network(addr), every).Allow() {
		return 0
	}
	return every
}

func (l *Limiter) of(addr netip.Addr, every time.Duration) *rate.Limiter {
	if limit, ok := l.seen.Get(addr); ok {
		return limit
	}
	limit := rate.NewLimiter(rate.Every(every), l.perMinute)
	if earlier, ok, _ := l.seen.PeekOrAdd(addr, limit); ok {
		return earlier
	}
	return limit
}

func network(addr netip.Addr) netip.Addr {
	addr = addr.Unmap().WithZone("")
	if addr.Is4() {
		return addr
	}
	prefix, err := addr.Prefix(networkBits)
	if err != nil {
		return addr
	}
	return prefix.Addr()
}
