package ownership_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/sluiceflow/sluice/services/engine/internal/ownership"
)

func loads(owners []string) map[string]int {
	n := map[string]int{}
	for _, o := range owners {
		n[o]++
	}
	return n
}

func TestSharesDifferByOneAtMost(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		members := rapid.SliceOfNDistinct(rapid.StringMatching(`[a-z0-9-]{1,12}`), 1, 20, rapid.ID[string]).Draw(t, "members")
		partitions := rapid.IntRange(1, 64).Draw(t, "partitions")
		owners := ownership.Assign(members, partitions)
		got := loads(owners)
		for _, m := range members {
			if n := got[m]; n < partitions/len(members) || n > (partitions+len(members)-1)/len(members) {
				t.Errorf("%s owns %d of %d partitions among %d", m, n, partitions, len(members))
			}
			delete(got, m)
		}
		if len(got) > 0 {
			t.Errorf("owned by nobody that is there: %v", got)
		}
		others := slices.Clone(members)
		slices.Reverse(others)
		if again := ownership.Assign(others, partitions); !slices.Equal(owners, again) {
			t.Errorf("in another order the answer is another: %v and %v", owners, again)
		}
	})
}

// Where shares are equal a little more moves than must; it stays little.
func TestLittleMovesWhenAMemberComesOrGoes(t *testing.T) {
	t.Parallel()
	const partitions, rounds = 16, 500
	seed := rand.New(rand.NewPCG(1, 2))
	for n := 1; n <= 6; n++ {
		moved := 0
		for range rounds {
			var members []string
			for range n + 1 {
				members = append(members, fmt.Sprintf("host-%x", seed.Uint64()))
			}
			before, after := ownership.Assign(members[:n], partitions), ownership.Assign(members, partitions)
			for p := range partitions {
				if before[p] != after[p] {
					moved++
				}
			}
		}
		must := rounds * partitions / (n + 1)
		if moved < must*9/10 || moved > must*17/10 {
			t.Errorf("from %d to %d members %d partitions move, %d must", n, n+1, moved, must)
		}
	}
}

// Engines of two versions must agree, so what this says may never change.
func TestAssignmentIsForEver(t *testing.T) {
	t.Parallel()
	got := fmt.Sprint(ownership.Assign([]string{"a", "b", "c"}, 16))
	if want := "[c a c b a b b b a c a c b c c a]"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got := ownership.Assign(nil, 2); !slices.Equal(got, []string{"", ""}) {
		t.Errorf("without members: %v", got)
	}
}
