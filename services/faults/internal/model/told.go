package model

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"net/http"
	"strconv"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/sluiceflow/sluice/pkg/event"
)

// tellAgain is the pause before an end that nobody took is told again.
const tellAgain = 50 * time.Millisecond

// tell tells an end to who asked for that, until it is taken.
func (f *flow) tell(how event.Event) {
	if f.callback == "" || f.e.breaks(CallbackLost, f.state.ID) {
		return
	}
	said := event.Callback{
		Type: how.Type, FlowID: f.state.ID, Outputs: how.Result, Error: how.Error + how.Reason, CompletedAt: how.Time,
		Status: map[event.Type]string{event.FlowCompleted: "completed", event.FlowFailed: "failed", event.FlowCanceled: "canceled"}[how.Type],
	}
	if f.e.breaks(CallbackStatus, f.state.ID) {
		said.Status = "ended"
	}
	body, err := json.Marshal(said)
	if err != nil {
		return
	}
	header, err := f.signed(body)
	if err != nil {
		return
	}
	f.e.jobs.Go(func() {
		for f.e.life.Err() == nil {
			if status, _ := f.e.post(f.e.life, f.callback, body, header); status >= 200 && status < 300 {
				return
			}
			time.Sleep(tellAgain)
		}
	})
}

func (f *flow) signed(body []byte) (http.Header, error) {
	h := fnv.New64a()
	_, _ = h.Write(body) // never fails
	id, now := fmt.Sprintf("msg_%x", h.Sum64()), time.Now()
	hook, err := standardwebhooks.NewWebhook(f.secret)
	if err != nil {
		return nil, err //nolint:wrapcheck // the load's secret is good
	}
	signature, err := hook.Sign(id, now, body)
	if err != nil {
		return nil, err //nolint:wrapcheck // as above
	}
	if f.e.breaks(CallbackUnsigned, f.state.ID) {
		signature = ""
	}
	header := http.Header{}
	header.Set("Webhook-Id", id)
	header.Set("Webhook-Timestamp", strconv.FormatInt(now.Unix(), 10))
	header.Set("Webhook-Signature", signature)
	return header, nil
}
