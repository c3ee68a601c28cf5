package dead

import (
	"strconv"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/bus"
)

const (
	// maxReason bounds a reason, which may be what a panic said.
	maxReason = 1024
	// around is room for what NATS and the store keep beside a letter.
	around = 2048
)

// Letter makes the dead letter of a message that is given up now, in Unix
// nanoseconds. One that was redriven keeps the time of its first storing.
func Letter(msg jetstream.Msg, what string, why error, now int64) *sluicev1.DeadLetter {
	reason := text(why.Error())
	if len(reason) > maxReason {
		reason = text(reason[:maxReason])
	}
	letter := &sluicev1.DeadLetter{
		What: what, Class: string(ClassOf(why)), Reason: reason,
		Subject: text(msg.Subject()), Data: msg.Data(),
		Headers: make(map[string]string, len(msg.Headers())), DeadNs: now,
	}
	for name := range msg.Headers() {
		letter.Headers[text(name)] = text(msg.Headers().Get(name))
	}
	if meta, err := msg.Metadata(); err == nil {
		letter.Stream, letter.Sequence = meta.Stream, meta.Sequence.Stream
		letter.StoredNs, letter.Deliveries = meta.Timestamp.UnixNano(), meta.NumDelivered
	}
	if first, err := strconv.ParseInt(msg.Headers().Get(bus.HeaderFirstStored), 10, 64); err == nil && first > 0 {
		letter.StoredNs = min(letter.GetStoredNs(), first)
	}
	if n, err := strconv.ParseUint(msg.Headers().Get(bus.HeaderRedrives), 10, 32); err == nil {
		letter.Redrives = uint32(n)
	}
	return letter
}

// text makes what anybody may have sent fit for a message's strings.
func text(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

// fit cuts a letter that no message or no stream would hold: its reason is kept,
// and of the original as much as there is room for.
func fit(letter *sluicev1.DeadLetter, limit int) {
	const cutFrom = 16 // what the mark itself takes
	over := proto.Size(letter) + cutFrom - limit
	if over <= 0 {
		return
	}
	size := len(letter.GetData())
	if over > size {
		letter.Headers = nil
		over = proto.Size(letter) + cutFrom - limit
	}
	letter.CutFrom = uint64(max(size, 1))
	letter.Data = letter.GetData()[:min(size, max(0, size-over))]
}
