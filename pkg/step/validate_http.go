package step

import (
	"encoding/base64"
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
		key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(d.HTTP.Secret, secretPrefix))
		v.check(err == nil && len(key) >= minSecret && strings.HasPrefix(d.HTTP.Secret, secretPrefix),
			"http.secret", "must be %s and base64 of at least %d bytes", secretPrefix, minSecret)
	}
	v.headers(d.HTTP.Headers)
}

func (v *validation) url(field, text string) {
	if text == "" {
		v.add(field, "is required")
		return
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.Opaque != "" {
		v.add(field, "must be an absolute http or https URL")
		return
	}
	v.check(u.Fragment == "", field, "must not hold a fragment")
	v.check(u.User == nil, field, "must not hold a user or password: use http.headers")
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
