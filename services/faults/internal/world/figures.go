package world

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// Figures reads metrics of a role that have no labels, by their names.
func (w *World) Figures(ctx context.Context, name string, metrics ...string) (map[string]float64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+w.units[name].addr+"/metrics", http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("ask %s for its figures: %w", name, err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask %s for its figures: %w", name, err)
	}
	defer resp.Body.Close()
	out := map[string]float64{}
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		metric, value, _ := strings.Cut(lines.Text(), " ")
		if !slices.Contains(metrics, metric) {
			continue
		}
		if out[metric], err = strconv.ParseFloat(value, 64); err != nil {
			return nil, fmt.Errorf("figure %s of %s: %w", metric, name, err)
		}
	}
	for _, metric := range metrics {
		if _, ok := out[metric]; !ok {
			return nil, fmt.Errorf("%s has no figure %s", name, metric)
		}
	}
	return out, lines.Err() //nolint:wrapcheck // nothing to add
}
