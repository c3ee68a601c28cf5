package bus

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

// A difference is a setting that is not as it should be.
type difference struct {
	name string
	is   string
	want string
	// setting is the variable that it comes from; empty where there is none.
	setting string
	// changeable is true where Apply can change what exists.
	changeable bool
}

func (d difference) String() string { return d.name + " is " + d.is + " and should be " + d.want }

// wantedStream is a stream as it should be.
type wantedStream struct {
	jetstream.StreamConfig

	// sizeSetting is the variable that its size comes from; empty where it has
	// no limit.
	sizeSetting string
	// bucket is the bucket that it is the stream of; empty where it is none's.
	bucket string
}

func (w wantedStream) String() string {
	if w.bucket != "" {
		return "bucket " + w.bucket
	}
	return "stream " + w.Name
}

// differences lists the settings of a stream that Sluice relies on and that are
// others.
func (w wantedStream) differences(got jetstream.StreamConfig) []difference {
	var out []difference
	compare := func(name, setting string, changeable bool, want, is any) {
		if fmt.Sprint(want) != fmt.Sprint(is) {
			out = append(out, difference{name, fmt.Sprint(is), fmt.Sprint(want), setting, changeable})
		}
	}
	fixed := func(name string, want, is any) { compare(name, "", false, want, is) }
	compare("replicas", "STREAM_REPLICAS", true, w.Replicas, got.Replicas)
	fixed("storage", w.Storage, got.Storage)
	fixed("max_age", w.MaxAge, got.MaxAge)
	fixed("max_msgs_per_subject", limit(w.MaxMsgsPerSubject), limit(got.MaxMsgsPerSubject))
	fixed("persist_mode", w.PersistMode, got.PersistMode)
	if w.bucket != "" {
		fixed("limit_marker_ttl", w.SubjectDeleteMarkerTTL, got.SubjectDeleteMarkerTTL)
		return out
	}
	if w.Metadata[metaPartitions] != got.Metadata[metaPartitions] || w.Metadata[metaShards] != got.Metadata[metaShards] {
		// The subjects follow from these.
		compare("PARTITIONS", "PARTITIONS", false, w.Metadata[metaPartitions], cmp.Or(got.Metadata[metaPartitions], none))
		compare("SHARDS", "SHARDS", false, w.Metadata[metaShards], cmp.Or(got.Metadata[metaShards], none))
	} else {
		fixed("subjects", w.Subjects, got.Subjects)
	}
	compare("max_bytes", w.sizeSetting, true, limit(w.MaxBytes), limit(got.MaxBytes))
	fixed("max_msgs", limit(w.MaxMsgs), limit(got.MaxMsgs))
	fixed("max_msg_size", limit(int64(w.MaxMsgSize)), limit(int64(got.MaxMsgSize)))
	fixed("retention", w.Retention, got.Retention)
	fixed("discard", w.Discard, got.Discard)
	fixed("allow_msg_schedules", w.AllowMsgSchedules, got.AllowMsgSchedules)
	fixed("allow_msg_ttl", w.AllowMsgTTL, got.AllowMsgTTL)
	fixed("allow_rollup_hdrs", w.AllowRollup, got.AllowRollup)
	fixed("allow_direct", w.AllowDirect, got.AllowDirect)
	fixed("allow_atomic", w.AllowAtomicPublish, got.AllowAtomicPublish)
	fixed("deny_purge", w.DenyPurge, got.DenyPurge)
	fixed("sealed", w.Sealed, got.Sealed)
	return out
}

// none stands for what a stream that is not ours does not say.
const none = "none"

// limit gives the two spellings of no limit one.
func limit(n int64) int64 {
	if n == 0 {
		return -1
	}
	return n
}

// consumerDifferences lists what differs between two consumers' settings.
func consumerDifferences(want, got jetstream.ConsumerConfig) []difference {
	var out []difference
	compare := func(name string, changeable bool, w, is any) {
		if fmt.Sprint(w) != fmt.Sprint(is) {
			out = append(out, difference{name, fmt.Sprint(is), fmt.Sprint(w), "", changeable})
		}
	}
	compare("filter_subject", true, want.FilterSubject, got.FilterSubject)
	compare("ack_wait", true, want.AckWait, got.AckWait)
	compare("max_ack_pending", true, want.MaxAckPending, got.MaxAckPending)
	compare("max_deliver", true, want.MaxDeliver, got.MaxDeliver)
	compare("headers_only", true, want.HeadersOnly, got.HeadersOnly)
	compare("ack_policy", false, want.AckPolicy, got.AckPolicy)
	return out
}

// mismatch collects all that exists with other settings.
type mismatch struct {
	said     []string
	settings map[string]string // that what exists was made with
	fixed    bool              // something can never be changed
	foreign  bool              // something has no variable either
	changes  bool              // something can be changed
}

func (m *mismatch) add(what string, differ []difference) {
	if len(differ) == 0 {
		return
	}
	texts := make([]string, 0, len(differ))
	for _, d := range differ {
		texts = append(texts, d.String())
		m.fixed = m.fixed || !d.changeable
		m.changes = m.changes || d.changeable
		m.foreign = m.foreign || (!d.changeable && d.setting == "")
		if d.setting != "" && d.is != none {
			if m.settings == nil {
				m.settings = make(map[string]string)
			}
			m.settings[d.setting] = d.is
		}
	}
	m.said = append(m.said, what+" exists with other settings: "+strings.Join(texts, ", "))
}

// err is nil where nothing differs, else all of it with what to do.
func (m *mismatch) err() error {
	if len(m.said) == 0 {
		return nil
	}
	return invalid("%s. %s", strings.Join(m.said, "; "), m.advice())
}

func (m *mismatch) advice() string {
	var ways []string
	if len(m.settings) > 0 && !m.foreign {
		pairs := make([]string, 0, len(m.settings))
		for _, name := range slices.Sorted(maps.Keys(m.settings)) {
			pairs = append(pairs, name+"="+m.settings[name])
		}
		ways = append(ways, "set "+strings.Join(pairs, " ")+" for every role")
	}
	if m.changes && !m.fixed {
		ways = append(ways, "change what exists by `sluice streams apply` with the settings of the roles")
	}
	if m.fixed {
		ways = append(ways, "begin anew under another NAMESPACE")
	}
	if m.foreign {
		ways = append(ways, "make it as it should be with the nats command while no role runs")
	}
	advice := strings.Join(ways, ", or ")
	return strings.ToUpper(advice[:1]) + advice[1:]
}
