package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/sluiceflow/sluice/pkg/subject"
)

const (
	// defaultTimeout is longer than the console waits for the engine.
	defaultTimeout = 30 * time.Second
	// maxAnswer bounds what one answer may hold.
	maxAnswer = 256 << 20
)

// Options are what a client may need beside the address. The zero value works.
type Options struct {
	// Key is sent as bearer token; empty sends none.
	Key string
	// HTTP does the requests; nil means a client with a timeout of 30 seconds.
	HTTP *http.Client
}

// Client calls the control API. Its methods may be called at once, and return a
// [*Problem] for what the API refuses.
type Client struct {
	base *url.URL
	key  string
	http *http.Client
}

// New makes a client of the console at a URL such as http://127.0.0.1:8081.
func New(baseURL string, opts Options) (*Client, error) {
	base, err := url.Parse(baseURL)
	if err != nil {
		return nil, fmt.Errorf("address of the console: %w", err)
	}
	if (base.Scheme != "http" && base.Scheme != "https") || base.Host == "" {
		return nil, fmt.Errorf("address of the console: %q is not an http or https URL", baseURL)
	}
	if opts.HTTP == nil {
		opts.HTTP = &http.Client{Timeout: defaultTimeout}
	}
	return &Client{base: base, key: opts.Key, http: opts.HTTP}, nil
}

// call sends in as JSON, unless it is nil, and reads the answer into out, unless
// that is nil. Parts of the path are words
// and ids.
func (c *Client) call(ctx context.Context, method string, path []string, query url.Values, in, out any) (status int, err error) {
	req, err := c.request(ctx, method, path, query, in)
	if err != nil {
		return 0, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, fmt.Errorf("call the console: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return 0, fmt.Errorf("read the console's answer to %s %s: %w", method, req.URL.Path, err)
	case len(body) > maxAnswer:
		return 0, fmt.Errorf("the console's answer to %s %s is over %d bytes", method, req.URL.Path, maxAnswer)
	case resp.StatusCode >= http.StatusMultipleChoices:
		return resp.StatusCode, problemFrom(resp, body)
	case out == nil:
		return resp.StatusCode, nil
	}
	if err := json.Unmarshal(body, out); err != nil {
		return resp.StatusCode, fmt.Errorf("read the console's answer to %s %s: %w", method, req.URL.Path, err)
	}
	return resp.StatusCode, nil
}

func (c *Client) request(ctx context.Context, method string, path []string, query url.Values, in any) (*http.Request, error) {
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return nil, fmt.Errorf("write the request: %w", err)
		}
		body = bytes.NewReader(data)
	}
	target := c.base.JoinPath("engine")
	for _, part := range path {
		if err := subject.CheckID(part); err != nil {
			return nil, fmt.Errorf("id %q: %w", part, err)
		}
		target = target.JoinPath(url.PathEscape(part))
	}
	target.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, method, target.String(), body)
	if err != nil {
		return nil, fmt.Errorf("make the request: %w", err)
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("Accept", "application/json")
	if c.key != "" {
		req.Header.Set("Authorization", "Bearer "+c.key)
	}
	return req, nil
}
