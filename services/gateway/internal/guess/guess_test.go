package guess_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluiceflow/sluice/services/gateway/internal/guess"
)

func TestEachAddressHasItsOwnLimit(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, first, second string
		shared              bool
	}{
		{name: "two addresses", first: "192.0.2.1", second: "192.0.2.2"},
		{name: "one address in two spellings", first: "192.0.2.1", second: "::ffff:192.0.2.1", shared: true},
		{name: "one network of IPv6", first: "2001:db8::1", second: "2001:db8::ffff:2", shared: true},
		{name: "two networks of IPv6", first: "2001:db8::1", second: "2001:db8:0:1::1"},
		{name: "what cannot be read", first: "nobody", second: "", shared: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			limit := newLimiter(t, 3)
			for range 3 {
				if wait := limit.Failed(tt.first); wait != 0 {
					t.Fatalf("wait %s within the limit", wait)
				}
			}
			if wait := limit.Failed(tt.first); wait != 20*time.Second {
				t.Errorf("wait %s past the limit, want 20s", wait)
			}
			if refused := limit.Failed(tt.second) > 0; refused != tt.shared {
				t.Errorf("the other is refused: %t, want %t", refused, tt.shared)
			}
		})
	}
}

func TestTheLimitRecovers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limit := newLimiter(t, 60)
		for range 60 {
			limit.Failed("192.0.2.1")
		}
		wait := limit.Failed("192.0.2.1")
		time.Sleep(wait)
		if again := limit.Failed("192.0.2.1"); wait == 0 || again != 0 {
			t.Errorf("wait %s, and %s after it", wait, again)
		}
	})
}

func TestAddressesAreForgotten(t *testing.T) {
	t.Parallel()
	limit := newLimiter(t, 1)
	limit.Failed("192.0.2.1")
	for i := range 1 << 16 {
		limit.Failed(fmt.Sprintf("10.0.%d.%d", i>>8, i&0xff))
	}
	if wait := limit.Failed("192.0.2.1"); wait != 0 {
		t.Errorf("wait %s: the least recently seen is still remembered", wait)
	}
}

func newLimiter(t *testing.T, perMinute int) *guess.Limiter {
	t.Helper()
	limit, err := guess.New(perMinute)
	if err != nil {
		t.Fatal(err)
	}
	return limit
}
