package report

import (
	"slices"
	"strconv"
	"strings"
)

// head is the head of a table whose columns are numbers, but for the first few.
func head(b *strings.Builder, texts int, cells ...string) {
	line(b, cells...)
	line(b, slices.Concat(slices.Repeat([]string{"---"}, texts), slices.Repeat([]string{"---:"}, len(cells)-texts))...)
}

func line(b *strings.Builder, cells ...string) {
	b.WriteString("| " + strings.Join(cells, " | ") + " |\n")
}

func ratio(a, b float64) string {
	if b == 0 {
		return "-"
	}
	return strconv.FormatFloat(a/b, 'f', 2, 64)
}

// number keeps three digits or so: more would pretend.
func number(f float64) string {
	switch {
	case f >= 100:
		return strconv.FormatFloat(f, 'f', 0, 64)
	case f >= 10:
		return strconv.FormatFloat(f, 'f', 1, 64)
	default:
		return strconv.FormatFloat(f, 'f', 2, 64)
	}
}

func mebibytes(n int64) float64 { return float64(n) / (1 << 20) }
