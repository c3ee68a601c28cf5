package console

import "github.com/sluiceflow/sluice/pkg/step"

// maxCallbackURL is the longest callback_url.
const maxCallbackURL = 2048

// checkCallback refuses what nobody could be told by. Which addresses may be
// called the dispatcher decides when it dials, as for the endpoints of steps.
func checkCallback(url, secret string) error {
	if url == "" {
		if secret != "" {
			return wrong("callback_secret", "signs callbacks, and there is no callback_url")
		}
		return nil
	}
	if len(url) > maxCallbackURL {
		return wrong("callback_url", "must have at most %d characters", maxCallbackURL)
	}
	if err := step.CheckURL(url); err != nil {
		return wrong("callback_url", "%s", err)
	}
	if secret == "" {
		return nil
	}
	if err := step.CheckSecret(secret); err != nil {
		return wrong("callback_secret", "%s", err)
	}
	return nil
}
