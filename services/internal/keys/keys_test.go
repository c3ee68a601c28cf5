package keys_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"log/slog"
	"strconv"
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

const soon = 30 * time.Second

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

// ringOf is the text of the keys in the bucket.
func ringOf(t *testing.T, b *bus.Bus) string {
	t.Helper()
	kv, err := b.JS.KeyValue(t.Context(), b.Space.Name(bus.BucketKeys))
	if err != nil {
		t.Fatal(err)
	}
	entry, err := kv.Get(t.Context(), "ring")
	if err != nil {
		t.Fatal(err)
	}
	return string(entry.Value())
}

// rotate puts a key in front of the others, as soon as NATS is there, and returns
// all of them.
func rotate(t *testing.T, b *bus.Bus, ring string, id int) string {
	t.Helper()
	ring = fmt.Sprintf("%d:%s,%s", id, base64.StdEncoding.EncodeToString([]byte(strings.Repeat(strconv.Itoa(id), 32))), ring)
	testkit.Eventually(t, soon, func() error {
		kv, err := b.JS.KeyValue(t.Context(), b.Space.Name(bus.BucketKeys))
		if err != nil {
			return err
		}
		_, err = kv.PutString(t.Context(), "ring", ring)
		return err
	})
	return ring
}

func TestKeysRotate(t *testing.T) {
	t.Parallel()
	n := testkit.NewNATS(t)
	b := testkit.ConnectBus(t, n.URL())
	k, err := open(t.Context(), b, "", true)
	if err != nil {
		t.Fatal(err)
	}
	claims := token.Claims{FlowID: "f", StepID: "s"}
	old := k.Ring().Mint(claims)
	ring := ringOf(t, b)
	// They change before they are followed, and NATS goes away while they are.
	ring = rotate(t, b, ring, 2)
	n.Stop()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- k.Run(ctx) }()
	n.Start()
	testkit.Eventually(t, soon, func() bool { return k.Ring().Mint(claims) != old })
	second := k.Ring().Mint(claims)
	n.Stop()
	n.Start()
	rotate(t, b, ring, 3)
	testkit.Eventually(t, soon, func() bool { return k.Ring().Mint(claims) != second })
	for _, open := range []string{old, second} {
		if _, err := k.Ring().Verify("f", "s", open); err != nil {
			t.Errorf("an open token broke: %v", err)
		}
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
