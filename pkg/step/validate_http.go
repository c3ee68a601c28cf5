package step

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

const (
	secretPrefix = "whsec_"
	// minSecret is the least length of a key by Standard Webhooks, in bytes.
	minSecret = 24
)

func (v *validation) call(d Definition) {
	if d.HTTP == nil {
		if d.Type == KindSync || d.Type == KindAsync {
			v.add("http", "is required for a step of type %s", d.Type)
		}
		return
	}
	v.url("http.endpoint", d.HTTP.Endpoint)
	if d.HTTP.HealthCheck != "" {
		v.url("http.health_check", d.HTTP.HealthCheck)
	}
	if d.HTTP.Compensate != "" {
		v.url("http.compensate", d.HTTP.Compensate)
		v.check(!d.Memoizable, "http.compensate", "is not for a step that is memoizable: a success may be another flow's")
	}
	v.milliseconds("http.timeout", d.HTTP.Timeout, 0)
	if d.HTTP.Secret != "" {
		if err := CheckSecret(d.HTTP.Secret); err != nil {
			v.add("http.secret", "%s", err)
		}
	}
	v.headers(d.HTTP.Headers)
}

// CheckSecret says why a text is no secret to sign by (Standard Webhooks) with.
func CheckSecret(text string) error {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(text, secretPrefix))
	if err != nil || len(key) < minSecret || !strings.HasPrefix(text, secretPrefix) {
		return fmt.Errorf("must be %s and base64 of at least %d bytes", secretPrefix, minSecret)
	}
	return nil
}

// CheckURL says why a text is no URL that can be called.
func CheckURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.Opaque != "":
		return errors.New("must be an absolute http or https URL")
	case u.Fragment != "":
		return errors.New("must not hold a fragment")
	case u.User != nil:
		return errors.New("must not hold a user or password")
	}
	return nil
}

func (v *validation) url(field, text string) {
	if text == "" {
		v.add(field, "is required")
		return
	}
	if err := CheckURL(text); err != nil {
		v.add(field, "%s", err)
	}
}

func (v *validation) headers(headers map[string]string) {
	seen := map[string]bool{}
	for _, name := range sortedNames(headers) {
		field, value := "http.headers."+name, headers[name]
		lower := strings.ToLower(name)
		v.check(isToken(name), field, "is no name of an HTTP header")
		v.check(!reserved(lower), field, "is set by the dispatcher")
		v.check(!seen[lower], field, "stands twice, in upper and lower case")
		v.check(isHeaderValue(value), field, "has no valid value of an HTTP header")
		v.check(value != Mask, field, "is the mark that stands for a value: give the value")
		seen[lower] = true
	}
}

// reserved reports whether a header is not the step's to set.
func reserved(lower string) bool {
	return strings.HasPrefix(lower, "webhook-") || slices.Contains([]string{
		"content-type", "content-length", "host", "idempotency-key", "traceparent",
		"connection", "transfer-encoding",
	}, lower)
}

// isToken reports whether name is a token of RFC 9110.
func isToken(name string) bool {
	for i := range len(name) {
		c := name[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return name != ""
}

func isHeaderValue(value string) bool {
	if value != strings.Trim(value, " \t") {
		return false
	}
	for i := range len(value) {
		if c := value[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}
