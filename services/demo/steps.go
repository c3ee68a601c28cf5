package demo

import (
	"github.com/sluiceflow/sluice/pkg/step"
)

const (
	reserveStock = "reserve-stock"
	chargeCard   = "charge-card"
	sendReceipt  = "send-receipt"
)

// steps are the definitions of the order flow, called at an endpoint.
func steps(endpoint string) []step.Definition {
	in := func(t step.Type) step.Attribute { return step.Attribute{Role: step.RoleRequired, Type: t} }
	out := step.Attribute{Role: step.RoleOutput, Type: step.TypeString}
	http := &step.HTTP{Endpoint: endpoint}
	retries := &step.WorkConfig{MaxRetries: 5, BackoffMS: new(int64(200)), MaxBackoffMS: new(int64(5000)), BackoffType: "exponential", TimeoutMS: 60_000}
	return []step.Definition{
		{
			ID: reserveStock, Name: "Reserve stock", Type: step.KindAsync, HTTP: http, WorkConfig: retries,
			Attributes: map[string]step.Attribute{"item": in(step.TypeString), "quantity": in(step.TypeNumber), "reservation": out},
		},
		{
			ID: chargeCard, Name: "Charge card", Type: step.KindAsync, HTTP: http, WorkConfig: retries,
			Attributes: map[string]step.Attribute{"reservation": in(step.TypeString), "amount": in(step.TypeNumber), "payment": out},
		},
		{
			ID: sendReceipt, Name: "Send receipt", Type: step.KindSync, HTTP: http, WorkConfig: retries,
			Attributes: map[string]step.Attribute{"payment": in(step.TypeString), "email": in(step.TypeString), "receipt": out},
		},
	}
}
