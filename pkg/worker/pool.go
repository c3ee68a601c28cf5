package worker

import (
	"context"
	"sync"
)

// admission is what becomes of a call that asks for a place.
type admission int

const (
	admitted admission = iota
	running            // the same call is at work already
	full
	closed
)

// attempt tells calls apart: an attempt that is called twice is run once.
type attempt struct {
	token  string
	number uint32
}

// pool runs async work: a bounded number at once, a bounded number in all.
type pool struct {
	places chan struct{}   // one for each accepted call
	turns  chan struct{}   // one for each function that runs
	base   context.Context //nolint:containedctx // what accepted work runs under outlives every request
	cancel context.CancelFunc
	work   sync.WaitGroup

	mu     sync.Mutex
	closed bool
	atWork map[attempt]struct{}
}

func newPool(concurrency, queue int) *pool {
	base, cancel := context.WithCancel(context.Background())
	return &pool{
		places: make(chan struct{}, concurrency+queue),
		turns:  make(chan struct{}, concurrency),
		base:   base, cancel: cancel,
		atWork: map[attempt]struct{}{},
	}
}

// start runs a function and then, without holding up the next function, another.
func (p *pool) start(a attempt, do func(context.Context), then func(context.Context)) admission {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return closed
	}
	if _, same := p.atWork[a]; same {
		return running
	}
	select {
	case p.places <- struct{}{}:
	default:
		return full
	}
	p.atWork[a] = struct{}{}
	p.work.Go(func() {
		defer p.leave(a)
		if p.turn(do) {
			then(p.base)
		}
	})
	return admitted
}

// turn waits for a turn and reports whether it came before the pool gave up.
func (p *pool) turn(do func(context.Context)) bool {
	select {
	case p.turns <- struct{}{}:
	case <-p.base.Done():
		return false
	}
	defer func() { <-p.turns }()
	do(p.base)
	return true
}

func (p *pool) leave(a attempt) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.atWork, a)
	<-p.places
}

// enter counts work that is not the pool's, so that close waits for it.
func (p *pool) enter() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.work.Add(1)
	}
	return !p.closed
}

func (p *pool) close(ctx context.Context) error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	defer p.cancel()
	stop := context.AfterFunc(ctx, p.cancel)
	p.work.Wait()
	if !stop() {
		return context.Cause(ctx)
	}
	return nil
}
