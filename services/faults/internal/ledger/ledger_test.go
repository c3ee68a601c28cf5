package ledger_test

import (
	"encoding/json"
	"sync"
	"testing"

	"github.com/sluiceflow/sluice/services/faults/internal/ledger"
)

func TestEqualOutcomesHaveEqualDigests(t *testing.T) {
	t.Parallel()
	outcome := func(text string) ledger.Outcome {
		var outputs map[string]json.RawMessage
		if err := json.Unmarshal([]byte(text), &outputs); err != nil {
			t.Fatal(err)
		}
		return ledger.Outcome{Kind: ledger.Success, Outputs: outputs}
	}
	base := outcome(`{"a":{"x":1,"y":[1.50,"1"]},"b":12345678901234567890.1}`)
	for _, same := range []string{
		`{"b":12345678901234567890.10,"a":{"y":[15e-1,"1"],"x":1.0}}`,
		` { "a" : {"x":1,"y":[1.5,"\u0031"]} , "b":1234567890123456789010e-2}`,
	} {
		if got := outcome(same); got.Digest() != base.Digest() {
			t.Errorf("%s is not equal: %s", same, got.Digest())
		}
	}
	for _, other := range []string{
		`{"a":{"x":1,"y":[1.50,1]},"b":12345678901234567890.1}`,
		`{"a":{"x":1,"y":[1.50,"1"]},"b":12345678901234567890.2}`,
		`{"a":{"x":1,"y":["1",1.50]},"b":12345678901234567890.1}`,
		`{"a":{"x":{"number":"1"},"y":["1",1.50]},"b":12345678901234567890.1}`,
	} {
		if got := outcome(other); got.Digest() == base.Digest() {
			t.Errorf("%s is equal", other)
		}
	}
	if (ledger.Outcome{Kind: ledger.Failure, Error: "x"}).Digest() == (ledger.Outcome{Kind: ledger.NotCompleted, Error: "x"}).Digest() {
		t.Error("kinds are not told apart")
	}
}

func TestLedgerTakesEntriesAtOnce(t *testing.T) {
	t.Parallel()
	var l ledger.Ledger
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() {
			l.Post(ledger.Post{Status: 200})
			l.Call(ledger.Call{})
			l.Start(ledger.Start{})
		})
	}
	all.Wait()
	book := l.Book()
	if len(book.Posts) != 100 || len(book.Calls) != 100 || len(book.Starts) != 100 {
		t.Errorf("%d posts, %d calls, %d starts", len(book.Posts), len(book.Calls), len(book.Starts))
	}
	l.Post(ledger.Post{Status: 404})
	if len(book.Posts) != 100 || !book.Posts[0].OK() || book.Posts[0].Refused() {
		t.Error("a copy changes")
	}
}
