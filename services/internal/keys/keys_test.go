package keys_test

import (
	"context"
	"encoding/base64"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluiceflow/sluice/pkg/token"
	"github.com/sluiceflow/sluice/services/internal/bus"
	"github.com/sluiceflow/sluice/services/internal/fault"
	"github.com/sluiceflow/sluice/services/internal/keys"
	"github.com/sluiceflow/sluice/services/internal/testkit"
)

func open(ctx context.Context, b *bus.Bus, text string, create bool) (*keys.Keys, error) {
	return keys.Open(ctx, b, text, create, slog.New(slog.DiscardHandler))
}

// Engines that start together end up with one key.
func TestTheFirstEngineMakesTheKey(t *testing.T) {
	t.Parallel()
	b := testkit.Bus(t)
	claims := token.Claims{FlowID: "f", StepID: "s"}
	var wg sync.WaitGroup
	tokens := make([]string, 4)
	for i := range tokens {
		wg.Go(func() {
			k, err := open(t.Context(), b, "", true)
			if err != nil {
				t.Error(err)
				return
			}
			tokens[i] = k.Ring().Mint(claims)
		})
	}
	wg.Wait()
	k, err := open(t.Context(), b, "", false)
	if err != nil {
		t.Fatal(err)
	}
	for _, tok := range tokens {
		if tok != k.Ring().Mint(claims) {
			t.Errorf("token %s is of another key", token.Prefix(tok))
		}
	}
}

func TestTheGatewayWaitsForAKey(t *testing.T) {
	t.Parallel()
	b := testkit.Bus(t)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := open(ctx, b, "", false); fault.KindOf(err) != fault.Unavailable {
		t.Errorf("without an engine: %v", err)
	}
}

func TestKeysRotate(t *testing.T) {
	t.Parallel()
	b := testkit.Bus(t)
	k, err := open(t.Context(), b, "", true)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- k.Run(ctx) }()
	claims := token.Claims{FlowID: "f", StepID: "s"}
	old := k.Ring().Mint(claims)
	kv, err := b.JS.KeyValue(ctx, b.Space.Name(bus.BucketKeys))
	if err != nil {
		t.Fatal(err)
	}
	entry, err := kv.Get(ctx, "ring")
	if err != nil {
		t.Fatal(err)
	}
	fresh := "2:" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat("k", 32)))
	testkit.Eventually(t, 10*time.Second, func() bool { // the watch may not have begun yet
		_, err := kv.PutString(ctx, "ring", fresh+","+string(entry.Value()))
		return err == nil && k.Ring().Mint(claims) != old
	})
	if _, err := k.Ring().Verify("f", "s", old); err != nil {
		t.Errorf("an open token broke: %v", err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestKeysOfTheConfiguration(t *testing.T) {
	t.Parallel()
	if _, err := open(t.Context(), nil, "1:nonsense", false); fault.KindOf(err) != fault.Invalid || !strings.Contains(err.Error(), "TOKEN_KEYS") {
		t.Errorf("error %v", err)
	}
	text := "1:" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat("k", 32)))
	k, err := open(t.Context(), nil, text, false)
	if err != nil || k.Ring() == nil {
		t.Errorf("keys %v, %v", k, err)
	}
}

// Consoles share the keys of links, and these are no keys of tokens.
func TestConsolesShareTheKeysOfLinks(t *testing.T) {
	t.Parallel()
	b := testkit.Bus(t)
	if _, err := open(t.Context(), b, "", true); err != nil {
		t.Fatal(err)
	}
	claims := token.Claims{FlowID: "f", StepID: "approve/1/s"}
	var made []string
	for range 2 {
		k, err := keys.OpenLinks(t.Context(), b, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		made = append(made, k.Ring().Mint(claims))
	}
	tokens, err := open(t.Context(), b, "", false)
	if err != nil {
		t.Fatal(err)
	}
	if made[0] != made[1] || made[0] == tokens.Ring().Mint(claims) {
		t.Error("the consoles do not share a key of their own")
	}
}
