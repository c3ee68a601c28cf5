package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluiceflow/sluice/services/cmd/sluice/internal/serve"
	"github.com/sluiceflow/sluice/services/internal/bus"
	"github.com/sluiceflow/sluice/services/internal/conf"
	"github.com/sluiceflow/sluice/services/internal/keys"
	"github.com/sluiceflow/sluice/services/internal/telemetry"
	"github.com/sluiceflow/sluice/services/internal/tokenindex"
	"github.com/sluiceflow/sluice/services/internal/verify"
	"github.com/sluiceflow/sluice/services/internal/verify/check"
)

const (
	exitFindings = 1
	exitNoLook   = 2
	// connectTimeout is how long NATS and the keys may take to be there.
	connectTimeout = 15 * time.Second
	// progressEvery is how often people are told how far it is.
	progressEvery = 2 * time.Second
)

// exitError ends the program with another code than 1.
type exitError struct {
	error

	code int
}

// Unwrap returns what went wrong.
func (e *exitError) Unwrap() error { return e.error }

type verifyConfig struct {
	Telemetry telemetry.Config
	Bus       bus.Config
	Keys      serve.Keys

	// RedisURL has no default here: who has no Redis has nothing to look at.
	RedisURL string `env:"REDIS_URL" secret:"true" help:"Redis that holds the token index; it is not looked at where this is empty"`
	RedisCA  string `env:"REDIS_CA" help:"file with the certificates that Redis's own is checked against; empty means the system's"`
}

func verifyCommand(w world) *cobra.Command {
	cfg := new(verifyConfig)
	settings := conf.New(cfg, map[string]string{"LOG_LEVEL": "warn"}).Without("OTEL_EXPORTER_OTLP_ENDPOINT", "NATS_MONITOR_URL", "STREAM_REPLICAS", "COMMANDS_MAX_BYTES", "FLOWS_MAX_BYTES", "INVOCATIONS_MAX_BYTES", "DEAD_MAX_BYTES")
	asJSON := false
	cmd := &cobra.Command{
		Use: "verify", Short: "Look for damage in the whole store", Args: cobra.NoArgs,
		Long: "Walks all histories and what belongs to them, and reports every gap, break and orphan.\n" +
			"It changes nothing and may run beside everything else. With REDIS_URL it also looks whether what\n" +
			"Redis remembers as accepted is stored.\n\n" +
			"Exit code 0: nothing found. 1: findings. 2: it could not look at everything.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := settings.Load(w.lookup); err != nil {
				return &exitError{err, exitNoLook}
			}
			out := textWriter(w.stdout)
			if asJSON {
				out = jsonWriter(w.stdout)
			}
			summary, err := runVerify(cmd.Context(), *cfg, out, w.stderr)
			if err == nil {
				err = out.end(summary)
			}
			switch {
			case err != nil:
				return &exitError{err, exitNoLook}
			case summary.Findings > 0:
				return &exitError{fmt.Errorf("%d findings", summary.Findings), exitFindings}
			}
			return nil
		},
	}
	settings.Bind(cmd.Flags())
	cmd.Flags().BoolVar(&asJSON, "json", false, "write a JSON object a line: findings, then a summary")
	return cmd
}

// runVerify walks the store that the settings name.
func runVerify(ctx context.Context, cfg verifyConfig, out findingWriter, stderr io.Writer) (_ verify.Summary, err error) {
	log := telemetry.Logger(cfg.Telemetry, stderr)
	connect, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	b, err := bus.Connect(connect, cfg.Bus, "sluice-verify", log)
	if err != nil {
		return verify.Summary{}, err
	}
	defer b.Close()
	options := verify.Options{Bus: b, Report: out.finding, Progress: tellProgress(stderr)}
	if cfg.RedisURL != "" {
		// Where the streams are missing there are no keys to wait for.
		if err := b.Expect(connect); err != nil {
			return verify.Summary{}, err
		}
		index, ring, err := openTokens(connect, b, cfg, log)
		if err != nil {
			return verify.Summary{}, err
		}
		defer func() { err = errors.Join(err, index.Close()) }()
		options.Index, options.Mint = index, ring.Ring().Mint
	}
	return verify.Run(ctx, options)
}

func openTokens(ctx context.Context, b *bus.Bus, cfg verifyConfig, log *slog.Logger) (*tokenindex.Index, *keys.Keys, error) {
	index, err := tokenindex.Open(tokenindex.Config{URL: cfg.RedisURL, CA: cfg.RedisCA, RecordTTL: time.Hour}, cfg.Bus.Namespace)
	if err != nil {
		return nil, nil, err
	}
	err = index.Ping(ctx)
	if err == nil {
		var ring *keys.Keys
		if ring, err = keys.Open(ctx, b, cfg.Keys.Text, false, log); err == nil {
			return index, ring, nil
		}
	}
	return nil, nil, errors.Join(err, index.Close())
}

// tellProgress writes a line now and then.
func tellProgress(out io.Writer) func(verify.Progress) {
	last := time.Now()
	return func(p verify.Progress) {
		if time.Since(last) < progressEvery {
			return
		}
		last = time.Now()
		fmt.Fprintf(out, "%s: pass %d of %d, sequence %d of %d; %d flows, %d commits, %d findings so far\n",
			p.Stream, p.Pass, p.Passes, p.Sequence, p.Last, p.Summary.Flows, p.Summary.Commits, p.Summary.Findings)
	}
}

// findingWriter writes findings as they come, and a summary at the end.
type findingWriter struct {
	finding func(check.Finding) error
	end     func(verify.Summary) error
}

// findingLine and summaryLine are what a line of JSON may be.
type findingLine struct {
	check.Finding

	Type string `json:"type"`
}

type summaryLine struct {
	verify.Summary

	Type string `json:"type"`
}

func jsonWriter(out io.Writer) findingWriter {
	encoder := json.NewEncoder(out)
	return findingWriter{
		finding: func(f check.Finding) error {
			return encoder.Encode(findingLine{f, "finding"})
		},
		end: func(s verify.Summary) error {
			return encoder.Encode(summaryLine{s, "summary"})
		},
	}
}

func textWriter(out io.Writer) findingWriter {
	return findingWriter{
		finding: func(f check.Finding) error {
			parts := []string{string(f.Kind) + ":", f.Stream}
			if f.Sequence > 0 {
				parts = append(parts, fmt.Sprintf("sequence %d", f.Sequence))
			}
			if f.FlowID != "" {
				parts = append(parts, fmt.Sprintf("flow %q", f.FlowID))
			}
			if f.Revision > 0 {
				parts = append(parts, fmt.Sprintf("revision %d", f.Revision))
			}
			if f.StepID != "" {
				parts = append(parts, fmt.Sprintf("step %q item %d", f.StepID, f.Item))
			}
			_, err := fmt.Fprintf(out, "%s: %s\n", strings.Join(parts, " "), f.Detail)
			return err
		},
		end: func(s verify.Summary) error {
			_, err := fmt.Fprintf(out, "%d flows with %d commits, %d commands, %d timers, %d invocations, %d tokens: %d findings\n",
				s.Flows, s.Commits, s.Commands, s.Timers, s.Invocations, s.Tokens, s.Findings)
			return err
		},
	}
}
