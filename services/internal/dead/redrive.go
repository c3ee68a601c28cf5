package dead

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/bus"
	"github.com/sluiceflow/sluice/services/internal/fault"
)

const (
	// redriveTimeout bounds one redrive. It is shorter than askTimeout, so that
	// who asked hears of it.
	redriveTimeout = 4 * time.Second
	askTimeout     = 5 * time.Second
	// queue is the group of engines of which one redrives.
	queue = "engines"
)

// Redrive publishes the original of a letter again, on its own subject, and
// deletes the letter once the stream has it. It returns an error of kind
// [fault.NotFound] where there is no such letter, and of kind [fault.Conflict]
// where there is nothing that could be published.
//
// Who dies in between leaves a letter whose original is stored again. A second
// redrive is harmless: within the stream's duplicate window the server drops it
// by its id; later the receiver knows it, or does no more than for a message
// that is delivered twice. A completion whose payload was applied is known by
// its digest, a start by its request, a report by its attempt, a retirement by
// the ending; canceling what is canceled changes nothing; a call may be made
// twice, with the same token and attempt.
func (l Letters) Redrive(ctx context.Context, id uint64) error {
	ctx, cancel := context.WithTimeout(ctx, redriveTimeout)
	defer cancel()
	letter, err := l.Get(ctx, id)
	if err != nil {
		return err
	}
	if err := l.redrivable(letter); err != nil {
		return err
	}
	if err := l.bus.Publish(ctx, again(letter)); err != nil {
		return err
	}
	if err := l.Drop(ctx, id); fault.KindOf(err) != fault.NotFound {
		return err
	}
	return nil // somebody else redrove or dropped it meanwhile
}

// redrivable returns an error of kind [fault.Conflict] for what can only be
// dropped. What it was must agree with its subject: nobody gets a message of
// another role into a stream by way of a letter.
func (l Letters) redrivable(letter Stored) error {
	refuse := func(reason string) error { return fault.New(fault.Conflict, "dead.Redrive", errors.New(reason)) }
	if letter.Unreadable {
		return refuse("this is no dead letter: it can only be dropped")
	}
	if letter.GetCutFrom() > 0 {
		return refuse("the original was too large to be kept whole: it can only be dropped")
	}
	var err error
	switch letter.GetWhat() {
	case Command:
		_, _, _, err = l.bus.Space.ParseCommand(letter.GetSubject())
	case Invocation:
		_, _, _, err = l.bus.Space.ParseInvoke(letter.GetSubject())
	case Wake:
		_, _, err = l.bus.Space.ParseWake(letter.GetSubject())
	default:
		return refuse("this release does not know what it was")
	}
	if err != nil {
		return refuse("its subject is of no use: " + err.Error())
	}
	return nil
}

// again makes the original's message once more, without the headers by which
// the server would refuse or drop it, and with the time of its first storing.
func again(letter Stored) *nats.Msg {
	msg := &nats.Msg{Subject: letter.GetSubject(), Data: letter.GetData(), Header: nats.Header{}}
	for name, value := range letter.GetHeaders() {
		if !strings.HasPrefix(strings.ToLower(name), "nats-") {
			msg.Header[name] = []string{value}
		}
	}
	redrives := strconv.FormatUint(uint64(letter.GetRedrives())+1, 10)
	msg.Header[bus.HeaderFirstStored] = []string{strconv.FormatInt(letter.GetStoredNs(), 10)}
	msg.Header[bus.HeaderRedrives] = []string{redrives}
	msg.Header[jetstream.MsgIDHeader] = []string{
		"redrive/" + strconv.FormatUint(letter.ID, 10) + "/" + strconv.FormatInt(letter.GetDeadNs(), 36) + "/" + redrives,
	}
	return msg
}

// Serve redrives letters for who asks by [Letters.Ask], until ctx ends.
func (l Letters) Serve(ctx context.Context, log *slog.Logger) error {
	sub, err := l.bus.NC.QueueSubscribeSync(l.bus.Space.Redrive(), queue)
	if err != nil {
		return fault.New(fault.Unavailable, "dead.Serve", err)
	}
	defer func() { _ = sub.Unsubscribe() }() // fails where the connection has ended, and so has it
	for {
		msg, err := sub.NextMsgWithContext(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			log.WarnContext(ctx, "requests to redrive cannot be read", slog.Any("error", err))
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
			continue
		}
		l.serve(ctx, log, msg)
	}
}

// serve answers one request.
func (l Letters) serve(ctx context.Context, log *slog.Logger, msg *nats.Msg) {
	request := &sluicev1.RedriveLetter{}
	err := proto.Unmarshal(msg.Data, request)
	if err == nil {
		err = l.Redrive(context.WithoutCancel(ctx), request.GetSequence())
	}
	result := slog.LevelInfo
	if err != nil {
		result = slog.LevelWarn
	}
	log.Log(ctx, result, "a dead letter was to be redriven", slog.Uint64("letter", request.GetSequence()),
		slog.String("by", request.GetBy()), slog.Any("error", err))
	data, err := proto.Marshal(replyTo(err))
	if err == nil {
		err = msg.Respond(data)
	}
	if err != nil {
		log.DebugContext(ctx, "a reply could not be sent", slog.Any("error", err))
	}
}

func replyTo(err error) *sluicev1.Reply {
	switch fault.KindOf(err) {
	case "":
		return &sluicev1.Reply{Code: sluicev1.ReplyCode_REPLY_CODE_OK}
	case fault.NotFound:
		return &sluicev1.Reply{Code: sluicev1.ReplyCode_REPLY_CODE_NOT_FOUND, Detail: textOf(err)}
	case fault.Conflict:
		return &sluicev1.Reply{Code: sluicev1.ReplyCode_REPLY_CODE_CONFLICT, Detail: textOf(err)}
	case fault.Internal, fault.Invalid, fault.Unavailable:
	}
	return &sluicev1.Reply{Detail: textOf(err)}
}

// textOf is an error's text without the name of the function.
func textOf(err error) string {
	if e, ok := errors.AsType[*fault.Error](err); ok && e.Err != nil {
		return e.Err.Error()
	}
	return err.Error()
}

// Ask has an engine redrive a letter: only engines may publish what other roles
// send. It returns what [Letters.Redrive] does, and an error of kind
// [fault.Unavailable] where no engine answered.
func (l Letters) Ask(ctx context.Context, id uint64, by string) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	data, err := proto.Marshal(&sluicev1.RedriveLetter{Sequence: id, By: by})
	if err != nil {
		return fault.New(fault.Internal, "dead.Ask", err)
	}
	msg, err := l.bus.NC.RequestWithContext(ctx, l.bus.Space.Redrive(), data)
	if err != nil {
		return fault.Newf(fault.Unavailable, "dead.Ask", "no engine answered: %w", err)
	}
	reply := &sluicev1.Reply{}
	if err := proto.Unmarshal(msg.Data, reply); err != nil {
		return fault.New(fault.Internal, "dead.Ask", err)
	}
	cause := errors.New(reply.GetDetail())
	switch reply.GetCode() {
	case sluicev1.ReplyCode_REPLY_CODE_OK:
		return nil
	case sluicev1.ReplyCode_REPLY_CODE_NOT_FOUND:
		return fault.New(fault.NotFound, "dead.Ask", cause)
	case sluicev1.ReplyCode_REPLY_CODE_CONFLICT:
		return fault.New(fault.Conflict, "dead.Ask", cause)
	case sluicev1.ReplyCode_REPLY_CODE_UNSPECIFIED, sluicev1.ReplyCode_REPLY_CODE_INVALID,
		sluicev1.ReplyCode_REPLY_CODE_UNKNOWN_STEP, sluicev1.ReplyCode_REPLY_CODE_REPEATED:
	}
	return fault.New(fault.Unavailable, "dead.Ask", cause)
}
