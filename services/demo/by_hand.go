package demo

import (
	"encoding/json"
	"fmt"
	"strings"
)

const (
	devURL    = "http://127.0.0.1:8080"
	workerURL = "http://127.0.0.1:9000/"
)

// byHand prints the commands that do what the demo did: against this Sluice and
// worker where they go on, else against ones to start first.
func (d *demo) byHand(id string) error {
	base, endpoint := d.cfg.BaseURL, d.endpoint
	d.say("\nThe same by hand:\n\n")
	if !d.cfg.KeepGoing {
		base, endpoint = devURL, workerURL
		d.say("  bin/sluice dev &\n  bin/sluice worker-example &\n\n")
	}
	base = strings.TrimSuffix(base, "/") + "/engine"
	for _, definition := range steps(endpoint) {
		if err := d.post(base+"/step", definition); err != nil {
			return err
		}
	}
	again := id + "-again"
	if err := d.post(base+"/flow", order(again)); err != nil {
		return err
	}
	d.say("  curl -s '%s/flow/%s'\n  curl -s '%s/flow/%s/events'\n\n", base, again, base, again)
	d.say("An async step's worker completes it so, with the webhook_url of its invocation:\n\n")
	d.say("  curl -X POST \"$webhook_url\" -H 'Content-Type: application/json' -d '{\"success\":true,\"outputs\":{\"reservation\":\"2 x teapot\"}}'\n\n")
	return nil
}

func (d *demo) post(url string, body any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("write a command: %w", err)
	}
	d.say("  curl -X POST '%s' -H 'Content-Type: application/json' -d %s\n", url, quote(string(text)))
	return nil
}

// quote writes a text as one word of a POSIX shell.
func quote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }
