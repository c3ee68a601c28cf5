package testkit

import "testing"

// What answers on a port may be another test's server.
func TestAPortThatIsTakenIsNoticed(t *testing.T) {
	t.Parallel()
	first := NewRedis(t)
	second := &RedisServer{t: t, addr: first.addr}
	if err := second.start(); err == nil {
		second.Stop()
		t.Error("two servers listen on one port")
	}
	if _, err := startMini(first.addr); err == nil {
		t.Error("miniredis listens on a port that is taken")
	}
	first.Stop()
	if err := second.start(); err != nil {
		t.Errorf("on the port that is free again: %v", err)
	}
	second.Stop()
}
