package conf_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/sluiceflow/sluice/services/internal/conf"
)

type inner struct {
	Retries int           `env:"RETRIES" envDefault:"3" help:"how often"`
	Wait    time.Duration `env:"WAIT" envDefault:"8s" help:"how long"`
	Keys    string        `env:"KEYS" secret:"true" help:"signing keys"`
	Limit   int           `env:"LIMIT" envDefault:"7" help:"at most" secret:"true"`
}

func (i inner) Validate() error {
	if i.Retries < 0 {
		return errors.Join(errors.New("RETRIES: must not be negative"), errors.New("WAIT: of no use"))
	}
	return nil
}

type config struct {
	Listen string `env:"LISTEN_ADDR" envDefault:":8080" help:"where to listen"`
	Open   bool   `env:"OPEN" help:"whether"`
	Inner  inner
}

func env(pairs ...string) conf.Lookup {
	values := make(map[string]string)
	for i := 0; i < len(pairs); i += 2 {
		values[pairs[i]] = pairs[i+1]
	}
	return func(name string) (string, bool) {
		value, ok := values[name]
		return value, ok
	}
}

func secretFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoad(t *testing.T) {
	t.Parallel()
	file := secretFile(t, "from file\n")
	base := inner{Retries: 3, Wait: 8 * time.Second, Limit: 7}
	with := func(change func(*config)) config {
		c := config{Listen: ":8080", Inner: base}
		change(&c)
		return c
	}
	for _, tt := range []struct {
		name     string
		env      conf.Lookup
		defaults map[string]string
		args     []string
		want     config
	}{
		{name: "nothing set gives the defaults", env: env(), want: with(func(*config) {})},
		{name: "empty is as good as not set", env: env("RETRIES", "", "LISTEN_ADDR", ""), want: with(func(*config) {})},
		{
			name: "the environment beats defaults", env: env("RETRIES", "5", "OPEN", "true"),
			want: with(func(c *config) { c.Inner.Retries, c.Open = 5, true }),
		},
		{
			name: "a program's defaults beat the tags", env: env(), defaults: map[string]string{"LISTEN_ADDR": ":1", "OPEN": "true"},
			want: with(func(c *config) { c.Listen, c.Open = ":1", true }),
		},
		{
			name: "a flag beats the environment", env: env("RETRIES", "5"), args: []string{"--retries", "6"},
			want: with(func(c *config) { c.Inner.Retries = 6 }),
		},
		{
			name: "a flag may be spelt as the variable", env: env(), args: []string{"--LISTEN_ADDR=:2"},
			want: with(func(c *config) { c.Listen = ":2" }),
		},
		{
			name: "the address has a short flag", env: env(), args: []string{"--listen=:3"},
			want: with(func(c *config) { c.Listen = ":3" }),
		},
		{
			name: "a secret may come from a file", env: env("KEYS_FILE", file),
			want: with(func(c *config) { c.Inner.Keys = "from file" }),
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var got config
			set := conf.New(&got, tt.defaults)
			flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
			set.Bind(flags)
			if err := flags.Parse(tt.args); err != nil {
				t.Fatal(err)
			}
			if err := set.Load(tt.env); err != nil {
				t.Fatal(err)
			}
			if got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestMistakesComeTogether(t *testing.T) {
	t.Parallel()
	missing := filepath.Join(t.TempDir(), "missing")
	for _, tt := range []struct {
		name string
		env  conf.Lookup
		want []string
		not  []string
	}{
		{
			name: "each is named with what it wants", env: env("RETRIES", "many", "WAIT", "8", "OPEN", "perhaps"),
			want: []string{`RETRIES: "many" is not a whole number`, `WAIT: "8" is not a duration such as 8s`, `OPEN: "perhaps" is not true or false`},
		},
		{
			name: "also what a part finds itself", env: env("RETRIES", "-1", "OPEN", "x"),
			want: []string{`OPEN: "x"`, "RETRIES: must not be negative", "WAIT: of no use"},
		},
		{name: "a secret is not shown", env: env("LIMIT", "hunter2"), want: []string{"LIMIT: its value is not a whole number"}, not: []string{"hunter2"}},
		{name: "a file that is not there", env: env("KEYS_FILE", missing), want: []string{"KEYS_FILE: open " + missing}},
		{name: "a secret given twice", env: env("KEYS_FILE", missing, "KEYS", "x"), want: []string{"KEYS and KEYS_FILE are both set"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var got config
			err := conf.Load(&got, tt.env)
			var mistakes conf.MistakesError
			if !errors.As(err, &mistakes) {
				t.Fatalf("got %v, want mistakes", err)
			}
			if len(mistakes) != len(tt.want) {
				t.Errorf("got %d mistakes, want %d: %v", len(mistakes), len(tt.want), err)
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q is not in: %v", want, err)
				}
			}
			for _, not := range tt.not {
				if strings.Contains(err.Error(), not) {
					t.Errorf("%q is in: %v", not, err)
				}
			}
		})
	}
}

func TestFlagsSayNameDefaultAndMeaning(t *testing.T) {
	t.Parallel()
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	conf.New(&config{}, nil).Without("OPEN").Bind(flags)
	if flags.Lookup("open") != nil {
		t.Error("what was taken out has a flag")
	}
	usage := flags.FlagUsages()
	for _, want := range []string{
		"--listen-addr", "LISTEN_ADDR (also --listen): where to listen", `(default ":8080")`,
		"KEYS (or KEYS_FILE): signing keys", "WAIT: how long", `(default "8s")`,
	} {
		if !strings.Contains(usage, want) {
			t.Errorf("%q is not in:\n%s", want, usage)
		}
	}
}
