package proc

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
)

// The ports of FreeAddr are below those that Linux gives to connections and to
// whoever asks for any port (32768 and up): one of these may be gone before the
// process listens on it that it is meant for. Each process that asks has a share of
// its own, by a lock on a file for as long as it lives.
const (
	firstPort  = 12000
	shareSize  = 400
	shareCount = 50
)

var ports struct { //nolint:gochecknoglobals // a process has one share
	mu    sync.Mutex
	lock  *os.File // nil before the first port is asked for
	first int
	given int
}

// FreeAddr is an address on loopback that nobody listens on, and that no other
// caller was given a moment ago. An error says that there is none.
func FreeAddr(ctx context.Context) (string, error) {
	ports.mu.Lock()
	defer ports.mu.Unlock()
	if ports.lock == nil {
		var err error
		if ports.lock, ports.first, err = takeShare(os.TempDir()); err != nil {
			return "", err
		}
	}
	var lc net.ListenConfig
	var last error
	for range shareSize {
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(ports.first+ports.given%shareSize))
		ports.given++
		listener, err := lc.Listen(ctx, "tcp", addr)
		if err == nil {
			return addr, listener.Close() //nolint:wrapcheck // it does not fail
		}
		last = err
	}
	return "", fmt.Errorf("find a free port: %w", last)
}

// takeShare locks a share of the ports that no other process has, and returns its
// first port.
func takeShare(dir string) (*os.File, int, error) {
	var last error
	for n := range shareCount {
		lock, err := os.OpenFile(filepath.Join(dir, fmt.Sprintf("sluice-ports-%d.lock", n)), os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			last = err
			continue
		}
		if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
			last = err
			_ = lock.Close() // nothing was written
			continue
		}
		return lock, firstPort + n*shareSize, nil
	}
	return nil, 0, fmt.Errorf("find ports that nobody else uses: %w", last)
}
