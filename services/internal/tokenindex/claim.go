package tokenindex

import (
	"context"
	_ "embed" // the scripts
	"encoding/hex"
	"errors"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sluiceflow/sluice/services/internal/fault"
)

// ClaimLease is how long others wait for the holder of a claim. It is longer
// than a publish can take.
const ClaimLease = 5 * time.Second

// ErrContested says that an outcome is stored, but that another one of its token
// may be too: which of them counts is known once the engine has decided.
var ErrContested = errors.New("another outcome of the token may be stored")

// An Answer says what is to be done with an outcome.
type Answer string

// The answers.
const (
	Claimed   Answer = "claimed"   // store it, then Accept
	Contested Answer = "contested" // store it, so that the engine decides; it is not accepted until then
	Replayed  Answer = "replayed"  // it was accepted before
	Again     Answer = "again"     // it was accepted of an earlier attempt, and the engine asks for it once more: store it again
	Refused   Answer = "refused"   // another outcome stands
	Gone      Answer = "gone"      // no outcome of the token, or of this attempt, counts any more
	Busy      Answer = "busy"      // another outcome is being stored at this moment
)

// Outcome is what a webhook brought.
type Outcome struct {
	TokenHash    string
	Digest       []byte // of the payload
	Success      bool
	NotCompleted bool
	Attempt      uint32 // from 1
	// Server names the NATS server of now, where it may lose what it
	// acknowledged: what was accepted under another one then counts as open. Empty
	// means that what was accepted stands.
	Server string
}

func (o *Outcome) kind() string {
	switch {
	case o.Success:
		return "s"
	case o.NotCompleted:
		return "n"
	default:
		return "f"
	}
}

// Claim is the right to store an outcome.
type Claim struct{ outcome Outcome }

//nolint:gochecknoglobals // scripts are constants
var (
	//go:embed script/begin.lua
	beginSource string
	//go:embed script/accept.lua
	acceptSource string
	//go:embed script/mark.lua
	markSource string

	beginScript  = redis.NewScript(beginSource)
	acceptScript = redis.NewScript(acceptSource)
	markScript   = redis.NewScript(markSource)
)

// Begin says what is to be done with an outcome, and claims its token where it
// is to be stored. It returns an error of kind [fault.Unavailable] when Redis
// does not answer.
func (x *Index) Begin(ctx context.Context, o Outcome) (Answer, Claim, error) {
	said, err := x.run(ctx, beginScript, &o, ClaimLease.Milliseconds())
	if err != nil {
		return "", Claim{}, fault.New(fault.Unavailable, "tokenindex.Begin", err)
	}
	return Answer(said), Claim{outcome: o}, nil
}

// Accept records that a claimed outcome was stored, by the NATS server storedOn.
// It returns [ErrContested] when another outcome may stand, and an error of kind
// [fault.Unavailable] when Redis does not answer.
func (x *Index) Accept(ctx context.Context, c Claim, storedOn string) error {
	said, err := x.run(ctx, acceptScript, &c.outcome, storedOn)
	if err != nil {
		return fault.New(fault.Unavailable, "tokenindex.Accept", err)
	}
	if said != "ok" {
		return ErrContested
	}
	return nil
}

func (x *Index) run(ctx context.Context, script *redis.Script, o *Outcome, last any) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, x.timeout)
	defer cancel()
	return x.eval(ctx, script, o.TokenHash,
		hex.EncodeToString(o.Digest), o.kind(), strconv.FormatUint(uint64(o.Attempt), 10), o.Server, x.ttl, last)
}
