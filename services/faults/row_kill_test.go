package faults_test

import (
	"testing"
	"time"

	"github.com/sluiceflow/sluice/services/faults/internal/world"
)

const second = time.Second

func TestRowEngineKilled(t *testing.T) {
	t.Parallel()
	play(t, row{
		fault: "kill -9 of the only engine", short: 5, long: 50, pause: 10 * second,
		once: func(r *run) { r.crash("engine-1") },
	})
}

func TestRowEngineKilledBesideAnother(t *testing.T) {
	t.Parallel()
	play(t, row{
		fault: "kill -9 of one of two engines", short: 5, long: 50, pause: 5 * second,
		world: world.Options{Roles: map[string]int{"engine": 2}},
		once: func(r *run) {
			engines := r.w.Names("engine")
			r.crash(engines[r.dice.IntN(len(engines))])
		},
	})
}

func TestRowGatewayKilled(t *testing.T) {
	t.Parallel()
	play(t, row{
		fault: "kill -9 of the gateway", short: 5, long: 50, pause: 10 * second,
		once: func(r *run) { r.crash("gateway-1") },
	})
}

func TestRowDispatcherKilled(t *testing.T) {
	t.Parallel()
	play(t, row{
		fault: "kill -9 of the dispatcher", short: 5, long: 50, pause: 15 * second,
		once: func(r *run) { r.crash("dispatcher-1") },
	})
}

func TestRowConsoleKilled(t *testing.T) {
	t.Parallel()
	play(t, row{
		fault: "kill -9 of the console", short: 5, long: 50, pause: 10 * second,
		once: func(r *run) { r.crash("console-1") },
	})
}

func TestRowNATSKilled(t *testing.T) {
	t.Parallel()
	play(t, row{
		fault: "nats-server killed and restarted on the same store, each write synced", short: 5, long: 50, pause: 15 * second,
		world: world.Options{Sync: true},
		once:  natsKilled,
	})
}

// In the fast mode a server that comes back may have lost what it acknowledged,
// so what Redis holds of its time counts as open again. Here it has lost nothing,
// for the kernel had it all, and no second outcome gets a 2xx.
func TestRowNATSKilledFast(t *testing.T) {
	t.Parallel()
	play(t, row{
		fault: "nats-server killed and restarted on the same store, fast mode", short: 5, long: 50, pause: 15 * second,
		once: natsKilled,
	})
}

func natsKilled(r *run) {
	r.moment(2 * second)
	r.w.Kill(world.NATS)
	r.moment(second)
	r.must(r.w.Restart(r.t.Context(), world.NATS))
	r.await(world.NATS)
	r.await("console-1") // who needs no restart either
}
