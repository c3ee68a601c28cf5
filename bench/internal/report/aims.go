package report

import (
	"fmt"
	"strings"

	"github.com/sluiceflow/sluice/bench/internal/compare"
	"github.com/sluiceflow/sluice/bench/internal/waiting"
)

// What we aim at. The ratios are to the floor's figures.
const (
	fastRate     = 0.6 // flows/s at c=64
	fastP50      = 2   // p50 at c=1, at most
	syncedRate   = 1.2 // flows/s at c=64
	groupedRate  = 1.3 // flows/s at c=512
	takeoverTime = 10  // seconds, at most
)

// aim is a figure and the bound that it is held to.
type aim struct {
	text     string
	measured string
	met      bool
}

// aims are those of the sections that were measured.
func aims(page Page) []aim {
	var all []aim
	if r, ok := at(page.Fast, 64); ok {
		all = append(all, rateAim("Fast mode", r, fastRate))
	}
	if r, ok := at(page.Fast, 1); ok {
		all = append(all, p50Aim(r))
	}
	if r, ok := at(page.Synced, 64); ok {
		all = append(all, rateAim("Synced mode", r, syncedRate))
	}
	if r, ok := at(page.Synced, 512); ok {
		all = append(all, rateAim("Synced mode", r, groupedRate))
	}
	if page.Waiting != nil {
		all = append(all, waitingAims(*page.Waiting)...)
	}
	return all
}

func at(rows []compare.Row, c int) (compare.Row, bool) {
	for _, r := range rows {
		if r.Sluice.Concurrency == c {
			return r, true
		}
	}
	return compare.Row{}, false
}

func rateAim(mode string, r compare.Row, least float64) aim {
	return aim{
		text:     fmt.Sprintf("%s, c=%d: at least %v times the floor's flows/s", mode, r.Sluice.Concurrency, least),
		measured: ratio(r.Sluice.FlowsPerS, r.Floor.FlowsPerS),
		met:      r.Sluice.FlowsPerS >= least*r.Floor.FlowsPerS,
	}
}

func p50Aim(r compare.Row) aim {
	return aim{
		text:     fmt.Sprintf("Fast mode, c=%d: at most %d times the floor's p50", r.Sluice.Concurrency, fastP50),
		measured: ratio(r.Sluice.FlowP50, r.Floor.FlowP50),
		met:      r.Sluice.FlowP50 <= fastP50*r.Floor.FlowP50,
	}
}

func waitingAims(r waiting.Result) []aim {
	flows := fmt.Sprintf("%d waiting flows: ", r.Flows)
	return []aim{{
		text:     fmt.Sprintf("%sthe engine never holds %d MiB", flows, waiting.MaxEngineRSS>>20),
		measured: number(mebibytes(r.EnginePeak())) + " MiB",
		met:      r.EnginePeak() < waiting.MaxEngineRSS,
	}, {
		text:     fmt.Sprintf("%sat most %d s from kill -9 of the engine until a result is applied", flows, takeoverTime),
		measured: number(r.Takeover) + " s",
		met:      r.Takeover <= takeoverTime,
	}, {
		text:     flows + "nothing is lost, nothing is applied twice",
		measured: fmt.Sprintf("%d checked, %d wrong", r.Checked+len(r.Lost), len(r.Lost)),
		met:      len(r.Lost) == 0,
	}}
}

func writeAims(b *strings.Builder, all []aim) {
	if len(all) == 0 {
		return
	}
	section(b, "Aims", "")
	head(b, 1, "aim", "measured", "")
	for _, a := range all {
		verdict := "**missed**"
		if a.met {
			verdict = "met"
		}
		line(b, a.text, a.measured, verdict)
	}
}
