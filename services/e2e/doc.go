// Package e2e holds no code: its tests run Sluice as its users do, every role a
// process of its own, and kill what they run. They also cut the power of NATS's
// disk, POWER_CUTS times (2).
package e2e
