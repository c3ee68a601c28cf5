package load

import (
	"encoding/json"
	"math/rand/v2"
	"strconv"

	"github.com/sluiceflow/sluice/pkg/client"
	"github.com/sluiceflow/sluice/pkg/step"
	"github.com/sluiceflow/sluice/services/faults/internal/ledger"
)

// generous is the amount above which there is a gift.
const generous = 40

// The scripts of the load. Programs has what each of them computes.
const (
	priceScript = `{"price-out": "price " + string(int(amount) * 3 + 1)}`
	labelScript = `local from = inputs["price-out"]
return {["label-out"] = from .. ", " .. #from .. " letters", rest = {amount = inputs.amount}}`
	giftPredicate = `amount > 40`
)

// scriptKind has a script in CEL, one in Lua that needs the first, and a step whose
// predicate is false now and then.
func (l *Load) scriptKind() kind {
	gift := l.part("gift", step.KindSync, "order")
	gift.Attributes["amount"] = numbers()
	gift.Predicate = &step.Script{Language: "cel", Script: giftPredicate}
	gift.knows.Holds = func(in ledger.Values) bool { return Programs()[giftPredicate](in) != nil }
	invoice := l.part("invoice", step.KindAsync, "label-out")
	invoice.Attributes["gift-out"] = step.Attribute{Role: step.RoleOptional, Type: step.TypeString}
	label := scripted("label", "lua", labelScript)
	label.Attributes["price-out"] = step.Attribute{Role: step.RoleRequired, Type: step.TypeString}
	return kind{
		goal: "invoice", held: true, parts: []part{scripted("price", "cel", priceScript), label, gift, invoice},
		prepare: func(r *client.StartRequest, dice *rand.Rand) { r.Init["amount"] = dice.IntN(100) },
	}
}

func numbers() step.Attribute { return step.Attribute{Role: step.RoleRequired, Type: step.TypeNumber} }

func scripted(id, language, text string) part {
	return part{
		Definition: step.Definition{
			ID: id, Type: step.KindScript, Script: &step.Script{Language: language, Script: text},
			Attributes: map[string]step.Attribute{
				output(id): {Role: step.RoleOutput, Type: step.TypeString}, "amount": numbers(),
			},
		},
		knows: ledger.Step{Script: Programs()[text]},
	}
}

// Programs are what the scripts compute, by their texts; a predicate that does not
// hold gives nil.
func Programs() map[string]func(ledger.Values) ledger.Values {
	return map[string]func(ledger.Values) ledger.Values{
		priceScript: func(in ledger.Values) ledger.Values {
			return ledger.Values{"price-out": text("price " + strconv.Itoa(whole(in["amount"])*3+1))}
		},
		labelScript: func(in ledger.Values) ledger.Values {
			var from string
			_ = json.Unmarshal(in["price-out"], &from) // what is wrong with it is seen by what follows
			return ledger.Values{
				"label-out": text(from + ", " + strconv.Itoa(len(from)) + " letters"),
				"rest":      json.RawMessage(`{"amount":` + strconv.Itoa(whole(in["amount"])) + `}`),
			}
		},
		giftPredicate: func(in ledger.Values) ledger.Values {
			if whole(in["amount"]) > generous {
				return ledger.Values{}
			}
			return nil
		},
	}
}

func text(s string) json.RawMessage { return json.RawMessage(strconv.Quote(s)) }

func whole(value json.RawMessage) int {
	n, err := strconv.Atoi(string(value))
	if err != nil {
		return -1
	}
	return n
}
