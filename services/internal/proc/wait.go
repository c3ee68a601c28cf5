package proc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

const (
	askEvery = 20 * time.Millisecond
	askLimit = 2 * time.Second
)

// Ready waits until a GET of the URL is answered with 200. It gives up when the
// process or ctx ends.
func (p *Process) Ready(ctx context.Context, url string) error {
	return p.until(ctx, func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%s answers %s", url, resp.Status)
		}
		return nil
	})
}

// Serving waits until something listens on the address. It gives up when the
// process or ctx ends.
func (p *Process) Serving(ctx context.Context, addr string) error {
	return p.until(ctx, func(ctx context.Context) error {
		var dialer net.Dialer
		conn, err := dialer.DialContext(ctx, "tcp", addr)
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

func (p *Process) until(ctx context.Context, ask func(context.Context) error) error {
	for {
		asking, cancel := context.WithTimeout(ctx, askLimit)
		err := ask(asking)
		cancel()
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("%s has ended: %w", p.name, err)
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w", p.name, errors.Join(ctx.Err(), err))
		case <-time.After(askEvery):
		}
	}
}
