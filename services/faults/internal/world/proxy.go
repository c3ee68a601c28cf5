package world

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"
)

const (
	chunk     = 32 << 10
	dialLimit = 2 * time.Second
)

// Proxy passes TCP connections on to an address, until it is told to do worse.
type Proxy struct {
	to       string
	listener net.Listener
	life     context.Context //nolint:containedctx // of its connections
	end      context.CancelFunc
	jobs     sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]bool
	cut   bool
	delay time.Duration
	open  chan struct{} // closed while bytes pass
}

// NewProxy makes a proxy before an address. Close ends it.
func NewProxy(ctx context.Context, to string) (*Proxy, error) {
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for a proxy: %w", err)
	}
	p := &Proxy{to: to, listener: listener, conns: map[net.Conn]bool{}, open: make(chan struct{})}
	close(p.open)
	p.life, p.end = context.WithCancel(context.WithoutCancel(ctx))
	p.jobs.Go(p.accept)
	return p, nil
}

// Addr is where the proxy listens.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Cut breaks all connections and refuses new ones.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = true
	for c := range p.conns {
		_ = c.Close()
	}
}

// Halt lets nothing through, and tells nobody: connections stay, new ones are
// taken, and what is sent waits.
func (p *Proxy) Halt() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.open:
		p.open = make(chan struct{})
	default: // it is halted already
	}
}

// Delay holds everything back for d, each way.
func (p *Proxy) Delay(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = d
}

// Heal ends what Cut, Halt and Delay began. What waited goes on its way.
func (p *Proxy) Heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut, p.delay = false, 0
	select {
	case <-p.open:
	default:
		close(p.open)
	}
}

// Close ends the proxy and its connections.
func (p *Proxy) Close() {
	p.end()
	_ = p.listener.Close()
	p.Cut()
	p.jobs.Wait()
}

func (p *Proxy) accept() {
	for {
		conn, err := p.listener.Accept()
		if err != nil {
			return // closed
		}
		p.jobs.Go(func() { p.serve(conn) })
	}
}

func (p *Proxy) serve(conn net.Conn) {
	defer conn.Close()
	if !p.keep(conn) {
		return
	}
	defer p.drop(conn)
	dialer := net.Dialer{Timeout: dialLimit}
	far, err := dialer.DialContext(p.life, "tcp", p.to)
	if err != nil {
		return // as if nobody listened
	}
	defer far.Close()
	if !p.keep(far) {
		return
	}
	defer p.drop(far)
	var both sync.WaitGroup
	both.Go(func() { p.copy(far, conn) })
	both.Go(func() { p.copy(conn, far) })
	both.Wait()
}

// copy passes bytes on until either end is gone, and then ends the other.
func (p *Proxy) copy(to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	buffer := make([]byte, chunk)
	for {
		n, err := from.Read(buffer)
		if n > 0 && p.pass() {
			_, writeErr := to.Write(buffer[:n])
			if writeErr != nil {
				return
			}
		}
		if err != nil {
			return // io.EOF too: half-closed connections are of no use here
		}
	}
}

// pass waits until bytes may go on, and reports false when the proxy ends first.
func (p *Proxy) pass() bool {
	p.mu.Lock()
	open, delay := p.open, p.delay
	p.mu.Unlock()
	select {
	case <-open:
	case <-p.life.Done():
		return false
	}
	if delay == 0 {
		return true
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-p.life.Done():
		return false
	}
}

// keep remembers a connection, unless it is cut.
func (p *Proxy) keep(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cut {
		return false
	}
	p.conns[c] = true
	return true
}

func (p *Proxy) drop(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
}
