package ownership

import (
	"cmp"
	"slices"
	"strconv"

	"github.com/cespare/xxhash/v2"
)

// Assign returns the member that owns each partition, by rendezvous hashing:
// every pair of member and partition has a weight, and the heaviest pairs come
// first. A member that has its equal share is passed over, so that shares differ
// by one at most. All who know the same members get the same answer, in whatever
// order they know them. Without members nobody owns anything.
func Assign(members []string, partitions int) []string {
	owners := make([]string, partitions)
	if len(members) == 0 {
		return owners
	}
	share, rest := partitions/len(members), partitions%len(members)
	load := make(map[string]int, len(members))
	for _, w := range weights(members, partitions) {
		switch {
		case owners[w.partition] != "", load[w.member] > share, load[w.member] == share && rest == 0:
			continue
		case load[w.member] == share:
			rest--
		}
		owners[w.partition] = w.member
		load[w.member]++
	}
	return owners
}

// weight is how strongly a partition belongs to a member.
type weight struct {
	hash      uint64
	member    string
	partition int
}

// weights returns those of all pairs, the heaviest first.
func weights(members []string, partitions int) []weight {
	all := make([]weight, 0, len(members)*partitions)
	for _, m := range members {
		for p := range partitions {
			all = append(all, weight{hash: xxhash.Sum64String(m + "/" + strconv.Itoa(p)), member: m, partition: p})
		}
	}
	slices.SortFunc(all, func(a, b weight) int {
		return cmp.Or(cmp.Compare(b.hash, a.hash), cmp.Compare(a.member, b.member), cmp.Compare(a.partition, b.partition))
	})
	return all
}
