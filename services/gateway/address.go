package gateway

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/labstack/echo/v4"
)

// addressOf returns what tells where a request came from: who connected, or,
// where that is a trusted proxy, the last address in X-Forwarded-For that is
// none.
func addressOf(proxies []string) (echo.IPExtractor, error) {
	if len(proxies) == 0 {
		return echo.ExtractIPDirect(), nil
	}
	trust := []echo.TrustOption{echo.TrustLoopback(false), echo.TrustLinkLocal(false), echo.TrustPrivateNet(false)}
	var mistakes []error
	for _, text := range proxies {
		network, err := parseNetwork(strings.TrimSpace(text))
		if err != nil {
			mistakes = append(mistakes, fmt.Errorf("TRUSTED_PROXIES: %q is no address or network", text))
			continue
		}
		trust = append(trust, echo.TrustIPRange(network))
	}
	return echo.ExtractIPFromXFFHeader(trust...), errors.Join(mistakes...)
}

func parseNetwork(text string) (*net.IPNet, error) {
	if addr, err := netip.ParseAddr(text); err == nil {
		text = netip.PrefixFrom(addr.WithZone(""), addr.BitLen()).String()
	}
	_, network, err := net.ParseCIDR(text)
	return network, err
}
