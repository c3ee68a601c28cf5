package report

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/sluiceflow/sluice/bench/internal/compare"
)

// column is the processor time of the processes of one comparison, in milliseconds a flow.
type column struct {
	title         string
	sluice, floor map[string]float64
}

// writeCPU lists the processes of both sides, by name.
func writeCPU(b *strings.Builder, page Page) {
	columns := cpuColumns(page)
	if len(columns) == 0 {
		return
	}
	section(b, "Processor time of a flow", "Milliseconds for each flow, start and end of the processes included.")
	cells := []string{"process"}
	for _, c := range columns {
		cells = append(cells, c.title)
	}
	head(b, 1, cells...)
	side(b, "sluice: ", columns, func(c column) map[string]float64 { return c.sluice })
	side(b, "floor: ", columns, func(c column) map[string]float64 { return c.floor })
}

func cpuColumns(page Page) []column {
	columns := slices.Concat(floorColumns("", page.Fast), floorColumns("synced, ", page.Synced))
	if e := page.Engines; e != nil {
		columns = append(columns, column{title: "one engine", sluice: e.One.CPU}, column{title: "two engines", sluice: e.Two.CPU})
	}
	return columns
}

func floorColumns(mode string, rows []compare.Row) []column {
	columns := make([]column, len(rows))
	for i, r := range rows {
		columns[i] = column{title: mode + "c=" + strconv.Itoa(r.Sluice.Concurrency), sluice: r.Sluice.CPU, floor: r.Floor.CPU}
	}
	return columns
}

// side has a line for each process of one side.
func side(b *strings.Builder, label string, columns []column, of func(column) map[string]float64) {
	names := map[string]bool{}
	for _, c := range columns {
		for name := range of(c) {
			names[name] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		cells := []string{label + name}
		for _, c := range columns {
			used, ran := of(c)[name]
			if ran {
				cells = append(cells, number(used))
			} else {
				cells = append(cells, "-")
			}
		}
		line(b, cells...)
	}
}
