package interop

import (
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"ringrelay.test/interop/internal/relay"
	"tailscale.com/types/key"
)

func TestKeyFileIsMadeAndKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "not", "there", "yet", "derper.key")
	first := privateServer(t, relay.Options{KeyFile: path})
	pub := fastStart(t, first).server
	if err := first.Stop(5 * time.Second); err != nil {
		t.Fatal(err)
	}

	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, want 0600", st.Mode().Perm())
	}
	if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 1 {
		t.Errorf("other files were left beside the key: %v", left)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	layout := regexp.MustCompile("^\\{\n\t\"PrivateKey\": \"privkey:[0-9a-f]{64}\"\n\\}\n?$")
	if !layout.Match(text) {
		t.Errorf("key file has another layout than derper's (%d bytes)", len(text))
	}
	var file struct{ PrivateKey key.NodePrivate }
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatalf("derper could not read the key file: %v", err)
	}
	if raw := file.PrivateKey.Raw32(); raw[0]&7 != 0 || raw[31]&0xc0 != 0x40 {
		t.Error("private key is not clamped")
	}
	if file.PrivateKey.Public() != pub {
		t.Errorf("served key %v does not belong to the key file", pub)
	}

	again := privateServer(t, relay.Options{KeyFile: path})
	if got := fastStart(t, again).server; got != pub {
		t.Errorf("key after restart is %v, want %v", got, pub)
	}
	if now, err := os.ReadFile(path); err != nil || string(now) != string(text) {
		t.Errorf("the restart touched the key file (%v)", err)
	}
}

const (
	vectorPrivate = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e5f"
	vectorPublic  = "8f40c5adb68f25624ae5b214ea767a6ec94d829d3d7b5e1ad1ba6f3e2138285f"
)

func writeKeyFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "some-derper.key")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestKeyFileFormats(t *testing.T) {
	for name, text := range map[string]string{
		"as derper writes":  "{\n\t\"PrivateKey\": \"privkey:" + vectorPrivate + "\"\n}",
		"upper-case digits": `{"PrivateKey":"privkey:` + strings.ToUpper(vectorPrivate) + `"}`,
		"other case of key": `{"pRIVATEkEY":"privkey:` + vectorPrivate + `"}`,
		"other members":     `{"Comment":["x",{"y":1}],"PrivateKey":"privkey:` + vectorPrivate + `","z":null}` + "\n\n",
		"last one counts":   `{"PrivateKey":"privkey:` + hex64 + `","privatekey":"privkey:` + vectorPrivate + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			s := privateServer(t, relay.Options{KeyFile: writeKeyFile(t, text)})
			if got := fastStart(t, s).server.UntypedHexString(); got != vectorPublic {
				t.Fatalf("public key %s, want %s", got, vectorPublic)
			}
		})
	}
}

// TestBadKeyFile: a server that cannot have its key must not start with
// another one.
func TestBadKeyFile(t *testing.T) {
	for name, text := range map[string]string{
		"empty file":       "",
		"not JSON":         "privkey:" + vectorPrivate,
		"truncated JSON":   `{"PrivateKey":"privkey:` + vectorPrivate,
		"no PrivateKey":    `{}`,
		"other type":       `{"PrivateKey":5}`,
		"no prefix":        `{"PrivateKey":"` + vectorPrivate + `"}`,
		"other prefix":     `{"PrivateKey":"nodekey:` + vectorPrivate + `"}`,
		"short":            `{"PrivateKey":"privkey:` + vectorPrivate[2:] + `"}`,
		"long":             `{"PrivateKey":"privkey:` + vectorPrivate + `00"}`,
		"not hex":          `{"PrivateKey":"privkey:` + vectorPrivate[1:] + `g"}`,
		"text behind JSON": `{"PrivateKey":"privkey:` + vectorPrivate + `"} x`,
	} {
		t.Run(name, func(t *testing.T) {
			path := writeKeyFile(t, text)
			s, err := relay.Start(program, relay.Options{KeyFile: path})
			if err == nil {
				s.Kill()
				t.Fatal("server started")
			}
			if !errors.Is(err, relay.ErrExited) {
				t.Fatalf("want the server to exit: %v", err)
			}
			if s.ExitCode() <= 0 {
				t.Errorf("exit code %d, want a failure of its own making", s.ExitCode())
			}
			if strings.Contains(s.Log(), vectorPrivate[2:62]) {
				t.Error("the log shows the private key")
			}
			// derper does not name the file; we promise to.
			if program.Kind == relay.Ringrelay && !strings.Contains(s.Log(), path) {
				t.Errorf("the log does not name %s:\n%s", path, s.Log())
			}
			if now, err := os.ReadFile(path); err != nil || string(now) != text {
				t.Errorf("the key file was changed (%v)", err)
			}
		})
	}
}

// TestTerminate: SIGTERM ends a server with live connections at once.
func TestTerminate(t *testing.T) {
	s := privateServer(t, relay.Options{})
	live := login(t, s)
	halfway := fastStart(t, s)
	silent := dialRaw(t, s)
	if err := s.Stop(5 * time.Second); err != nil {
		t.Fatal(err)
	}
	for _, p := range []*rawPeer{live, halfway, silent} {
		p.mustClose(t)
	}
}

func TestProbePage(t *testing.T) {
	c := &http.Client{Timeout: wait}
	for _, path := range []string{"/derp/probe", "/derp/latency-check"} {
		for method, want := range map[string]int{"GET": 200, "HEAD": 200, "POST": 405} {
			req, err := http.NewRequest(method, shared.URL(path), nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := c.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != want {
				t.Errorf("%s %s: %s, want %d", method, path, resp.Status, want)
			}
			if cors := resp.Header.Get("Access-Control-Allow-Origin"); want == 200 && cors != "*" {
				t.Errorf("%s %s: Access-Control-Allow-Origin is %q, want *", method, path, cors)
			}
		}
	}
}
