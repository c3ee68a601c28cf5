package bus

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
)

// shortened returns a dead letter that fits into a message of that many bytes: of
// an original that is as large as a message itself only half is kept, and the
// reason says so.
func shortened(letter *sluicev1.DeadLetter, limit int) *sluicev1.DeadLetter {
	if proto.Size(letter)+limit/64 <= limit {
		return letter
	}
	short, ok := proto.Clone(letter).(*sluicev1.DeadLetter)
	if !ok {
		return letter
	}
	short.Data = short.GetData()[:min(len(short.GetData()), limit/2)]
	short.Reason = fmt.Sprintf("%s (only %d of its %d bytes are kept)", letter.GetReason(), len(short.GetData()), len(letter.GetData()))
	return short
}
