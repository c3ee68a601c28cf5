package console

import (
	"encoding/json"
	"net/http"
	"unicode/utf8"

	"github.com/labstack/echo/v4"

	"github.com/sluiceflow/sluice/pkg/step"
	"github.com/sluiceflow/sluice/pkg/subject"
	sluicev1 "github.com/sluiceflow/sluice/proto/sluice/v1"
	"github.com/sluiceflow/sluice/services/internal/flow"
)

// messageTTL is how long a message is kept that does not say, in milliseconds.
const messageTTL = int64(24 * 3600 * 1000)

// maxMessageName is how many characters the name of a message may have.
const maxMessageName = 128

// maxKey is how many bytes of JSON a message's key may have.
const maxKey = 4096

type messageRequest struct {
	Name    string                     `json:"name"`
	Key     json.RawMessage            `json:"key"`
	Outputs map[string]json.RawMessage `json:"outputs"`
	ID      string                     `json:"id"`
	TTL     *int64                     `json:"ttl_ms"`
}

// postMessage gives a message to whoever waits for it, now or later. The answer
// comes when it is stored.
func (c *Console) postMessage(ec echo.Context) error {
	if err := onlyQuery(ec); err != nil {
		return err
	}
	var r messageRequest
	if err := c.decode(ec, &r); err != nil {
		return err
	}
	digest, err := r.check()
	if err != nil {
		return err
	}
	if err := c.bus.Full(); err != nil {
		return err
	}
	post := &sluicev1.PostMessage{Name: r.Name, Key: r.Key, Outputs: make(map[string][]byte, len(r.Outputs)), Id: r.ID, TtlMs: messageTTL}
	for name, value := range r.Outputs {
		post.Outputs[name] = value
	}
	if r.TTL != nil && *r.TTL != 0 {
		post.TtlMs = *r.TTL
	}
	reply, err := c.ask(ec, &sluicev1.Command{
		FlowId: flow.MailboxID(r.Name, digest), Kind: &sluicev1.Command_PostMessage{PostMessage: post},
	})
	if err != nil {
		return err
	}
	message := "the message is stored"
	if reply.GetCode() == sluicev1.ReplyCode_REPLY_CODE_REPEATED {
		message = "the message was stored before"
	}
	return answer(ec, http.StatusAccepted, map[string]string{"message": message})
}

// check returns the digest of the key, or what is wrong with the request.
func (r *messageRequest) check() ([]byte, error) {
	if n := utf8.RuneCountInString(r.Name); n < 1 || n > maxMessageName {
		return nil, wrong("name", "has 1 to %d characters", maxMessageName)
	}
	if len(r.Key) == 0 {
		r.Key = json.RawMessage("null")
	}
	if len(r.Key) > maxKey {
		return nil, wrong("key", "has at most %d bytes", maxKey)
	}
	digest, err := step.CanonicalDigest(r.Key)
	if err != nil {
		return nil, wrong("key", "%s", err)
	}
	if r.ID != "" {
		if err := subject.CheckID(r.ID); err != nil {
			return nil, wrong("id", "%s", err)
		}
	}
	if r.TTL != nil && (*r.TTL < 0 || *r.TTL > maxTimeoutMS) {
		return nil, wrong("ttl_ms", "must be a whole number from %d to %d", 0, maxTimeoutMS)
	}
	return digest, nil
}
