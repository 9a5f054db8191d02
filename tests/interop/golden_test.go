package interop

import (
	"bytes"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ringrelay.test/interop/internal/golden"
	"ringrelay.test/interop/internal/relay"
	"ringrelay.test/interop/internal/wire"
)

const goldenDir = "../golden"

func loadGolden(t *testing.T, file string) []byte {
	t.Helper()
	b, err := golden.Load(filepath.Join(goldenDir, file))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestGoldenBytes has the recorded conversation again and compares.
func TestGoldenBytes(t *testing.T) {
	keyFile, err := golden.KeyFile(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	got, err := golden.Converse(privateServer(t, relay.Options{KeyFile: keyFile}))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range got {
		want := loadGolden(t, r.File)
		if !r.Varies && !bytes.Equal(r.Bytes, want) {
			t.Errorf("%s:\ngot  %x\nwant %x", r.File, r.Bytes, want)
		}
	}
}

// TestGoldenBoxes opens the recorded boxes with the keys they were made for,
// so that the files stay usable as test vectors.
func TestGoldenBoxes(t *testing.T) {
	server, client := golden.Private(golden.ServerPrivate), golden.Private(golden.ClientPrivate)
	info := loadGolden(t, "serverinfo.hex")
	if text, ok := client.OpenFrom(server.Public(), info[wire.HeaderLen:]); !ok || string(text) != `{"version":2}` {
		t.Errorf("serverinfo.hex: opens: %v, text %q", ok, text)
	}
	login := loadGolden(t, "clientinfo.hex")
	who, box := login[wire.HeaderLen:][:wire.KeyLen], login[wire.HeaderLen+wire.KeyLen:]
	if !bytes.Equal(who, wire.Raw(client.Public())) {
		t.Errorf("clientinfo.hex: key %x", who)
	}
	if text, ok := server.OpenFrom(client.Public(), box); !ok || !bytes.Contains(text, []byte(`"version":2`)) {
		t.Errorf("clientinfo.hex: opens: %v, text %q", ok, text)
	}
}

// TestVarzNames: every metric the reference shows at start is there at start,
// with the same type.
func TestVarzNames(t *testing.T) {
	page, err := privateServer(t, relay.Options{}).VarzText()
	if err != nil {
		t.Fatal(err)
	}
	requireLines(t, "varz-derp-names.txt", loadGolden(t, "varz-derp-names.txt"), golden.VarzNames(page, "derp_"))
	requireLines(t, "varz-derp-types.txt", loadGolden(t, "varz-derp-types.txt"), golden.VarzTypes(page, "derp_"))
}

func requireLines(t *testing.T, file string, want, got []byte) {
	t.Helper()
	have := strings.Split(string(got), "\n")
	for line := range strings.Lines(string(want)) {
		if !slices.Contains(have, strings.TrimSpace(line)) {
			t.Errorf("%s: missing %s", file, line)
		}
	}
}
