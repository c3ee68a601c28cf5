package access_test

import (
	"strings"
	"testing"

	"github.com/sluiceflow/sluice/services/console/internal/access"
)

const secret = "0123456789abcdef"

func TestParse(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                         "",
		"  ":                       "",
		"a:read:" + secret:         "",
		"a:admin:" + secret + ":x": "",
		"a:root:" + secret:         `entry 1: the role of "a" must be read, operate or admin`,
		"a:nobody:" + secret:       `entry 1: the role of "a" must be read, operate or admin`,
		"a:read:short":             `entry 1: the key of "a" must have at least 16 characters`,
		":read:" + secret:          "entry 1: must be name:role:key",
		"justakey":                 "entry 1: must be name:role:key",
		"a:read:" + secret + ",":   "entry 2: must be name:role:key",
		"a:read:x,b:write:" + secret: "entry 1: the key of \"a\" must have at least 16 characters\n" +
			`entry 2: the role of "b" must be read, operate or admin`,
		"a:read:" + secret + ",a:admin:" + secret + "2": `entry 2: the name "a" stands twice`,
	} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			_, err := access.Parse(text)
			got := ""
			if err != nil {
				got = err.Error()
			}
			if got != want {
				t.Errorf("got %q, want %q", got, want)
			}
			if strings.Contains(got, secret) {
				t.Error("the error tells a key")
			}
		})
	}
}

func TestFind(t *testing.T) {
	t.Parallel()
	keys, err := access.Parse("ann:read:" + secret + ", bob:operate:" + secret + "2, eve:admin:" + secret + ":3")
	if err != nil {
		t.Fatal(err)
	}
	for bearer, want := range map[string]access.Role{
		secret:               access.Read,
		secret + "2":         access.Operate,
		secret + ":3":        access.Admin,
		secret + "4":         access.Nobody,
		"":                   access.Nobody,
		"ann:read:" + secret: access.Nobody,
	} {
		if name, role := keys.Find(bearer); role != want || (name == "") != (want == access.Nobody) {
			t.Errorf("%q is %q, %v; want %v", bearer, name, role, want)
		}
	}
}

func TestIsLoopback(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]bool{
		"127.0.0.1": true, "127.1.2.3": true, "::1": true, "[::1]": true, "localhost": true, "LocalHost.": true,
		"sluice.localhost": true, "::ffff:127.0.0.1": true,
		"": false, "0.0.0.0": false, "::": false, "10.0.0.1": false, "console": false,
		"localhost.evil.example": false, "127.0.0.1.evil.example": false,
	} {
		if got := access.IsLoopback(host); got != want {
			t.Errorf("IsLoopback(%q) = %v", host, got)
		}
	}
}
