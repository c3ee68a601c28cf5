package proc

import (
	"net"
	"strconv"
	"testing"
)

// Nobody is given a port that somebody else is about to listen on: neither by this
// process, nor by another one, nor by the kernel.
func TestFreeAddrsAreNobodyElses(t *testing.T) {
	t.Parallel()
	given := map[string]bool{}
	for range 100 {
		addr, err := FreeAddr(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_, text, err := net.SplitHostPort(addr)
		port, bad := strconv.Atoi(text)
		if err != nil || bad != nil || port >= 32768 {
			t.Errorf("%s is one that the kernel gives to others", addr)
		}
		if given[addr] {
			t.Errorf("%s was given twice", addr)
		}
		given[addr] = true
	}
	dir := t.TempDir()
	shares := map[int]bool{}
	for range 3 {
		lock, first, err := takeShare(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer lock.Close()
		if shares[first] {
			t.Errorf("the ports from %d on are two processes'", first)
		}
		shares[first] = true
	}
}
