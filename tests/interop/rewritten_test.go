package interop

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"ringrelay.test/interop/internal/pki"
	"ringrelay.test/interop/internal/relay"
	"ringrelay.test/interop/internal/wire"
	"tailscale.com/derp"
)

// Tests of the reference implementation that have their server in the same
// process, written anew for a server of its own, over TCP. Each names the one
// it stands for. Others have been taken up elsewhere:
//
//	derp            TestSendRecv, TestUnknownFrameSizeLimit      sendrecv_test.go, frames_test.go
//	derphttp        TestConnectThroughProxyHonorsDERPPort        tls_http_test.go
//	derpserver      TestMetaCert, TestModifyTLSConfig…           tls_chain_test.go
//	                TestServerDupClients                         duplicates_test.go
//	                TestPerClientRateLimit, TestUpdateRateLimits hostile_rate_test.go
//	cmd/derper      TestPinnedCertRawIP                          tls_chain_test.go
//	stunserver      TestSTUNServer                               stun_test.go
//	prober          TestRunDerpProbeNodePair                     volume_test.go, derpprobe_test.go

// get reads a page.
func get(t *testing.T, s *relay.Server, path string) (status int, header http.Header, body string) {
	t.Helper()
	resp, err := s.HTTPClient().Get(s.URL(path))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(text)
}

// TestRewrittenSendFreeze is derp.TestSendFreeze: alice sends to bob and to
// cathy. When cathy stops reading, and her packets have begun to be dropped,
// bob gets his as before, and alice is told nothing.
func TestRewrittenSendFreeze(t *testing.T) {
	s := privateServer(t, relay.Options{})
	alice, bob := connect(t, s), connect(t, s)
	cathy := dialRawWindow(t, s, smallWindow).fastStart(t).login(t)

	large := make([]byte, floodSize) // so that her buffers fill at once
	send := func(n uint64) {
		t.Helper()
		alice.mustSend(t, bob.pub, binary.BigEndian.AppendUint64(nil, n))
		alice.mustSend(t, cathy.pub, large)
	}
	bobGets := func(n uint64) {
		t.Helper()
		bob.mustReceive(t, alice.pub, binary.BigEndian.AppendUint64(nil, n))
	}
	n := uint64(0)
	for ; n < 5; n++ {
		send(n)
		bobGets(n)
		cathy.mustReceive(t, alice.pub, large)
	}

	// She reads no more. In rounds, for bob's queue is no longer than hers.
	deadline := time.Now().Add(floodDeadline)
	for frozen := 0; frozen < 20; {
		for i := range uint64(8) {
			send(n + i)
		}
		for i := range uint64(8) {
			bobGets(n + i)
		}
		n += 8
		if varz(t, s)[metricQueueHead] > 0 {
			frozen++
		}
		if time.Now().After(deadline) {
			t.Fatalf("nothing dropped within %v", floodDeadline)
		}
	}
	alice.mustQuiet(t)
	bob.mustQuiet(t)
}

// TestRewrittenServerRepliesToPing is derp.TestServerRepliesToPing: a pong
// with the same eight bytes.
func TestRewrittenServerRepliesToPing(t *testing.T) {
	for name, s := range map[string]*relay.Server{"plain": shared, "TLS": sharedTLS(t)} {
		t.Run(name, func(t *testing.T) {
			c := connect(t, s)
			data := [8]byte{1, 2, 3, 4, 5, 6, 7, 42}
			if err := c.SendPing(data); err != nil {
				t.Fatal(err)
			}
			if m := c.next(t, "Pong"); m != derp.PongMessage(data) {
				t.Fatalf("got %#v, want a pong with %x", m, data)
			}
		})
	}
}

// TestRewrittenPing is derphttp.TestPing: the client's own ping, which waits
// for the answer.
func TestRewrittenPing(t *testing.T) {
	c := connect(t, shared)
	for range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), wait)
		if err := c.Ping(ctx); err != nil {
			t.Errorf("ping: %v", err)
		}
		cancel()
	}
}

// TestRewrittenNoContent is derper's TestNoContent: the page that tells a
// captive portal from the Internet answers to a challenge, if it is a decent one.
func TestRewrittenNoContent(t *testing.T) {
	long := strings.Repeat("x", 65)
	for name, c := range map[string]struct {
		challenge string
		want      string // empty: no response header
	}{
		"none":           {"", ""},
		"valid":          {"input", "response input"},
		"hostname":       {"ts_derp99b.tailscale.com", "response ts_derp99b.tailscale.com"},
		"all characters": {"azAZ09.-_:", "response azAZ09.-_:"},
		"longest":        {long[:64], "response " + long[:64]},
		"too long":       {long, ""},
		"NUL":            {"foo\x00bar", ""}, // Go's HTTP server refuses the whole request
		"space":          {"foo bar", ""},
		"tab":            {"foo\tbar", ""},
		"slash":          {"foo/bar", ""},
		"not ASCII":      {"foo\xc3\xa9", ""},
	} {
		t.Run(name, func(t *testing.T) {
			p := dialRaw(t, shared)
			request := "GET /generate_204 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
			if c.challenge != "" {
				request += "X-Tailscale-Challenge: " + c.challenge + "\r\n"
			}
			p.mustSend(t, []byte(request+"\r\n"))
			p.SetReadDeadline(time.Now().Add(wait))
			resp, err := http.ReadResponse(p.Reader(), nil)
			if err != nil {
				t.Fatal(err)
			}
			if got := resp.Header.Values("X-Tailscale-Response"); strings.Join(got, "|") != c.want {
				t.Errorf("response %q, want %q", got, c.want)
			}
			wantStatus := http.StatusNoContent
			if strings.Contains(c.challenge, "\x00") {
				wantStatus = http.StatusBadRequest
			}
			if resp.StatusCode != wantStatus {
				t.Errorf("status %s, want %d", resp.Status, wantStatus)
			}
		})
	}
}

// TestRewrittenProbe is derphttp.TestProbe. There the handler stands alone; in
// derper only /derp itself asks for an upgrade.
func TestRewrittenProbe(t *testing.T) {
	for path, want := range map[string]int{
		"/derp/probe": 200, "/derp/latency-check": 200, "/derp": http.StatusUpgradeRequired,
	} {
		if status, _, _ := get(t, shared, path); status != want {
			t.Errorf("%s: %d, want %d", path, status, want)
		}
	}
}

// TestRewrittenCertIP is derper's TestCertIP: certificate files for an address
// are served to those who name nobody.
func TestRewrittenCertIP(t *testing.T) {
	const address = "192.0.2.4"
	s := privateServer(t, relay.Options{TLS: withCA(t, pki.ECDSA, address)})
	c := mustHandshake(t, dialTCP(t, s), s.TLSConfig()) // sends no name, verifies the address
	if err := c.ConnectionState().PeerCertificates[0].VerifyHostname(address); err != nil {
		t.Error(err)
	}
	newPeer(t, c).fastStart(t).login(t).mustLive(t)
}

// TestRewrittenControlFramesInFlood is derpserver's
// TestWriterFloodDoesNotStarveControlFrames: whoever is flooded, and reads,
// still gets answers to pings.
func TestRewrittenControlFramesInFlood(t *testing.T) {
	s := privateServer(t, relay.Options{})
	victim, flooder := login(t, s), login(t, s)
	stop, flooded := make(chan struct{}), make(chan error, 1)
	go func() { flooded <- flood(flooder, victim, stop) }()
	for victim.mustRead(t, "the flood's first packet").Type != derp.FrameRecvPacket {
	}
	packets := 0
	for i := range 50 {
		echo := fmt.Appendf(nil, "flood%3d", i)
		victim.mustSend(t, wire.Encode(derp.FramePing, echo))
		for asked := time.Now(); ; {
			f := victim.mustRead(t, "Pong in a flood")
			if time.Since(asked) > wait { // the flood itself never ends
				t.Fatalf("no pong within %v of a flood", wait)
			}
			if f.Type == derp.FramePong && bytes.Equal(f.Body, echo) {
				break
			}
			if f.Type == derp.FrameRecvPacket {
				packets++
			}
		}
	}
	close(stop)
	if err := <-flooded; err != nil {
		t.Fatal(err)
	}
	t.Logf("%d packets between 50 pongs", packets)
}

// TestRewrittenConcurrentStreams is derpserver's BenchmarkConcurrentStreams:
// pairs of clients that send 100 bytes back and forth.
func TestRewrittenConcurrentStreams(t *testing.T) {
	const pairs, rounds = 8, 200
	s := privateServer(t, relay.Options{})
	var done atomic.Int64
	finished := make(chan error, 2*pairs)
	side := func(c, other *client, first bool) error {
		data := pattern(100, 5)
		for range rounds {
			if first {
				if err := c.Send(other.pub, data); err != nil {
					return err
				}
			}
			select {
			case m, ok := <-c.msgs:
				if p, is := m.(derp.ReceivedPacket); !ok || !is || p.Source != other.pub || !bytes.Equal(p.Data, data) {
					return fmt.Errorf("got %#v", m)
				}
			case <-time.After(wait):
				return fmt.Errorf("no packet within %v", wait)
			}
			if !first {
				if err := c.Send(other.pub, data); err != nil {
					return err
				}
			}
			done.Add(1)
		}
		return nil
	}
	for range pairs {
		a, b := connect(t, s), connect(t, s)
		go func() { finished <- side(a, b, true) }()
		go func() { finished <- side(b, a, false) }()
	}
	for range 2 * pairs {
		if err := <-finished; err != nil {
			t.Error(err)
		}
	}
	if n := done.Load(); n != 2*pairs*rounds {
		t.Errorf("%d packets, want %d", n, 2*pairs*rounds)
	}
}
