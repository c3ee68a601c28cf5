package bus

import (
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluiceflow/sluice/pkg/subject"
)

// Names of the buckets, before the namespace.
const (
	BucketSteps   = "sluice_steps"
	BucketMembers = "sluice_members"
	BucketKeys    = "sluice_keys"
	BucketLinks   = "sluice_links"

	BucketSchedules = "sluice_schedules"
)

// Names of the durable consumers that all processes of a role share.
const (
	ConsumerDispatcher = "dispatcher" // of INVOCATIONS_k
	ConsumerScripts    = "scripts"    // of INVOCATIONS_k, shared by the engines
	ConsumerWakes      = "wakes"      // of TIMERS_k
)

// How long a consumer waits for an ack before it delivers again.
const (
	CommandAckWait    = 3 * time.Second
	InvocationAckWait = 10 * time.Second
	WakeAckWait       = 10 * time.Second
	RetentionAckWait  = time.Minute
)

// maxAckPending of a partition: what an engine may hold, and room for what is
// put back.
const maxAckPending = 8192

// ConsumerEngine names the durable consumer of a partition.
func ConsumerEngine(partition int) string { return "engine-" + strconv.Itoa(partition) }

// ConsumerRetention names the durable consumer of endings of a kind.
func ConsumerRetention(kind subject.Kind) string { return "retention-" + string(kind) }

// Endings are the kinds of commits that end a flow.
func Endings() []subject.Kind {
	return []subject.Kind{subject.KindCompleted, subject.KindFailed, subject.KindCanceled}
}

// Partition returns the partition of a flow.
func (b *Bus) Partition(flowID string) int { return subject.Partition(flowID, b.Config.Partitions) }

// Shard returns the shard that holds a partition.
func (b *Bus) Shard(partition int) int { return partition % b.Config.Shards }

// Commands returns the name of a shard's stream of commands.
func (b *Bus) Commands(shard int) string { return b.name("COMMANDS", shard) }

// Timers returns the name of a shard's stream of schedules.
func (b *Bus) Timers(shard int) string { return b.name("TIMERS", shard) }

// Flows returns the name of a shard's stream of commits.
func (b *Bus) Flows(shard int) string { return b.name("FLOWS", shard) }

// Invocations returns the name of a shard's stream of invocations.
func (b *Bus) Invocations(shard int) string { return b.name("INVOCATIONS", shard) }

// Dead returns the name of the stream of dead letters.
func (b *Bus) Dead() string { return b.Space.Name("DEAD") }

func (b *Bus) name(base string, shard int) string {
	return b.Space.Name(base + "_" + strconv.Itoa(shard))
}

// subjects lists what a shard's stream holds: one wildcard where there is one
// shard, else a filter for each of its partitions.
func (b *Bus) subjects(shard int, filters ...func(partition int) string) []string {
	var out []string
	for _, filter := range filters {
		if b.Config.Shards == 1 {
			out = append(out, filter(-1))
			continue
		}
		for p := shard; p < b.Config.Partitions; p += b.Config.Shards {
			out = append(out, filter(p))
		}
	}
	return out
}

// What streams say of the layout that they belong to.
const (
	metaPartitions = "sluice.partitions"
	metaShards     = "sluice.shards"
)

// metadata tells installations apart that have the same streams.
func (b *Bus) metadata() map[string]string {
	return map[string]string{
		metaPartitions: strconv.Itoa(b.Config.Partitions),
		metaShards:     strconv.Itoa(b.Config.Shards),
	}
}

func (b *Bus) streams() []wantedStream {
	wanted := []wantedStream{{sizeSetting: "DEAD_MAX_BYTES", StreamConfig: jetstream.StreamConfig{
		Name:        b.Dead(),
		Description: "what could not be processed, with its reason",
		Subjects:    []string{b.Space.DeadLetters("")},
		Retention:   jetstream.LimitsPolicy,
		Discard:     jetstream.DiscardNew,
		MaxBytes:    b.Config.DeadMaxBytes,
		AllowDirect: true,
	}}}
	for k := range b.Config.Shards {
		wanted = append(wanted, wantedStream{sizeSetting: "COMMANDS_MAX_BYTES", StreamConfig: jetstream.StreamConfig{
			Name:               b.Commands(k),
			Description:        "what the engine must react to",
			Subjects:           b.subjects(k, b.Space.Commands),
			Retention:          jetstream.WorkQueuePolicy,
			Discard:            jetstream.DiscardNew,
			MaxBytes:           b.Config.CommandsMaxBytes,
			AllowAtomicPublish: true,
		}}, wantedStream{StreamConfig: jetstream.StreamConfig{
			Name:              b.Timers(k),
			Description:       "durable timers of flows",
			Subjects:          b.subjects(k, b.Space.Timers, b.Space.Wakes),
			Retention:         jetstream.WorkQueuePolicy,
			AllowMsgSchedules: true,
			AllowRollup:       true,
			AllowMsgTTL:       true,
		}}, wantedStream{sizeSetting: "FLOWS_MAX_BYTES", StreamConfig: jetstream.StreamConfig{
			Name:               b.Flows(k),
			Description:        "the history of flows, one message a commit",
			Subjects:           b.subjects(k, func(p int) string { return b.Space.Flows("", p) }),
			Retention:          jetstream.LimitsPolicy,
			Discard:            jetstream.DiscardNew,
			MaxBytes:           b.Config.FlowsMaxBytes,
			AllowDirect:        true,
			AllowAtomicPublish: true,
		}}, wantedStream{sizeSetting: "INVOCATIONS_MAX_BYTES", StreamConfig: jetstream.StreamConfig{
			Name:        b.Invocations(k),
			Description: "calls to HTTP steps, and scripts to run",
			Subjects:    b.subjects(k, b.Space.InvocationsHTTP, b.Space.InvocationsScript),
			Retention:   jetstream.WorkQueuePolicy,
			Discard:     jetstream.DiscardNew,
			MaxBytes:    b.Config.InvocationsMaxBytes,
		}})
	}
	for i := range wanted {
		wanted[i].Storage = jetstream.FileStorage
		wanted[i].Replicas = b.Config.StreamReplicas
		wanted[i].Metadata = b.metadata()
	}
	return wanted
}

func (b *Bus) buckets() []jetstream.KeyValueConfig {
	return []jetstream.KeyValueConfig{
		{Bucket: b.Space.Name(BucketSteps), Description: "the step registry", History: 64, Replicas: b.Config.StreamReplicas},
		{
			Bucket: b.Space.Name(BucketMembers), Description: "the engines that live", History: 1,
			TTL: 3 * time.Second, LimitMarkerTTL: time.Second, Replicas: b.Config.StreamReplicas,
		},
		{Bucket: b.Space.Name(BucketKeys), Description: "token signing keys", History: 1, Replicas: b.Config.StreamReplicas},
		{Bucket: b.Space.Name(BucketLinks), Description: "keys that sign the links of approvals", History: 1, Replicas: b.Config.StreamReplicas},
		{Bucket: b.Space.Name(BucketSchedules), Description: "what starts flows by time", History: 1, Replicas: b.Config.StreamReplicas},
	}
}

// bucketStreams are the streams of the buckets, as far as Sluice relies on how
// they are.
func (b *Bus) bucketStreams() []wantedStream {
	buckets := b.buckets()
	wanted := make([]wantedStream, 0, len(buckets))
	for _, kv := range buckets {
		wanted = append(wanted, wantedStream{bucket: kv.Bucket, StreamConfig: jetstream.StreamConfig{
			Name: "KV_" + kv.Bucket, Storage: kv.Storage, Replicas: kv.Replicas,
			MaxMsgsPerSubject: int64(kv.History), MaxAge: kv.TTL, SubjectDeleteMarkerTTL: kv.LimitMarkerTTL,
		}})
	}
	return wanted
}

// consumers maps a stream to its durable consumers.
func (b *Bus) consumers() map[string][]jetstream.ConsumerConfig {
	all := make(map[string][]jetstream.ConsumerConfig)
	for p := range b.Config.Partitions {
		stream := b.Commands(b.Shard(p))
		all[stream] = append(all[stream], jetstream.ConsumerConfig{
			Durable: ConsumerEngine(p), FilterSubject: b.Space.Commands(p),
			AckWait: CommandAckWait, MaxAckPending: maxAckPending,
		})
	}
	for k := range b.Config.Shards {
		all[b.Invocations(k)] = []jetstream.ConsumerConfig{{
			Durable: ConsumerDispatcher, FilterSubject: b.Space.InvocationsHTTP(-1),
			AckWait: InvocationAckWait, MaxAckPending: -1,
		}, {
			Durable: ConsumerScripts, FilterSubject: b.Space.InvocationsScript(-1),
			AckWait: InvocationAckWait, MaxAckPending: maxAckPending,
		}}
		all[b.Timers(k)] = []jetstream.ConsumerConfig{{
			Durable: ConsumerWakes, FilterSubject: b.Space.Wakes(-1),
			AckWait: WakeAckWait, MaxAckPending: maxAckPending,
		}}
		for _, kind := range Endings() {
			all[b.Flows(k)] = append(all[b.Flows(k)], jetstream.ConsumerConfig{
				Durable: ConsumerRetention(kind), FilterSubject: b.Space.FlowEvents(kind),
				AckWait: RetentionAckWait, MaxAckPending: 1000, HeadersOnly: true,
			})
		}
	}
	for stream := range all {
		for i := range all[stream] {
			all[stream][i].AckPolicy = jetstream.AckExplicitPolicy
			all[stream][i].MaxDeliver = -1
		}
	}
	return all
}
