package endpoint_test

import (
	"errors"
	"net/netip"
	"net/url"
	"testing"

	"github.com/sluiceflow/sluice/services/internal/endpoint"
)

func TestCheckAddr(t *testing.T) {
	t.Parallel()
	const always, unlessPrivate, free = "never allowed", "allowed with ALLOW_PRIVATE_ENDPOINTS", "allowed"
	for addr, want := range map[string]string{
		"93.184.215.14":          free,
		"2606:2800:21f:cb07::1":  free,
		"172.32.0.1":             free,
		"100.128.0.1":            free,
		"::ffff:93.184.215.14":   free,
		"64:ff9b::5db8:d70e":     free,
		"127.0.0.1":              unlessPrivate,
		"127.9.9.9":              unlessPrivate,
		"::1":                    unlessPrivate,
		"::ffff:127.0.0.1":       unlessPrivate,
		"::127.0.0.1":            unlessPrivate,
		"64:ff9b::7f00:1":        unlessPrivate,
		"2002:7f00:1::1":         unlessPrivate,
		"10.0.0.1":               unlessPrivate,
		"172.16.0.1":             unlessPrivate,
		"192.168.1.1":            unlessPrivate,
		"100.64.0.1":             unlessPrivate,
		"198.18.0.1":             unlessPrivate,
		"192.0.0.8":              unlessPrivate,
		"fc00::1":                unlessPrivate,
		"fd12:3456::1":           unlessPrivate,
		"fec0::1":                unlessPrivate,
		"64:ff9b:1::a00:1":       unlessPrivate,
		"169.254.169.254":        always,
		"169.254.0.1":            always,
		"::ffff:169.254.169.254": always,
		"64:ff9b::a9fe:a9fe":     always,
		"2002:a9fe:a9fe::":       always,
		"fe80::1":                always,
		"fe80::1%eth0":           always,
		"fd00:ec2::254":          always,
		"fd20:ce::254":           always,
		"100.100.100.200":        always,
		"168.63.129.16":          always,
		"192.0.0.192":            always,
		"0.0.0.0":                always,
		"0.1.2.3":                always,
		"::":                     always,
		"::ffff:0.0.0.0":         always,
		"224.0.0.1":              always,
		"ff02::1":                always,
		"255.255.255.255":        always,
		"240.0.0.1":              always,
	} {
		t.Run(addr, func(t *testing.T) {
			t.Parallel()
			strict := endpoint.Rules{}.CheckAddr(netip.MustParseAddr(addr))
			lax := endpoint.Rules{AllowPrivate: true}.CheckAddr(netip.MustParseAddr(addr))
			if got := strict == nil; got != (want == free) {
				t.Errorf("without private addresses: %v, want %s", strict, want)
			}
			if got := lax == nil; got != (want != always) {
				t.Errorf("with private addresses: %v, want %s", lax, want)
			}
			if strict != nil && !errors.Is(strict, endpoint.ErrRefused) {
				t.Errorf("%v does not say that the rules refused it", strict)
			}
		})
	}
	if err := (endpoint.Rules{AllowPrivate: true}).CheckAddr(netip.Addr{}); err == nil {
		t.Error("no address at all was allowed")
	}
}

func TestCheckURL(t *testing.T) {
	t.Parallel()
	only := []string{"Example.com", "*.internal.example", "10.0.0.7"}
	for _, tt := range []struct {
		url   string
		hosts []string
		want  bool
	}{
		{"http://any.where/x", nil, true},
		{"https://any.where:8443/x", nil, true},
		{"ftp://any.where/x", nil, false},
		{"file:///etc/passwd", nil, false},
		{"http:///x", nil, false},
		{"https://example.com/x", only, true},
		{"https://EXAMPLE.com.:444/x", only, true},
		{"http://10.0.0.7:1/x", only, true},
		{"https://a.internal.example/x", only, true},
		{"https://internal.example/x", only, false},
		{"https://evilinternal.example/x", only, false},
		{"https://www.example.com/x", only, false},
		{"https://example.com.evil.org/x", only, false},
		{"https://example.com@evil.org/x", only, false},
	} {
		t.Run(tt.url, func(t *testing.T) {
			t.Parallel()
			u, err := url.Parse(tt.url)
			if err != nil {
				t.Fatal(err)
			}
			err = endpoint.Rules{AllowHosts: tt.hosts}.CheckURL(u)
			if (err == nil) != tt.want {
				t.Errorf("got %v, want allowed %v", err, tt.want)
			}
			if err != nil && !errors.Is(err, endpoint.ErrRefused) {
				t.Errorf("%v does not say that the rules refused it", err)
			}
		})
	}
}

func TestHostPort(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		"http://Worker/x":        "worker:80",
		"https://worker./x":      "worker:443",
		"http://worker:8080":     "worker:8080",
		"https://[2001:db8::1]/": "[2001:db8::1]:443",
	} {
		u, err := url.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		if got := endpoint.HostPort(u); got != want {
			t.Errorf("HostPort(%s) = %s, want %s", raw, got, want)
		}
	}
}
