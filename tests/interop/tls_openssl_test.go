package interop

import (
	"bytes"
	"io"
	"slices"
	"testing"
	"time"

	"ringrelay.test/interop/internal/wire"
)

// TestOpenSSLSuitesAndGroups: what cannot be chosen in Go. Each gets a page
// twice over one connection; each suite relays packets of all sizes too.
func TestOpenSSLSuitesAndGroups(t *testing.T) {
	s := sharedTLS(t)
	suites := map[string]string{
		"AES-128": "TLS_AES_128_GCM_SHA256", "AES-256": "TLS_AES_256_GCM_SHA384", "ChaCha20": "TLS_CHACHA20_POLY1305_SHA256",
	}
	if slices.Contains(program.Args, "-aead=sodium") {
		delete(suites, "AES-128") // libsodium has none, so the server does not offer it
	}
	groups := map[string]string{
		"X25519":                     "X25519",
		"P-256":                      "P-256",
		"P-256, then X25519":         "P-256:X25519",
		"hello retry for X25519":     "X448:X25519",
		"hello retry for P-256":      "X448:P-256",
		"P-384 shared, X25519 named": "P-384:X25519",
	}
	for suiteName, suite := range suites {
		for groupName, group := range groups {
			t.Run(suiteName+"/"+groupName, func(t *testing.T) {
				t.Parallel()
				p := dialOpenSSL(t, s, "-tls1_3", "-ciphersuites", suite, "-groups", group)
				for range 2 {
					p.mustProbe(t)
				}
				p.ssl.awaitSaid(t, "Ciphersuite: "+suite+"\n", 1)
				p.ssl.awaitSaid(t, "Verification: OK\n", 1)
			})
		}
		t.Run(suiteName+"/packets", func(t *testing.T) {
			t.Parallel()
			p := dialOpenSSL(t, s, "-tls1_3", "-ciphersuites", suite)
			p.fastStart(t).login(t)
			q := login(t, s)
			for _, n := range []int{0, 1, 15, 16, 17, 100, 1400, 16384, 65536} {
				data := pattern(n, 41)
				p.mustSend(t, wire.SendPacket(q.pub, data))
				q.mustReceive(t, p.pub, data)
				q.mustSend(t, wire.SendPacket(p.pub, data))
				p.mustReceive(t, q.pub, data)
			}
			p.mustLive(t)
		})
	}
}

const probe = "GET /derp/probe HTTP/1.1\r\nHost: x\r\n\r\n"

// mustProbe gets the probe page and leaves the connection usable.
func (p *rawPeer) mustProbe(t *testing.T) {
	t.Helper()
	p.mustSend(t, []byte(probe))
	resp, err := p.ReadResponse()
	if err != nil {
		t.Fatalf("probe: %v", err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 || len(body) != 0 || resp.Close {
		t.Fatalf("probe: %s, body %q, close %v, %v, want an empty 200 that keeps the connection",
			resp.Status, body, resp.Close, err)
	}
}

// TestOpenSSLSmallRecords: frames spread over records of 512 bytes.
func TestOpenSSLSmallRecords(t *testing.T) {
	s := sharedTLS(t)
	p := dialOpenSSL(t, s, "-max_send_frag", "512")
	p.fastStart(t).login(t)
	for _, n := range []int{400, 475, 476, 1400, 33000, 65536} {
		// Zeros: wherever s_client begins to read it must not see a command.
		data := make([]byte, n)
		for range 20 {
			p.mustSend(t, wire.SendPacket(p.pub, data))
			p.mustReceive(t, p.pub, data)
		}
	}
	p.mustLive(t)
}

// TestOpenSSLKeyUpdates: 1,000 updates by OpenSSL's command, every other one
// asking for an answer, 65 or more records between two of them.
func TestOpenSSLKeyUpdates(t *testing.T) {
	if testing.Short() {
		t.Skip("65,000 records; not in -short")
	}
	s := sharedTLS(t)
	p := dialOpenSSL(t, s, "-max_send_frag", "512")
	p.fastStart(t).login(t)
	start := time.Now()
	data := make([]byte, 33_000)
	frame := wire.SendPacket(p.pub, data)
	for i := range 1000 {
		p.mustSend(t, []byte{"Kk"[i%2]})
		p.ssl.awaitSaid(t, "KEYUPDATE", i+1)
		data[len(data)-1], frame[len(frame)-1] = byte(i), byte(i)
		p.mustSend(t, frame)
		if f := p.mustRead(t, "a packet"); !bytes.Equal(f.Body, append(wire.Raw(p.pub), data...)) {
			t.Fatalf("after update %d: got %v, want our own packet", i, f)
		}
	}
	p.mustLive(t)
	t.Logf("1,000 updates in %v", time.Since(start).Round(time.Millisecond))
}
