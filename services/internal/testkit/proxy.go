package testkit

import (
	"bytes"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
)

// A Direction is one of the two of a connection.
type Direction int

// The directions.
const (
	ToServer Direction = iota
	ToClient
)

// Proxy stands between a client and a server and can be cut: what is sent
// meanwhile arrives late, as on a network that breaks and heals.
type Proxy struct {
	t      testing.TB
	addr   string
	target string
	conns  sync.WaitGroup

	clients atomic.Int64

	mu     sync.Mutex
	healed *sync.Cond
	cut    [2]bool // by direction
	trap   []byte  // what a client sends that cuts trapped; nil for nothing
	traps  Direction
	closed bool

	swallow bool
	open    []net.Conn
}

// NewProxy starts a proxy for a server at a URL. It ends with the test.
func NewProxy(tb testing.TB, server string) *Proxy {
	tb.Helper()
	u, err := url.Parse(server)
	if err != nil {
		tb.Fatalf("the server's URL: %v", err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // returns at once
	if err != nil {
		tb.Fatalf("listen for the proxy: %v", err)
	}
	p := &Proxy{t: tb, addr: listener.Addr().String(), target: u.Host}
	p.healed = sync.NewCond(&p.mu)
	p.conns.Go(func() { p.accept(listener) })
	tb.Cleanup(func() {
		_ = listener.Close()
		p.end()
		p.conns.Wait()
	})
	return p
}

// NATSURL is what a NATS client connects to.
func (p *Proxy) NATSURL() string { return "nats://" + p.addr }

// Addr is where it listens.
func (p *Proxy) Addr() string { return p.addr }

// Conns is how many connections of clients are open.
func (p *Proxy) Conns() int { return int(p.clients.Load()) }

// Cut lets nothing pass until Heal.
func (p *Proxy) Cut() { p.set(true) }

// Heal lets pass what waits, and all that follows.
func (p *Proxy) Heal() { p.set(false) }

// Swallow takes what clients send and lets none of it pass, until Heal: a server
// that is there and does not answer. What was swallowed is lost.
func (p *Proxy) Swallow() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.swallow = true
}

// CutWhen cuts one direction at the moment at which a client sends that text,
// until Heal. To the server, the text itself does not pass.
func (p *Proxy) CutWhen(text string, d Direction) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.trap, p.traps = []byte(text), d
}

// IsCut reports whether nothing passes in that direction.
func (p *Proxy) IsCut(d Direction) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cut[d]
}

func (p *Proxy) set(cut bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut, p.trap, p.swallow = [2]bool{cut, cut}, nil, false
	p.healed.Broadcast()
}

// look springs the trap where it is in what was seen, and returns what the next
// look begins with, for the text may come in two parts. The caller holds the
// lock.
func (p *Proxy) look(seen []byte) []byte {
	if len(p.trap) == 0 {
		return nil
	}
	if bytes.Contains(seen, p.trap) {
		p.trap, p.cut[p.traps] = nil, true
		return nil
	}
	return bytes.Clone(seen[max(0, len(seen)-len(p.trap)):])
}

func (p *Proxy) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.healed.Broadcast()
	for _, c := range p.open {
		_ = c.Close()
	}
}

func (p *Proxy) accept(listener net.Listener) {
	for {
		client, err := listener.Accept()
		if err != nil {
			return // the test has ended
		}
		server, err := net.Dial("tcp", p.target) //nolint:noctx // loopback answers at once
		if err != nil {
			_ = client.Close()
			continue
		}
		if !p.keep(client, server) {
			return
		}
		p.clients.Add(1)
		p.conns.Go(func() {
			defer p.clients.Add(-1)
			p.pass(client, server, ToServer)
		})
		p.conns.Go(func() { p.pass(server, client, ToClient) })
	}
}

// keep remembers connections, to close them in the end, unless that was.
func (p *Proxy) keep(conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open = append(p.open, conns...)
	if p.closed {
		for _, c := range conns {
			_ = c.Close()
		}
	}
	return !p.closed
}

// pass copies one direction, and waits while that is cut.
func (p *Proxy) pass(from, to net.Conn, d Direction) {
	defer to.Close()
	defer from.Close()
	buffer := make([]byte, 64<<10)
	var before []byte
	for {
		n, err := from.Read(buffer)
		p.mu.Lock()
		if d == ToServer {
			before = p.look(append(before, buffer[:n]...))
		}
		for p.cut[d] && !p.closed {
			p.healed.Wait()
		}
		lost := p.swallow && d == ToServer
		p.mu.Unlock()
		if !lost {
			if _, werr := to.Write(buffer[:n]); werr != nil {
				return
			}
		}
		if err != nil {
			return // closed by the other side or by the test
		}
	}
}
