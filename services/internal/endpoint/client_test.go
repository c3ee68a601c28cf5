package endpoint_test

import (
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/sluiceflow/sluice/services/internal/endpoint"
)

func get(t *testing.T, client *http.Client, address string) (*http.Response, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err == nil {
		t.Cleanup(func() { resp.Body.Close() })
	}
	return resp, err
}

func TestClientChecksTheAddressThatItDials(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("a refused address was called")
	}))
	t.Cleanup(server.Close)
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	client := endpoint.NewClient(endpoint.Rules{}, 1)
	// A name passes any check of the URL: what it resolves to must be looked at.
	for _, host := range []string{"127.0.0.1", "localhost", "0x7f000001", "2130706433"} {
		_, err := get(t, client, "http://"+host+":"+u.Port()) //nolint:bodyclose // get closes it when the test ends
		if err == nil {
			t.Errorf("%s was called", host)
		}
		if host == "127.0.0.1" || host == "localhost" {
			if !errors.Is(err, endpoint.ErrRefused) {
				t.Errorf("%s: %v does not say that the rules refused it", host, err)
			}
		}
	}
}

func TestClientStaysWhereItIsSent(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/elsewhere" {
			t.Error("the redirect was followed")
		}
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	}))
	t.Cleanup(server.Close)
	resp, err := get(t, endpoint.NewClient(endpoint.Rules{AllowPrivate: true}, 1), server.URL) //nolint:bodyclose // get closes it when the test ends
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusTemporaryRedirect {
		t.Errorf("status %d, want 307", resp.StatusCode)
	}
}

func TestClientIgnoresProxies(t *testing.T) {
	// Not parallel: it changes the environment.
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	t.Setenv("http_proxy", "http://127.0.0.1:1")
	transport, ok := endpoint.NewClient(endpoint.Rules{}, 1).Transport.(*http.Transport)
	if !ok || transport.Proxy != nil {
		t.Error("the client asks a proxy: the rules would see the proxy's address")
	}
}

func TestClientDecompressesNothing(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if accepted := r.Header.Get("Accept-Encoding"); accepted != "" {
			t.Errorf("the client accepts %s", accepted)
		}
		w.Header().Set("Content-Encoding", "gzip")
		bomb := gzip.NewWriter(w)
		_, _ = io.Copy(bomb, io.LimitReader(zeros{}, 1<<20))
		_ = bomb.Close()
	}))
	t.Cleanup(server.Close)
	resp, err := get(t, endpoint.NewClient(endpoint.Rules{AllowPrivate: true}, 1), server.URL) //nolint:bodyclose // get closes it when the test ends
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil || len(body) > 16<<10 {
		t.Errorf("read %d bytes (%v), want the compressed ones only", len(body), err)
	}
}

func TestClientBoundsHeaders(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Large", strings.Repeat("x", 1<<20))
	}))
	t.Cleanup(server.Close)
	if _, err := get(t, endpoint.NewClient(endpoint.Rules{AllowPrivate: true}, 1), server.URL); err == nil { //nolint:bodyclose // get closes it when the test ends
		t.Error("a megabyte of headers was accepted")
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
