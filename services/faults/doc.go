// Package faults holds no code: its tests run Sluice as processes, load it as
// workers that are not polite would, break what it stands on, and check from the
// outside that nothing that was promised is lost.
package faults
