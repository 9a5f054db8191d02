package interop

import (
	"bytes"
	"errors"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"ringrelay.test/interop/internal/golden"
	"ringrelay.test/interop/internal/relay"
)

// refusedFlags are derper's whose function ringrelayd has not, with values
// that ask for it.
var refusedFlags = map[string]string{
	"acme-eab-kid":                "kid",
	"acme-eab-key":                "key",
	"acme-email":                  "a@example.com",
	"acme-ip-certs":               "true",
	"mesh-with":                   "derp2.example.com",
	"secrets-url":                 "https://setec.example.com",
	"secrets-path-prefix":         "dev/derp",
	"secrets-cache-dir":           "/var/cache/setec",
	"verify-clients":              "true",
	"verify-client-url":           "http://127.0.0.1:1/verify",
	"verify-client-url-fail-open": "false",
	"socket":                      "/run/tailscaled.sock",
	"ace":                         "true",
}

// servedFlags do something, or have tests of their own that say what they do.
var servedFlags = strings.Fields(`a accept-connection-burst accept-connection-limit bootstrap-dns-names c certdir
	certmode derp dev disallow-app-names home hostname http-port mesh-psk-file rate-config stun stun-port tcp-keepalive-time
	tcp-user-timeout tcp-write-timeout unpublished-bootstrap-dns-names version`)

// ownDefaults are shown otherwise than derper's, and mean the same.
var ownDefaults = map[string]string{
	"a":                 `":443"; with -dev ":3340"`,
	"certdir":           "~/.cache/tailscale/derper-certs",
	"secrets-cache-dir": "", // there is nothing to cache
}

func flagsOf(t *testing.T) []golden.Flag {
	t.Helper()
	flags, err := golden.Flags(program.Path)
	if err != nil {
		t.Fatal(err)
	}
	return flags
}

// derperFlags are the recorded ones: name, and the line they make.
func derperFlags(t *testing.T) map[string]string {
	t.Helper()
	flags := map[string]string{}
	for line := range strings.Lines(string(loadGolden(t, "derper-flags.txt"))) {
		name, _, _ := strings.Cut(strings.TrimPrefix(line, "-"), " ")
		flags[name] = strings.TrimSpace(line)
	}
	return flags
}

// TestFlagNames: derper has the flags that were recorded, and ringrelayd has
// all of them, with the same kind and default.
func TestFlagNames(t *testing.T) {
	flags := flagsOf(t)
	if program.Kind == relay.Derper {
		if got, want := golden.FlagLines(flags), loadGolden(t, "derper-flags.txt"); !bytes.Equal(got, want) {
			t.Fatalf("derper's flags are now\n%s\nrecorded are\n%s", got, want)
		}
		return
	}
	ours := map[string]golden.Flag{}
	for _, f := range flags {
		if _, twice := ours[f.Name]; twice {
			t.Errorf("-h names -%s twice", f.Name)
		}
		ours[f.Name] = f
	}
	for name, want := range derperFlags(t) {
		f, ok := ours[name]
		if !ok {
			t.Errorf("-%s is missing", name)
			continue
		}
		if own, ok := ownDefaults[name]; ok {
			if f.Default != own {
				t.Errorf("-%s has the default %q, want %q", name, f.Default, own)
			}
			_, rest, _ := strings.Cut(want, " ")
			kind, fallback, _ := strings.Cut(rest, " ")
			f.Default, f.IsBool = fallback, f.IsBool && kind == "bool"
		}
		if f.String() != want {
			t.Errorf("ringrelayd has %q, derper %q", f, want)
		}
	}
}

// TestFlagsAreDecided: no flag of derper is without a decision.
func TestFlagsAreDecided(t *testing.T) {
	flags := derperFlags(t)
	for name := range flags {
		_, refused := refusedFlags[name]
		if served := slices.Contains(servedFlags, name); served == refused {
			t.Errorf("-%s: served %v, refused %v", name, served, refused)
		}
	}
	if decided := len(refusedFlags) + len(servedFlags); decided != len(flags) {
		t.Errorf("%d flags are decided on, derper has %d", decided, len(flags))
	}
}

// runFlags starts the program with words that make it end by itself.
func runFlags(t *testing.T, words ...string) (code int, output string) {
	t.Helper()
	out, err := exec.Command(program.Path, words...).CombinedOutput()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return exit.ExitCode(), string(out)
	}
	if err != nil {
		t.Fatal(err)
	}
	return 0, string(out)
}

// TestFlagDefaultsAreAccepted, in every spelling of Go.
func TestFlagDefaultsAreAccepted(t *testing.T) {
	for name, line := range derperFlags(t) {
		kind, fallback, _ := strings.Cut(strings.TrimPrefix(line, "-"+name+" "), " ")
		if _, cached := ownDefaults[name]; cached && name != "a" {
			fallback = ""
		}
		spellings := [][]string{{"-" + name + "=" + fallback}, {"--" + name + "=" + fallback}}
		if kind == "bool" {
			if fallback == "" {
				fallback = "false"
			}
			spellings = nil
			for _, v := range []string{fallback, fallback[:1], strings.ToUpper(fallback), strings.ToUpper(fallback[:1])} {
				spellings = append(spellings, []string{"-" + name + "=" + v})
			}
		} else {
			spellings = append(spellings, []string{"-" + name, fallback}, []string{"--" + name, fallback})
		}
		for _, words := range spellings {
			if code, out := runFlags(t, append(words, "-version")...); code != 0 {
				t.Errorf("%q: exit status %d\n%s", words, code, out)
			}
		}
	}
}

// TestFlagsNotSupportedYet: what is asked for and not there is refused by
// name, never ignored. (The program may not serve here: it would not end.)
func TestFlagsNotSupportedYet(t *testing.T) {
	if program.Kind == relay.Derper {
		t.Skip("derper supports them")
	}
	for name, value := range refusedFlags {
		for _, words := range [][]string{{"-" + name + "=" + value}, {"--" + name + "=" + value}} {
			words = append(words, "-dev", "-version")
			code, out := runFlags(t, words...)
			want := "not supported yet: -" + name + "=" + value + " ("
			if strings.HasPrefix(name, "secrets-") {
				want = "not supported, and not needed: -" + name + "=" + value + " ("
			}
			if code != 2 || !strings.Contains(out, want) {
				t.Errorf("%q: exit status %d, want 2 and %q in\n%s", words, code, want, out)
			}
		}
	}
	for _, mode := range []string{"letsencrypt", "gcp"} {
		code, out := runFlags(t, "-certmode="+mode, "-hostname=derp.example.com")
		if want := "not supported yet: -certmode=" + mode; code != 2 || !strings.Contains(out, want) {
			t.Errorf("-certmode=%s: exit status %d, want 2 and %q in\n%s", mode, code, want, out)
		}
	}
	// A boolean without a value asks, too.
	if code, _ := runFlags(t, "-dev", "-verify-clients", "-version"); code != 2 {
		t.Errorf("-verify-clients: exit status %d, want 2", code)
	}
}

// TestFlagsUnknown: as derper, with status 2 and a word on usage.
func TestFlagsUnknown(t *testing.T) {
	for _, words := range [][]string{{"-nothing"}, {"-verify-clients=maybe"}, {"-stun-port=x"}, {"-a"}} {
		if code, out := runFlags(t, words...); code != 2 || out == "" {
			t.Errorf("%q: exit status %d, want 2\n%s", words, code, out)
		}
	}
}
