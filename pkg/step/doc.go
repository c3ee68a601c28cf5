// Package step holds what people and workers write about steps, as the JSON of
// the contract: definitions, the body of an invocation, and the StepResult that
// answers it. Parsing is strict and names the field that is wrong.
package step
