package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/sluiceflow/sluice/pkg/event"
)

// maxCallback bounds what a callback may hold.
const maxCallback = 16 << 20

// ErrSignature means that a callback is not signed, or not with that secret, or
// that it was sent more than five minutes ago: somebody else may have sent it.
var ErrSignature = errors.New("the callback's signature is wrong")

// ReadCallback reads the request that a callback_url gets. With the flow's
// callback_secret it lets nobody else's pass; an empty secret checks nothing.
// The same ending may be told more than once, with the same webhook-id header.
func ReadCallback(r *http.Request, secret string) (event.Callback, error) {
	var out event.Callback
	body, err := io.ReadAll(io.LimitReader(r.Body, maxCallback+1))
	switch {
	case err != nil:
		return out, fmt.Errorf("read the callback: %w", err)
	case len(body) > maxCallback:
		return out, fmt.Errorf("the callback is over %d bytes", maxCallback)
	}
	if secret != "" {
		verify, err := standardwebhooks.NewWebhook(secret)
		if err != nil {
			return out, fmt.Errorf("callback secret: it must be base64, after whsec_: %w", err)
		}
		if err := verify.Verify(body, r.Header); err != nil {
			return out, fmt.Errorf("%w: %w", ErrSignature, err)
		}
	}
	if err := json.Unmarshal(body, &out); err != nil {
		return out, fmt.Errorf("read the callback: %w", err)
	}
	return out, nil
}
