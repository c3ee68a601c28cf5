package faults_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/sluiceflow/sluice/pkg/event"
	"github.com/sluiceflow/sluice/services/faults/internal/invariant"
	"github.com/sluiceflow/sluice/services/faults/internal/load"
	"github.com/sluiceflow/sluice/services/faults/internal/world"
	"github.com/sluiceflow/sluice/services/internal/powercut"
	"github.com/sluiceflow/sluice/services/internal/testkit"
	"github.com/sluiceflow/sluice/services/internal/verify/check"
)

// In the synced mode a power cut loses nothing.
func TestRowPowerCut(t *testing.T) {
	t.Parallel()
	form(t)
	disk := powercut.Mount(t)
	play(t, row{
		fault: "power cut: nats-server killed and what it did not sync forgotten, each write synced", short: 3, long: 20, pause: 15 * second,
		world: world.Options{Sync: true, Store: disk.Dir},
		once: func(r *run) {
			r.moment(3 * second)
			r.w.Kill(world.NATS)
			disk.Cut()
			r.must(r.w.Restart(r.t.Context(), world.NATS))
			r.await(world.NATS)
			r.await("console-1")
		},
	})
}

// forgiving is a load that can make up for what is lost: attempts time out, and
// workers bring their outcomes again when they are called again.
func forgiving() load.Config {
	return load.Config{Again: true, AttemptLimit: 4 * second, Shapes: []load.Shape{load.Chain, load.Fan, load.Optional, load.Retry}}
}

// lossPause is long: flows that had completed are lost too, and the pause looks
// longer for it.
const lossPause = 40 * second

// In the fast mode a power cut loses the last moments: `sluice verify` names the
// flows of which outcomes are lost.
func TestRowPowerCutFast(t *testing.T) {
	t.Parallel()
	form(t)
	disk := powercut.Mount(t)
	play(t, row{
		fault: "power cut: nats-server killed and what it did not sync forgotten, fast mode; flows with a loss are named",
		short: 1, long: 5, pause: lossPause, damaging: true,
		world: world.Options{Store: disk.Dir, Env: map[string]string{"SWEEP_INTERVAL": "2s"}},
		load:  forgiving(),
		once: func(r *run) {
			// What a cut leaves may be whole: flows of which all is gone, and others to
			// which nothing happened in that moment.
			for range 5 {
				disk.Sync() // as the kernel does by itself after a while
				r.wait(2 * second)
				r.damage(disk.Cut)
				if len(r.named) > 0 {
					return
				}
			}
		},
		after: lossSeen,
	})
}

// A bit of FLOWS is flipped, or the end of a file is cut off: `sluice verify`
// names the flows that this concerns.
func TestRowStoreDamaged(t *testing.T) {
	t.Parallel()
	n := 0
	play(t, row{
		fault: "a bit of FLOWS flipped, its file cut off; flows that this concerns are named",
		short: 2, long: 5, pause: lossPause, damaging: true,
		world: world.Options{Sync: true, Env: map[string]string{"SWEEP_INTERVAL": "2s"}},
		load:  forgiving(),
		once: func(r *run) {
			r.moment(3 * second)
			r.damage(func() {
				blocks := testkit.Blocks(r.t, r.w.StoreOf(world.NATS), "FLOWS_0")
				file := blocks[len(blocks)-1]
				size := testkit.Size(r.t, file)
				at := size/2 + r.dice.Int64N(size/2)
				if n++; n%2 == 1 {
					testkit.FlipBit(r.t, file, at, r.dice.IntN(8))
					return
				}
				r.must(os.Truncate(file, at))
			})
		},
		after: lossSeen,
	})
}

// damage ends NATS as a power cut does, has its store damaged, and looks what
// can be found before anything is repaired.
func (r *run) damage(store func()) {
	r.t.Helper()
	idle := []string{"engine-1", "dispatcher-1"}
	for _, name := range idle {
		r.w.Kill(name)
	}
	r.w.Kill(world.NATS)
	store()
	r.must(r.w.Restart(r.t.Context(), world.NATS))
	for _, name := range []string{world.NATS, "gateway-1", "console-1"} {
		r.await(name)
	}
	found := r.verify()
	for _, f := range found {
		r.named[f.FlowID] = true
	}
	r.t.Logf("verify has %d findings", len(found))
	for _, name := range idle {
		r.must(r.w.Restart(r.t.Context(), name))
	}
	for _, name := range idle {
		r.await(name)
	}
}

// verify is what `sluice verify` finds.
func (r *run) verify() []check.Finding {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, programs(r.t).Sluice, "verify", "--json")
	cmd.Env = []string{"NATS_URL=" + r.w.NATSURL(), "REDIS_URL=redis://" + r.w.RedisAddr() + "/0"}
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && (!ok || exit.ExitCode() != 1) {
		r.t.Fatalf("sluice verify: %v: %s%s", err, out, said.String())
	}
	var found []check.Finding
	for line := range bytes.Lines(out) {
		var f struct {
			check.Finding

			Type string `json:"type"`
		}
		r.must(json.Unmarshal(line, &f))
		if f.Type != "summary" {
			found = append(found, f.Finding)
		}
	}
	return found
}

// silent are the violations that nobody was told of: not those of flows that
// were named, are gone, or began anew. All that are there must end all the same.
// That a call was made twice loses nothing.
func (r *run) silent(found []invariant.Violation, flows map[string]invariant.History) []invariant.Violation {
	var out []invariant.Violation
	anew := r.anew(flows)
	for _, v := range found {
		told := (r.named[v.Flow] || anew[v.Flow]) && v.Invariant != invariant.Ended
		if v.Invariant != invariant.Delivered && !told && flows[v.Flow].Known {
			out = append(out, v)
		}
	}
	r.t.Logf("%d violations, %d of them silent; %d flows named, %d began anew", len(found), len(out), len(r.named), len(anew))
	return out
}

// anew are the flows whose whole history was lost, and whose start was not: they
// have other tokens than they had.
func (r *run) anew(flows map[string]invariant.History) map[string]bool {
	tokens, out := map[string][]string{}, map[string]bool{}
	for id, h := range flows {
		for _, e := range h.Events {
			if e.Type == event.WorkStarted {
				tokens[id+" "+e.StepID] = append(tokens[id+" "+e.StepID], e.Token)
			}
		}
	}
	for _, call := range r.book.Book().Calls {
		now := tokens[call.Flow+" "+call.Step]
		if len(now) > 0 && !slices.ContainsFunc(now, func(known string) bool { return strings.HasPrefix(call.Token, known) }) {
			out[call.Flow] = true
		}
	}
	return out
}

// lossSeen checks that there was something to be named.
func lossSeen(r *run, _ map[string]invariant.History) {
	if len(r.named) == 0 {
		r.t.Error("sluice verify found nothing")
	}
}
