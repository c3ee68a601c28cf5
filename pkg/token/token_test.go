package token_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/sluiceflow/sluice/pkg/token"
)

func secret(b byte) []byte { return bytes.Repeat([]byte{b}, token.MinSecretBytes) }

func ring(tb testing.TB, keys ...token.Key) *token.Ring {
	tb.Helper()
	r, err := token.NewRing(keys...)
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

// Tokens that are out there must stay valid: this one was made by the first
// release and is never edited.
func TestGoldenToken(t *testing.T) {
	t.Parallel()
	const golden = "UOJZMe1Te9OZp7cfPw_KVwEH_u36zsr-vu8AAAADAAAAAg"
	r := ring(t, token.Key{ID: 7, Secret: secret(1)})
	want := token.Claims{FlowID: "order-1", StepID: "charge", Run: 0xfeedfacecafebeef, Item: 2, Generation: 3}
	if got := r.Mint(want); got != golden {
		t.Errorf("minted %s, want %s", got, golden)
	}
	got, err := r.Verify("order-1", "charge", golden)
	if err != nil || got != want {
		t.Errorf("claims %+v (%v), want %+v", got, err, want)
	}
}

func TestForgedTokensAreRefused(t *testing.T) {
	t.Parallel()
	r := ring(t, token.Key{ID: 1, Secret: secret(1)})
	good := r.Mint(token.Claims{FlowID: "f", StepID: "s", Run: 1})
	foreign := ring(t, token.Key{ID: 1, Secret: secret(2)}).Mint(token.Claims{FlowID: "f", StepID: "s", Run: 1})
	unknown := ring(t, token.Key{ID: 2, Secret: secret(1)}).Mint(token.Claims{FlowID: "f", StepID: "s", Run: 1})
	for name, tt := range map[string]struct{ flow, step, tok string }{
		"another flow":             {"g", "s", good},
		"another step":             {"f", "t", good},
		"ids that share bytes":     {"fs", "", good},
		"another secret":           {"f", "s", foreign},
		"an unknown key":           {"f", "s", unknown},
		"empty":                    {"f", "s", ""},
		"cut":                      {"f", "s", good[:len(good)-1]},
		"longer":                   {"f", "s", good + "A"},
		"padded":                   {"f", "s", good + "=="},
		"another alphabet":         {"f", "s", strings.Repeat("+", len(good))},
		"a line break inside":      {"f", "s", good[:20] + "\n" + good[21:]},
		"line breaks alone":        {"f", "s", strings.Repeat("\n", len(good))},
		"mostly line breaks":       {"f", "s", good[:22] + strings.Repeat("\r\n", 12)},
		"all zeros":                {"f", "s", strings.Repeat("A", len(good))},
		"its prefix, then nothing": {"f", "s", token.Prefix(good)},
	} {
		if _, err := r.Verify(tt.flow, tt.step, tt.tok); !errors.Is(err, token.ErrInvalid) {
			t.Errorf("%s: %v, want it refused", name, err)
		}
	}
}

// One spelling only: whatever is changed in a token, it is refused, the unused
// bits of its last character included.
func TestEveryCharacterCounts(t *testing.T) {
	t.Parallel()
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	r := ring(t, token.Key{ID: 1, Secret: secret(1)})
	good := r.Mint(token.Claims{FlowID: "f", StepID: "s", Run: 1, Item: 3})
	for i := range good {
		for _, c := range alphabet {
			other := good[:i] + string(c) + good[i+1:]
			if _, err := r.Verify("f", "s", other); (err == nil) != (other == good) {
				t.Fatalf("character %d as %c: error %v", i, c, err)
			}
		}
	}
}

func TestKeysRotateWithoutBreakingOpenTokens(t *testing.T) {
	t.Parallel()
	before := ring(t, token.Key{ID: 1, Secret: secret(1)})
	after := ring(t, token.Key{ID: 2, Secret: secret(2)}, token.Key{ID: 1, Secret: secret(1)})
	claims := token.Claims{FlowID: "f", StepID: "s", Run: 9}
	for name, tok := range map[string]string{"old": before.Mint(claims), "new": after.Mint(claims)} {
		if got, err := after.Verify("f", "s", tok); err != nil || got != claims {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	if got, want := after.MintAll(claims), []string{before.Mint(claims), after.Mint(claims)}; !slices.Equal(got, want) {
		t.Errorf("all tokens are %v, want %v", got, want)
	}
	if _, err := before.Verify("f", "s", after.Mint(claims)); err == nil {
		t.Error("the old ring takes a token of the new key")
	}
}

func TestAnyClaimsComeBack(t *testing.T) {
	t.Parallel()
	r := ring(t, token.Key{ID: 1, Secret: secret(1)})
	rapid.Check(t, func(t *rapid.T) {
		c := token.Claims{
			FlowID: rapid.String().Draw(t, "flow"), StepID: rapid.String().Draw(t, "step"),
			Run: rapid.Uint64().Draw(t, "run"), Item: rapid.Uint32().Draw(t, "item"),
			Generation: rapid.Uint32().Draw(t, "generation"),
		}
		tok := r.Mint(c)
		got, err := r.Verify(c.FlowID, c.StepID, tok)
		if err != nil || got != c || len(tok) != token.Length {
			t.Fatalf("%+v became %+v (%v)", c, got, err)
		}
	})
}

func TestParseRing(t *testing.T) {
	t.Parallel()
	one, two := base64.StdEncoding.EncodeToString(secret(1)), base64.StdEncoding.EncodeToString(secret(2))
	r, err := token.ParseRing("2:" + two + ", 1:" + one)
	if err != nil {
		t.Fatal(err)
	}
	claims := token.Claims{FlowID: "f", StepID: "s"}
	if _, err := ring(t, token.Key{ID: 2, Secret: secret(2)}).Verify("f", "s", r.Mint(claims)); err != nil {
		t.Errorf("the first key does not sign: %v", err)
	}
	for name, text := range map[string]string{
		"empty":        "",
		"no id":        one,
		"a large id":   "256:" + one,
		"not base64":   "1:***" + one,
		"short":        "1:c2hvcnQ=",
		"an id twice":  "1:" + one + ",1:" + two,
		"a stray part": "1:" + one + ",",
	} {
		_, err := token.ParseRing(text)
		if err == nil {
			t.Errorf("%s: accepted", name)
		} else if strings.Contains(err.Error(), one) {
			t.Errorf("%s: the error shows the secret", name)
		}
	}
}

func TestHashAndPrefix(t *testing.T) {
	t.Parallel()
	if got := token.Prefix("abcdefghij"); got != "abcdefgh" {
		t.Errorf("prefix %q", got)
	}
	if got := token.Prefix("abc"); got != "abc" {
		t.Errorf("prefix of a short text %q", got)
	}
	if a, b := token.Hash("a"), token.Hash("b"); a == b || len(a) != 32 {
		t.Errorf("hashes %q, %q", a, b)
	}
}

func FuzzVerify(f *testing.F) {
	r := ring(f, token.Key{ID: 1, Secret: secret(1)})
	f.Add("f", "s", r.Mint(token.Claims{FlowID: "f", StepID: "s"}))
	f.Add("f", "s", "")
	f.Fuzz(func(t *testing.T, flowID, stepID, tok string) {
		c, err := r.Verify(flowID, stepID, tok)
		if err == nil && r.Mint(c) != tok {
			t.Errorf("%q is a second spelling of %q", tok, r.Mint(c))
		}
	})
}
