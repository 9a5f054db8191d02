package interop

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"ringrelay.test/interop/internal/relay"
	"ringrelay.test/interop/internal/tools"
	"ringrelay.test/interop/internal/wire"
	"tailscale.com/derp"
	"tailscale.com/types/key"
)

// What a replacement for derper must be able to do, row by row, as far as one
// node can show it. Most rows are shown by tests that also stand by
// themselves; each of those takes a fraction of a second.

type check struct {
	name string
	run  func(*testing.T)
}

func runAll(t *testing.T, checks ...check) {
	t.Helper()
	for _, c := range checks {
		t.Run(c.name, c.run)
	}
}

// TestAcceptance01DerpProbe: derpprobe is content with the relay. (The row's
// other half is meshes.)
func TestAcceptance01DerpProbe(t *testing.T) {
	runAll(t,
		check{"all probes", testDerpprobe},
		check{"volume", testDerpprobeVolume},
		check{"faults are found", testDerpprobeFaults},
	)
}

// TestAcceptance02Starts: every way to begin. TLS 1.2 is refused on purpose;
// TestTLSVersions requires that alert of ours, and a login of derper.
func TestAcceptance02Starts(t *testing.T) {
	runAll(t,
		check{"fast, TLS, Go client", TestTLSGoClientFastStart},
		check{"fast, plain, legacy websocket", TestFastStart},
		check{"normal, TLS", TestTLSNormalStart},
		check{"normal, plain, legacy websocket", TestNormalStart},
		check{"Go client by hand", TestGoClientByHand},
		check{"TLS versions", TestTLSVersions},
		check{"one segment, one byte per segment", TestPipelinedStart},
		check{"one segment, TLS", TestTLSOneSegment},
		check{"one byte per segment, TLS", TestTLSChoppy},
		check{"WebSocket", testWebSocketStart},
	)
}

// testWebSocketStart: a browser's handshake is answered as one.
func testWebSocketStart(t *testing.T) {
	p := dialRaw(t, shared)
	p.mustSend(t, wire.Request(shared.Addr, "websocket", "Sec-WebSocket-Protocol: derp",
		"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="))
	p.SetReadDeadline(time.Now().Add(wait))
	resp, err := p.ReadResponse()
	if err != nil {
		t.Fatal(err)
	}
	// The accept value is the one of RFC 6455, 1.3.
	if resp.StatusCode != http.StatusSwitchingProtocols || resp.Header.Get("Sec-WebSocket-Protocol") != "derp" ||
		resp.Header.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		t.Fatalf("got %s %v", resp.Status, resp.Header)
	}
	// One unmasked binary message with the server's first frame.
	head := make([]byte, 2)
	if _, err := io.ReadFull(p.Reader(), head); err != nil || head[0] != 0x82 {
		t.Fatalf("first message begins %x: %v", head, err)
	}
	p.awaitServerKey(t)
}

// TestAcceptance03Chain: what the server shows in the handshake.
func TestAcceptance03Chain(t *testing.T) {
	runAll(t,
		check{"signed", TestTLSChain},
		check{"self-signed and pinned", TestTLSPinnedSelfSigned},
	)
}

// TestAcceptance04Matrix: which lengths and which JSON are accepted.
func TestAcceptance04Matrix(t *testing.T) {
	runAll(t,
		check{"close", TestFramesThatClose},
		check{"close, unknown and long", TestLongUnknownFramesClose},
		check{"too large a packet", TestTooLargePacketCloses},
		check{"discard", TestUnknownFramesAreDiscarded},
		check{"accept", TestPermittedLengths},
		check{"JSON", TestClientInfoJSON},
		check{"size of ClientInfo", TestClientInfoSize},
	)
}

// TestAcceptance05Duplicates: connections of one key, and the limit of NotHere.
// (Of the row, what concerns forwarding is about meshes.)
func TestAcceptance05Duplicates(t *testing.T) {
	runAll(t,
		check{"rows", TestDuplicateRows},
		check{"NotHere", TestNotHereLimit},
	)
}

// TestAcceptance06Stalled: a receiver that does not read.
func TestAcceptance06Stalled(t *testing.T) {
	runAll(t,
		check{"others go on, drops are counted", TestStalledReceiver},
		check{"it is closed", TestHostileReceiverNeverReads},
	)
}

// TestAcceptance07Varz: names at start, with zeros, and who may read them.
func TestAcceptance07Varz(t *testing.T) {
	runAll(t,
		check{"names and types", TestVarzNames},
		check{"drops at start", testDropsAtStart},
		check{"access", testDebugAccess},
		check{"check", testConsistencyCheck},
	)
}

func testDropsAtStart(t *testing.T) {
	v := varz(t, privateServer(t, relay.Options{}))
	for _, what := range []string{"packets", "bytes"} {
		for _, reason := range []string{"unknown_dest", "unknown_dest_on_fwd", "gone_disconnected", "queue_head",
			"queue_tail", "write_error", "dup_client"} {
			for _, kind := range []string{"disco", "other"} {
				name := "derp_" + what + `_dropped{reason="` + reason + `",kind="` + kind + `"}`
				if n, ok := v[name]; !ok || n != 0 {
					t.Errorf("%s is %v (exposed: %v), want 0", name, n, ok)
				}
			}
		}
	}
}

// testDebugAccess: this machine may, unless a proxy speaks for somebody.
func testDebugAccess(t *testing.T) {
	const yes, no = http.StatusOK, http.StatusForbidden
	for forwarded, want := range map[string]int{"": yes, "192.0.2.1": no, "127.0.0.1": no} {
		req, err := http.NewRequest("GET", shared.URL("/debug/varz"), nil)
		if err != nil {
			t.Fatal(err)
		}
		if forwarded != "" {
			req.Header.Set("X-Forwarded-For", forwarded)
		}
		resp, err := shared.HTTPClient().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("X-Forwarded-For %q: %s, want %d", forwarded, resp.Status, want)
		}
	}
}

func testConsistencyCheck(t *testing.T) {
	s := privateServer(t, relay.Options{})
	login(t, s).mustLive(t)
	if status, _, body := get(t, s, "/debug/check"); status != 200 || body != "derp.Server ConsistencyCheck okay" {
		t.Errorf("got %d %q", status, body)
	}
}

// TestAcceptance08Idle: with RINGRELAY_IDLE=131s, or as the specification has it, 10m.
func TestAcceptance08Idle(t *testing.T) {
	t.Parallel() // or all tests would wait for it
	runAll(t, check{"keep-alives, no end", TestIdleConnection})
}

// TestAcceptance09Files: what a derper leaves behind is used as it is.
func TestAcceptance09Files(t *testing.T) {
	runAll(t,
		check{"key file", TestKeyFileFormats},
		check{"files of a derper, and back", testSuccession},
	)
}

// testSuccession: derper makes the files; the program under test takes over at
// the same address, then derper again. Clients keep their keys, the server's
// key and the pin of its certificate.
func testSuccession(t *testing.T) {
	derper := program
	if program.Kind == relay.Ringrelay {
		path, err := tools.Derper.Path(scratch)
		if err != nil {
			t.Fatal(err)
		}
		derper = relay.Program{Kind: relay.Derper, Path: path}
	}
	dir := t.TempDir()
	rates := filepath.Join(dir, "rate.json")
	replace(t, rates, `{"PerClientRateLimitBytesPerSec":12345678,"PerClientRateBurstBytes":200000}`)
	o := relay.Options{
		Host:    fmt.Sprintf("127.83.%d.%d", os.Getpid()>>8&255, os.Getpid()&255), // where nobody else takes the port
		KeyFile: filepath.Join(dir, "derper.key"),
		TLS:     &relay.TLS{CertDir: filepath.Join(dir, "certs"), Hostname: "127.0.0.1"},
		Args:    []string{"-rate-config", rates},
	}
	privA, privB := key.NewNode(), key.NewNode()
	var pin string
	var public key.NodePublic
	for i, p := range []relay.Program{derper, program, derper} {
		s := privateServerOf(t, p, o)
		if i == 0 {
			pin, public, o.Addr = pinFromLog(t, s), fastStart(t, s).server, s.Addr
		}
		r := region(t, s, pin)
		r.Nodes[0].IPv4 = o.Host
		a, b := attach(t, regionClient(t, privA, r), privA), attach(t, regionClient(t, privB, r), privB)
		data := pattern(1400, uint64(i))
		a.mustSend(t, b.pub, data)
		b.mustReceive(t, a.pub, data)
		if a.ServerPublicKey() != public {
			t.Errorf("%d, %v: public key %v, want %v", i, p.Kind, a.ServerPublicKey(), public)
		}
		if got := pinFromLog(t, s); got != pin {
			t.Errorf("%d, %v: pin %s, want %s", i, p.Kind, got, pin)
		}
		if got := varz(t, s)[metricRate]; got != 12345678 {
			t.Errorf("%d, %v: rate %v", i, p.Kind, got)
		}
		if err := s.Stop(wait / 2); err != nil {
			t.Fatal(err)
		}
		for _, c := range []*client{a, b} {
			for m := range c.msgs { // to the end of the connection
				if _, ok := m.(derp.PeerGoneMessage); !ok {
					t.Errorf("%d, %v: got %#v at the end", i, p.Kind, m)
				}
			}
		}
	}
}

// TestAcceptance10Tailscaled: two tailscaled talk through the relay alone. (Of
// the row, -verify-clients is not built in.)
func TestAcceptance10Tailscaled(t *testing.T) {
	runAll(t, check{"two nodes", testTailscaled})
}
