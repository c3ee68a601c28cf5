package serve

import (
	"context"
	"fmt"

	"github.com/sluiceflow/sluice/services/internal/bus"
	"github.com/sluiceflow/sluice/services/internal/durability"
	"github.com/sluiceflow/sluice/services/internal/keys"
	"github.com/sluiceflow/sluice/services/internal/registry"
	"github.com/sluiceflow/sluice/services/internal/run"
	"github.com/sluiceflow/sluice/services/internal/tokenindex"
)

// open makes what the roles stand on, as soon as what that stands on is there.
func (h *host) open(ctx context.Context) error {
	p := &h.platform
	p.Log, p.Addr = h.log, h.server.Addr()
	if err := h.openBus(ctx); err != nil {
		return err
	}
	h.keep("bus", p.Bus)
	if err := h.openDurability(ctx); err != nil {
		return err
	}
	h.keep("durability", p.Durability)
	if err := h.openIndex(ctx); err != nil {
		return err
	}
	if h.Keys != nil {
		err := h.until(ctx, "signing keys", func() (err error) {
			p.Keys, err = keys.Open(ctx, p.Bus, h.Keys.Text, h.Makes, h.log)
			return err
		})
		if err != nil {
			return err
		}
		h.keep("keys", p.Keys)
	}
	if h.Links {
		err := h.until(ctx, "link keys", func() (err error) {
			p.Links, err = keys.OpenLinks(ctx, p.Bus, h.log)
			return err
		})
		if err != nil {
			return err
		}
		h.keep("link keys", p.Links)
	}
	if !h.Registry {
		return nil
	}
	err := h.until(ctx, "registry", func() (err error) {
		p.Registry, err = registry.Open(ctx, p.Bus)
		return err
	})
	if err == nil {
		h.keep("registry", p.Registry)
	}
	return err
}

func (h *host) openBus(ctx context.Context) error {
	b, err := bus.Connect(ctx, h.Config.Bus, "sluice-"+h.Name, h.log, h.NATS...)
	if err != nil {
		return fmt.Errorf("connect to NATS: %w", err)
	}
	h.platform.Bus = b
	prepare := b.Await
	if h.Makes {
		prepare = b.Ensure
	}
	return h.until(ctx, "jetstream", func() error { return prepare(ctx) })
}

// openDurability does not wait until the monitoring endpoints answer: without
// them the promise is the least there is.
func (h *host) openDurability(ctx context.Context) error {
	monitors, err := durability.ParseMonitors(h.Config.Bus.NATSMonitorURL)
	if err != nil {
		return err
	}
	b := h.platform.Bus
	h.platform.Durability, err = durability.Watch(ctx, durability.Options{
		Monitors: monitors, Replicas: b.Replicas, Connected: b.NC.ConnectedServerId,
		Tell:  func(found durability.State) { b.Group(found.Synced) },
		Fixed: h.Durability, Log: h.log, Metrics: h.metrics,
	})
	return err
}

// openIndex does not wait for Redis: without it the roles do what they can.
func (h *host) openIndex(ctx context.Context) error {
	if h.Redis == nil {
		return nil
	}
	index, err := tokenindex.Open(h.Redis.Config, h.Config.Bus.Namespace)
	if err != nil {
		return err
	}
	h.platform.Index = index
	if err := index.Ping(ctx); err != nil {
		h.log.WarnContext(ctx, "redis not there, going on without", errorAttr(err))
	}
	return nil
}

// keep runs a part of the platform until the roles have ended.
func (h *host) keep(name string, part run.Part) {
	h.parts.Go(func() {
		if err := part.Run(h.base); err != nil {
			h.fail(fmt.Errorf("%s: %w", name, err))
		}
	})
}

// close ends the platform.
func (h *host) close(ctx context.Context) {
	h.endBase()
	h.parts.Wait()
	if h.platform.Index != nil {
		if err := h.platform.Index.Close(); err != nil {
			h.log.DebugContext(ctx, "redis connection not closed", errorAttr(err))
		}
	}
	if h.platform.Bus != nil {
		h.platform.Bus.Close()
	}
}
