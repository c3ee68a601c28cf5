package durability

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

const (
	// askTimeout bounds one look at the monitoring endpoints.
	askTimeout = 2 * time.Second
	maxAnswer  = 1 << 20
)

// ParseMonitors reads a list of monitoring endpoints, separated by commas.
func ParseMonitors(list string) ([]*url.URL, error) {
	var monitors []*url.URL
	for text := range strings.SplitSeq(list, ",") {
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		monitor, err := url.Parse(text)
		if err != nil || monitor.Host == "" || (monitor.Scheme != "http" && monitor.Scheme != "https") {
			// The error would show a password.
			return nil, errors.New("NATS_MONITOR_URL must be http or https URLs, separated by commas")
		}
		monitors = append(monitors, monitor)
	}
	return monitors, nil
}

// ask asks all endpoints at once.
func ask(ctx context.Context, monitors []*url.URL) []server {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	servers := make([]server, len(monitors))
	var asking sync.WaitGroup
	for i, monitor := range monitors {
		asking.Go(func() {
			servers[i] = askOne(ctx, monitor)
			servers[i].name = monitor.Host
		})
	}
	asking.Wait()
	return servers
}

func askOne(ctx context.Context, monitor *url.URL) server {
	target := monitor.JoinPath("jsz")
	target.RawQuery = "config=true"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), http.NoBody)
	if err != nil {
		return server{err: err}
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		// Without the URL, which the caller names.
		if failed, ok := errors.AsType[*url.Error](err); ok {
			err = failed.Err
		}
		return server{err: err}
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return server{err: fmt.Errorf("it answers %s", resp.Status)}
	}
	return read(io.LimitReader(resp.Body, maxAnswer))
}

// read reads what a server says of its JetStream.
func read(body io.Reader) server {
	var jsz struct {
		ID       string `json:"server_id"`
		Disabled bool   `json:"disabled"`
		Config   struct {
			SyncAlways   bool          `json:"sync_always"`
			SyncInterval time.Duration `json:"sync_interval"`
		} `json:"config"`
		Meta struct {
			Size int `json:"cluster_size"`
		} `json:"meta_cluster"`
	}
	if err := json.NewDecoder(body).Decode(&jsz); err != nil {
		return server{err: fmt.Errorf("its answer cannot be read: %w", err)}
	}
	switch {
	case jsz.ID == "":
		return server{err: errors.New("what answers is not a NATS server")}
	case jsz.Disabled:
		return server{err: errors.New("its JetStream is off")}
	}
	return server{id: jsz.ID, synced: jsz.Config.SyncAlways, every: jsz.Config.SyncInterval.String(), size: jsz.Meta.Size}
}
