package e2e_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/sluiceflow/sluice/pkg/client"
	"github.com/sluiceflow/sluice/services/internal/testkit"
	"github.com/sluiceflow/sluice/services/internal/verify/check"
)

// damaged are the flows whose histories have something wrong.
func damaged(t *testing.T, found []check.Finding) map[string]bool {
	t.Helper()
	flows := map[string]bool{}
	for _, f := range found {
		if !slices.Contains([]check.Kind{check.Gap, check.NoBeginning, check.Break, check.Replay, check.GivenUp}, f.Kind) {
			t.Errorf("found %+v", f)
			continue
		}
		flows[f.FlowID] = true
	}
	return flows
}

// NATS drops what follows a damaged message in its file, up to the file's end,
// and says so in its log only. The flows that had commits there end as failed
// and say why; all others complete; and `sluice verify` names the former.
func TestADamagedFileConcernsItsFlowsOnly(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		end    func(*process)
		damage func(t *testing.T, file string)
	}{
		"a bit is flipped after a crash": {
			func(p *process) { p.Kill() }, func(t *testing.T, file string) {
				t.Helper()
				testkit.FlipBit(t, file, testkit.Size(t, file)/2, 0)
			},
		},
		"cut off while it was down": {
			func(p *process) { p.stop() }, func(t *testing.T, file string) {
				t.Helper()
				if err := os.Truncate(file, testkit.Size(t, file)/2); err != nil {
					t.Fatal(err)
				}
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := t.TempDir()
			// Smaller blocks than by default, so that the damaged one is not the last.
			s := newStackOn(t, server{store: store, sync: "always", env: map[string]string{"FLOWS_MAX_BYTES": "20000000"}})
			l := newLoad(t, "http://"+s.addrs["console"])
			l.payload = strings.Repeat("x", 120_000)
			l.again = true // attempts may time out meanwhile
			start, release := l.hold("reserve"), l.hold("charge")
			l.begin(40)
			l.waitHeld("reserve", 40)
			start() // all flows have begun in the first file, and go on in the next
			l.waitHeld("charge", 40)
			test.end(s.nats)
			blocks := testkit.Blocks(t, store, "FLOWS_0")
			if len(blocks) < 2 {
				t.Fatalf("all histories are in %v", blocks)
			}
			test.damage(t, blocks[0])
			s.startNATS()
			for role, addr := range s.addrs {
				s.roles[role].ready(addr)
			}
			flows := damaged(t, s.verify())
			t.Logf("%d of 40 flows are damaged", len(flows))
			if len(flows) == 0 || len(flows) >= 40 {
				t.Errorf("%d of 40 flows are damaged", len(flows))
			}
			release()
			for _, id := range l.flows {
				l.endsAs(id, flows[id])
			}
			after := damaged(t, s.verify())
			if fmt.Sprint(after) != fmt.Sprint(flows) {
				t.Errorf("damaged before: %v, after: %v", flows, after)
			}
		})
	}
}

// endsAs waits for the end of a flow: as completed, or as failed because of its
// damage.
func (l *load) endsAs(id string, isDamaged bool) {
	l.t.Helper()
	var state client.FlowState
	testkit.Eventually(l.t, 2*patience, func() (err error) {
		state, err = l.api.Flow(l.t.Context(), id)
		if err == nil && !state.Status.Ended() {
			err = fmt.Errorf("flow %s is %s", id, state.Status)
		}
		return err
	})
	switch {
	case isDamaged && (state.Status != client.Failed || !strings.Contains(state.Error, "damaged")):
		l.t.Errorf("flow %s is damaged and %s: %s", id, state.Status, state.Error)
	case !isDamaged && state.Status != client.Completed:
		l.t.Errorf("flow %s is sound and %s: %s", id, state.Status, state.Error)
	case !isDamaged:
		l.once(id)
	}
}

// A file that is damaged near the end of the stream takes the flows back to an
// earlier state, which looks sound. What else is known of them tells; they go on
// by being called again, and no token gets two outcomes.
func TestADamagedEndIsSeen(t *testing.T) {
	t.Parallel()
	store := t.TempDir()
	s := newStackOn(t, server{store: store, sync: "always", env: map[string]string{"SWEEP_INTERVAL": "2s"}})
	l := newLoad(t, "http://"+s.addrs["console"])
	l.again = true
	release := l.hold("reserve")
	l.begin(20)
	l.waitHeld("reserve", 20)
	file := testkit.Blocks(t, store, "FLOWS_0")[0]
	begun := testkit.Size(t, file)
	release()
	l.waitStored(30)
	for _, p := range []*process{s.roles["engine"], s.roles["dispatcher"], s.nats} { // nothing is repaired before it is looked at
		p.Kill()
	}
	// In the data of a commit: not all of a message is covered by the server's
	// checksum, and where it is not, the server drops nothing.
	testkit.FlipBit(t, file, testkit.RecordAt(t, file, begun+(testkit.Size(t, file)-begun)/10).Data, 0)
	s.startNATS()
	s.roles["gateway"].ready(s.addrs["gateway"])

	found := s.verify()
	kinds := map[check.Kind]int{}
	for _, f := range found {
		kinds[f.Kind]++
	}
	if kinds[check.LostOutcome] == 0 || kinds[check.LostOutcome]+kinds[check.LostTail] != len(found) {
		t.Errorf("found %v", found)
	}
	t.Logf("after the damage: %v", kinds)
	for _, role := range []string{"engine", "dispatcher"} {
		s.start(role)
	}
	l.finish()
	for _, f := range s.verify() {
		t.Errorf("once all has been done again, found %+v", f)
	}
}
