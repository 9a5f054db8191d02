package interop

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"ringrelay.test/interop/internal/relay"
	"ringrelay.test/interop/internal/wire"
	"tailscale.com/derp"
)

// await101 checks the 101 head byte by byte and leaves the peer with the
// server's key.
func (p *rawPeer) await101(t *testing.T) {
	t.Helper()
	head, err := p.ReadHead()
	if err != nil {
		t.Fatalf("waiting for 101: %v", err)
	}
	p.awaitServerKey(t)
	if want := wire.SwitchingProtocols(p.server); head != want {
		t.Fatalf("upgrade answer is\n%q, want\n%q", head, want)
	}
}

func TestNormalStart(t *testing.T) {
	variants := map[string][]byte{
		"as the Go client":       wire.Request(shared.Addr, "DERP"),
		"lower case":             wire.Request(shared.Addr, "derp"),
		"mixed case":             wire.Request(shared.Addr, "DeRp"),
		"websocket, no protocol": wire.Request(shared.Addr, "websocket"),
		"WebSocket, other protocol": wire.Request(shared.Addr, "WebSocket",
			"Sec-WebSocket-Protocol: chat", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="),
		"fast start header not 1": wire.Request(shared.Addr, "DERP", derp.FastStartHeader+": 0"),
		"fast start header true":  wire.Request(shared.Addr, "DERP", derp.FastStartHeader+": true"),
		"no Connection header":    []byte("GET /derp HTTP/1.1\r\nHost: x\r\nUpgrade: DERP\r\n\r\n"),
		"header names lower case": []byte("GET /derp HTTP/1.1\r\nhost: x\r\nupgrade:DERP\r\n\r\n"),
		"spaces around the value": []byte("GET /derp HTTP/1.1\r\nHost: x\r\nUpgrade:  \t DERP \t\r\n\r\n"),
		"POST":                    []byte("POST /derp HTTP/1.1\r\nHost: x\r\nUpgrade: DERP\r\n\r\n"),
		"HTTP/1.0":                []byte("GET /derp HTTP/1.0\r\nUpgrade: DERP\r\n\r\n"),
		"query":                   []byte("GET /derp?x=1 HTTP/1.1\r\nHost: x\r\nUpgrade: DERP\r\n\r\n"),
		"absolute form":           []byte("GET http://x/derp HTTP/1.1\r\nHost: x\r\nUpgrade: DERP\r\n\r\n"),
		"many other headers":      wire.Request(shared.Addr, "DERP", manyHeaders(60)...),
	}
	for name, request := range variants {
		t.Run(name, func(t *testing.T) {
			p := dialRaw(t, shared)
			p.mustSend(t, request)
			p.await101(t)
			p.login(t).mustLive(t)
		})
	}
}

func manyHeaders(n int) []string {
	h := make([]string, n)
	for i := range h {
		h[i] = "X-Filler-" + strings.Repeat("a", i+1) + ": " + strings.Repeat("b", 40)
	}
	return h
}

func TestFastStart(t *testing.T) {
	for _, upgrade := range []string{"DERP", "derp", "websocket"} {
		t.Run(upgrade, func(t *testing.T) {
			p := dialRaw(t, shared)
			p.mustSend(t, wire.Request(shared.Addr, upgrade, wire.FastStart))
			p.awaitServerKey(t) // the very first bytes
			p.login(t).mustLive(t)
		})
	}
}

func TestUpgradeRequired(t *testing.T) {
	for _, upgrade := range []string{"", "h2c", "derp2", "derp, websocket"} {
		t.Run("Upgrade="+upgrade, func(t *testing.T) {
			p := dialRaw(t, shared)
			p.mustSend(t, wire.Request(shared.Addr, upgrade))
			p.SetReadDeadline(time.Now().Add(wait))
			resp, err := p.ReadResponse()
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			const want = "DERP requires connection upgrade"
			if resp.StatusCode != http.StatusUpgradeRequired || strings.TrimSpace(string(body)) != want {
				t.Fatalf("got %s %q, want 426 %q", resp.Status, body, want)
			}
		})
	}
}

// everything is a whole conversation's worth of client bytes: login, home,
// ping, and a packet to ourselves.
func (p *rawPeer) everything(request []byte, data []byte) []byte {
	return bytes.Join([][]byte{
		request,
		p.clientInfo(wire.DefaultInfo),
		wire.Encode(derp.FrameNotePreferred, []byte{1}),
		wire.Encode(derp.FramePing, []byte("pipeline")),
		wire.SendPacket(p.pub, data),
	}, nil)
}

// awaitEverything is the other side of it. Pong and packet are not ordered.
func (p *rawPeer) awaitEverything(t *testing.T, data []byte) {
	t.Helper()
	p.awaitServerInfo(t)
	var pong, packet bool
	for !pong || !packet {
		switch f := p.mustRead(t, "Pong and packet"); {
		case !pong && f.Type == derp.FramePong && string(f.Body) == "pipeline":
			pong = true
		case !packet && f.Type == derp.FrameRecvPacket && bytes.Equal(f.Body, append(wire.Raw(p.pub), data...)):
			packet = true
		default:
			t.Fatalf("unexpected %v", f)
		}
	}
	p.mustLive(t)
}

func TestPipelinedStart(t *testing.T) {
	server := fastStart(t, shared).server
	starts := map[string]struct {
		request []byte
		await   func(*rawPeer, *testing.T)
	}{
		"normal": {wire.Request(shared.Addr, "DERP"), (*rawPeer).await101},
		"fast":   {wire.Request(shared.Addr, "DERP", wire.FastStart), (*rawPeer).awaitServerKey},
	}
	sends := map[string]func(*rawPeer, []byte) error{
		"in one segment":       func(p *rawPeer, b []byte) error { return p.Send(b) },
		"one byte per segment": func(p *rawPeer, b []byte) error { return p.SendBytewise(b) },
	}
	for startName, start := range starts {
		for sendName, send := range sends {
			t.Run(startName+"/"+sendName, func(t *testing.T) {
				p := dialRaw(t, shared)
				p.server = server
				// Long enough not to fit a server's first read, in one segment or not.
				data := pattern(6000, 9)
				if err := send(p, p.everything(start.request, data)); err != nil {
					t.Fatal(err)
				}
				start.await(p, t)
				p.awaitEverything(t, data)
			})
		}
	}
}

// TestGoClientByHand dials and sends the request itself, then hands the
// connection to the library, as derphttp does behind TLS.
func TestGoClientByHand(t *testing.T) {
	server := fastStart(t, shared).server
	start := func(t *testing.T, fast bool) *derp.Client {
		p := dialRaw(t, shared)
		brw := bufio.NewReadWriter(p.Reader(), bufio.NewWriter(p.Conn))
		p.SetDeadline(time.Now().Add(wait))
		var opts []derp.ClientOpt
		if fast {
			// Not flushed: request and ClientInfo leave together.
			brw.Write(wire.Request(shared.Addr, "DERP", wire.FastStart))
			opts = append(opts, derp.ServerPublicKey(server))
		} else {
			p.mustSend(t, wire.Request(shared.Addr, "DERP"))
			resp, err := http.ReadResponse(brw.Reader, nil)
			if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
				t.Fatalf("upgrade: %v %v", resp, err)
			}
		}
		opts = append(opts, derp.CanAckPings(true), derp.IsProber(true), derp.AppName("interop"))
		c, err := derp.NewClient(p.priv, p.Conn, brw, t.Logf, opts...)
		if err != nil {
			t.Fatalf("derp.NewClient: %v", err)
		}
		if err := c.NotePreferred(true); err != nil {
			t.Fatal(err)
		}
		return c
	}
	for name, fast := range map[string]bool{"normal": false, "fast": true} {
		t.Run(name, func(t *testing.T) {
			c := start(t, fast)
			if c.ServerPublicKey() != server {
				t.Fatalf("server key %v, want %v", c.ServerPublicKey(), server)
			}
			if m, err := c.Recv(); err != nil || m != (derp.ServerInfoMessage{}) {
				t.Fatalf("first message %#v, %v, want an empty ServerInfoMessage", m, err)
			}
			if err := c.Send(c.PublicKey(), []byte("self")); err != nil {
				t.Fatal(err)
			}
			m, err := c.Recv()
			p, ok := m.(derp.ReceivedPacket)
			if err != nil || !ok || p.Source != c.PublicKey() || string(p.Data) != "self" {
				t.Fatalf("got %#v, %v, want our own packet", m, err)
			}
		})
	}
}

// TestIPv6 runs the first steps over the other family.
func TestIPv6(t *testing.T) {
	s := privateServer(t, relay.Options{Host: "::1"})
	p := dialRaw(t, s)
	p.mustSend(t, wire.Request(s.Addr, "DERP"))
	p.await101(t)
	p.login(t).mustLive(t)
	a, b := connect(t, s), connect(t, s)
	a.mustSend(t, b.pub, []byte("six"))
	b.mustReceive(t, a.pub, []byte("six"))
}
