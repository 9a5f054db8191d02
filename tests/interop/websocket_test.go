package interop

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"ringrelay.test/interop/internal/pki"
	"ringrelay.test/interop/internal/relay"
	"ringrelay.test/interop/internal/wire"
	"tailscale.com/derp"
	"tailscale.com/net/wsconn"
	"tailscale.com/types/key"
)

const metricWebSockets = "derp_websocket_accepts"

// How long the server waits for the answer to its close frame.
const wsLinger = 2 * time.Second

func closesMetric(reason string) string { return fmt.Sprintf("ringrelay_closes{reason=%q}", reason) }

func isOurs() bool { return program.Kind == relay.Ringrelay }

// wsServers runs a test over plain HTTP and over TLS.
func wsServers(t *testing.T, test func(*testing.T, *relay.Server)) {
	t.Run("plain", func(t *testing.T) { test(t, shared) })
	t.Run("TLS", func(t *testing.T) { test(t, sharedTLS(t)) })
}

func wsPrivate(t *testing.T, withTLS bool, args ...string) *relay.Server {
	t.Helper()
	o := relay.Options{Args: args}
	if withTLS {
		o.TLS = withCA(t, pki.ECDSA, tlsName)
	}
	return privateServer(t, o)
}

// ---- the handshake ----

func TestWebSocketHandshakeRefused(t *testing.T) {
	line := func(old, new string) []byte {
		r := string(wsRequest("x", wsDerp))
		changed := strings.Replace(r, old, new, 1)
		if changed == r {
			t.Fatalf("%q is not in the request", old)
		}
		return []byte(changed)
	}
	cases := map[string]struct {
		request []byte
		status  int
		header  string
	}{
		"HTTP/1.0":            {line("HTTP/1.1", "HTTP/1.0"), 426, ""},
		"no Connection":       {line("Connection: Upgrade\r\n", ""), 426, "Upgrade: websocket"},
		"Connection: close":   {line("Connection: Upgrade", "Connection: close"), 426, "Upgrade: websocket"},
		"HEAD":                {line("GET", "HEAD"), 405, ""},
		"POST":                {line("GET", "POST"), 405, ""},
		"no version":          {line("Sec-WebSocket-Version: 13\r\n", ""), 400, "Sec-WebSocket-Version: 13"},
		"version 8":           {line("Version: 13", "Version: 8"), 400, "Sec-WebSocket-Version: 13"},
		"no key":              {line("Sec-WebSocket-Key: "+wsKey+"\r\n", ""), 400, ""},
		"two keys":            {line("Sec-WebSocket-Key: ", "Sec-WebSocket-Key: "+wsKey+"\r\nSec-WebSocket-Key: "), 400, ""},
		"short key":           {line(wsKey, "dGhlIHNhbXBsZSBub24="), 400, ""},
		"long key":            {line(wsKey, "dGhlIHNhbXBsZSBub25jZTEy"), 400, ""},
		"key without padding": {line(wsKey, strings.TrimRight(wsKey, "=")), 400, ""},
		"key not base64":      {line(wsKey, "dGhlIHNhbXBsZSBub2*jZQ=="), 400, ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			p := wsDial(t, shared)
			p.sendBytes(t, c.request)
			resp := p.response(t)
			if resp.StatusCode != c.status {
				t.Fatalf("got %s, want %d", resp.Status, c.status)
			}
			if name, value, ok := strings.Cut(c.header, ": "); ok && resp.Header.Get(name) != value {
				t.Fatalf("%s is %q, want %q", name, resp.Header.Get(name), value)
			}
		})
	}
}

func TestWebSocketStart(t *testing.T) {
	const get = "GET /derp HTTP/1.1\r\nHost: x\r\n"
	const rest = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + wsKey + "\r\n"
	variants := map[string]string{
		"browser": get + rest + "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nOrigin: https://example.com\r\n" +
			"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n" + wsDerp + "\r\n\r\n",
		"any case":    get + rest + "connection: UPGRADE\r\nupgrade: WebSocket\r\n" + wsDerp + "\r\n\r\n",
		"null origin": get + rest + "Connection: Upgrade\r\nUpgrade: websocket\r\nOrigin: null\r\n" + wsDerp + "\r\n\r\n",
		"several":     get + rest + "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Protocol: a,derp , b\r\n\r\n",
		"fast start":  get + rest + "Connection: Upgrade\r\nUpgrade: websocket\r\n" + wire.FastStart + "\r\n" + wsDerp + "\r\n\r\n",
		"spaces in values": get + "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: \t " + wsKey + " \r\n" +
			"Connection: Upgrade\r\nUpgrade: websocket\r\n" + wsDerp + "\r\n\r\n",
	}
	wsServers(t, func(t *testing.T, s *relay.Server) {
		for name, request := range variants {
			t.Run(name, func(t *testing.T) {
				p := wsDial(t, s)
				p.sendBytes(t, []byte(request))
				if got := p.await101(t); got != "derp" {
					t.Fatalf("the protocol is %q, want derp", got)
				}
				p.awaitServerKey(t)
				p.login(t).mustLive(t)
			})
		}
	})
}

// TestWebSocketOtherProtocol: accepted, and closed with 1008.
func TestWebSocketOtherProtocol(t *testing.T) {
	for value, echo := range map[string]string{
		"xderp":       "",
		"derper, a":   "",
		"Derp, xderp": "Derp",
		"DERP, derp":  "DERP",
	} {
		t.Run(value, func(t *testing.T) {
			wsServers(t, func(t *testing.T, s *relay.Server) {
				p := wsDial(t, s)
				p.sendBytes(t, wsRequest(s.Addr, "Sec-WebSocket-Protocol: "+value))
				if got := p.await101(t); got != echo {
					t.Fatalf("the protocol is %q, want %q", got, echo)
				}
				p.mustEnd(t, 1008)
			})
		})
	}
}

func TestWebSocketMetrics(t *testing.T) {
	s := wsPrivate(t, false)
	p := wsStart(t, s, "Ideal-Node: 1a")
	p.login(t)
	wsDial(t, s).sendBytes(t, wsRequest(s.Addr, "Sec-WebSocket-Protocol: xderp"))
	login(t, s)
	awaitVarz(t, s, map[string]float64{metricWebSockets: 1, "derp_accepts": 2, metricConnections: 2,
		"derp_current_notideal_connections": 0, `derp_tcp_rtt{le="non-tcp"}`: 1})
}

// ---- logins ----

// everythingIn wraps a whole conversation in frames by one of the ways below.
var wsWrappings = map[string]func([]byte) []byte{
	"one message": func(b []byte) []byte { return wsFrame(wsFin|wsBinary, b) },
	"a message for each byte": func(b []byte) (all []byte) {
		for i := range b {
			all = append(all, wsFrame(wsFin|wsBinary, b[i:i+1])...)
		}
		return all
	},
	"a fragment for each byte": func(b []byte) []byte { return wsFragments(b, 1, false) },
	"fragments of 7 and pings": func(b []byte) []byte { return wsFragments(b, 7, true) },
	"fragments of 100":         func(b []byte) []byte { return wsFragments(b, 100, false) },
	"empty messages in between": func(b []byte) []byte {
		empty := wsFrame(wsFin|wsBinary, nil)
		return bytes.Join([][]byte{empty, wsFrame(wsFin|wsBinary, b[:9]), empty, empty, wsFrame(wsFin|wsBinary, b[9:]), empty}, nil)
	},
	"unfinished message": func(b []byte) []byte { return wsFrame(wsBinary, b) },
}

// wsFragments is one message, with an empty last fragment.
func wsFragments(b []byte, size int, withPings bool) (all []byte) {
	first := byte(wsBinary)
	for len(b) > 0 {
		n := min(size, len(b))
		all = append(all, wsFrame(first, b[:n])...)
		if withPings {
			all = append(all, wsFrame(wsFin|wsPing, []byte("in between"))...)
			all = append(all, wsFrame(wsFin|wsPong, []byte("nobody asked"))...)
		}
		b, first = b[n:], wsContinuation
	}
	return append(all, wsFrame(wsFin|wsContinuation, nil)...)
}

func TestWebSocketPipelined(t *testing.T) {
	wsServers(t, func(t *testing.T, s *relay.Server) {
		server := wsStart(t, s).server
		sends := map[string]func(*wsPeer, []byte) error{
			"in one segment": func(p *wsPeer, b []byte) error { _, err := p.ws.Conn.Write(b); return err },
			"a byte each": func(p *wsPeer, b []byte) error {
				for i := range b {
					if _, err := p.ws.Conn.Write(b[i : i+1]); err != nil {
						return err
					}
				}
				return nil
			},
		}
		for how, send := range sends {
			for name, wrap := range wsWrappings {
				t.Run(name+", "+how, func(t *testing.T) {
					p := wsDial(t, s)
					p.server = server
					data := pattern(300, 1)
					all := p.everything(nil, data)
					if err := send(p, append(wsRequest(s.Addr, wsDerp), wrap(all)...)); err != nil {
						t.Fatal(err)
					}
					p.await101(t)
					p.awaitServerKey(t)
					p.ws.wrap = wrap
					if name == "unfinished message" {
						p.ws.wrap = func(b []byte) []byte { return wsFrame(wsContinuation, b) }
					}
					p.awaitEverything(t, data)
				})
			}
		}
	})
}

func TestWebSocketLargeLogin(t *testing.T) {
	wsServers(t, func(t *testing.T, s *relay.Server) {
		p := wsStart(t, s)
		if isOurs() { // the reference reads messages up to 32 KiB
			p.mustSend(t, infoOfFrameSize(p.rawPeer, 256<<10))
		} else {
			p.ws.wrap = func(b []byte) (all []byte) {
				for len(b) > 0 {
					n := min(30000, len(b))
					all, b = append(all, wsFrame(wsFin|wsBinary, b[:n])...), b[n:]
				}
				return all
			}
			p.mustSend(t, infoOfFrameSize(p.rawPeer, 256<<10))
			p.ws.wrap = nil
		}
		p.awaitServerInfo(t)
		p.mustLive(t)
	})
}

func TestWebSocketBadLogin(t *testing.T) {
	cases := map[string]func(*wsPeer) []byte{
		"bad box":       func(p *wsPeer) []byte { return wire.ClientInfo(p.priv, key.NewNode().Public(), wire.DefaultInfo) },
		"bad JSON":      func(p *wsPeer) []byte { return p.clientInfo("[]") },
		"Ping first":    func(*wsPeer) []byte { return wire.Encode(derp.FramePing, []byte("12345678")) },
		"too long":      func(*wsPeer) []byte { return wire.Header(derp.FrameClientInfo, 256<<10+1) },
		"legacy stream": func(p *wsPeer) []byte { return nil },
	}
	wsServers(t, func(t *testing.T, s *relay.Server) {
		for name, build := range cases {
			t.Run(name, func(t *testing.T) {
				p := wsStart(t, s)
				if b := build(p); b != nil {
					p.mustSend(t, b)
					p.mustEnd(t, 1000)
					return
				}
				p.sendBytes(t, p.clientInfo(wire.DefaultInfo)) // begins with 02 00: an unmasked, unfinished message
				p.mustEnd(t, 0, 1002, 1000)
			})
		}
	})
}

// ---- clients of the library, as browsers use it ----

// wsConnect is what derphttp does in a browser.
func wsConnect(t *testing.T, s *relay.Server) *client {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	url := "ws" + strings.TrimPrefix(s.URL("/derp"), "http")
	tr := &http.Transport{}
	if s.TLS != nil {
		tr.TLSClientConfig = s.TLSConfig()
	}
	c, _, err := websocket.Dial(ctx, url, &websocket.DialOptions{
		HTTPClient:   &http.Client{Transport: tr},
		Subprotocols: []string{"derp"},
	})
	if err != nil {
		t.Fatalf("websocket.Dial: %v", err)
	}
	nc := wsconn.NetConn(context.Background(), c, websocket.MessageBinary, url)
	priv := key.NewNode()
	dc, err := derp.NewClient(priv, nc, bufio.NewReadWriter(bufio.NewReader(nc), bufio.NewWriter(nc)), t.Logf)
	if err != nil {
		nc.Close()
		t.Fatalf("derp.NewClient: %v", err)
	}
	return wsAttach(t, dc, nc, priv)
}

// wsAttach reads for the client; Close says goodbye and must be answered.
func wsAttach(t *testing.T, dc *derp.Client, nc net.Conn, priv key.NodePrivate) *client {
	t.Helper()
	c := &client{pub: priv.Public(), msgs: make(chan derp.ReceivedMessage, 128), recv: dc.Recv, send: dc.Send}
	c.listen(t, func() { nc.Close() })
	return c
}

// wsSizes: the reference's library reads no message above 32 KiB, and writes
// a larger packet as one.
func wsSizes() []int {
	sizes := []int{0, 1, 61, 62, 83, 88, 89, 90, 125, 126, 1000, 1280, 4000, 4096, 16300, 16384, 30000}
	if isOurs() {
		sizes = append(sizes, 32700, 32726, 32727, 32728, 40000, 49152, 65000, 65490, 65491, 65492, 65535, 65536)
	}
	return sizes
}

func wsExchange(t *testing.T, a, b *client) {
	t.Helper()
	for i, size := range wsSizes() {
		there, back := pattern(size, uint64(2*i)), pattern(size, uint64(2*i+1))
		a.mustSend(t, b.pub, there)
		b.mustReceive(t, a.pub, there)
		b.mustSend(t, a.pub, back)
		a.mustReceive(t, b.pub, back)
	}
}

func TestWebSocketSendRecv(t *testing.T) {
	wsServers(t, func(t *testing.T, s *relay.Server) {
		t.Run("with a normal client", func(t *testing.T) { wsExchange(t, wsConnect(t, s), connect(t, s)) })
		t.Run("with another", func(t *testing.T) { wsExchange(t, wsConnect(t, s), wsConnect(t, s)) })
		t.Run("with itself", func(t *testing.T) {
			a := wsConnect(t, s)
			a.mustSend(t, a.pub, []byte("self"))
			a.mustReceive(t, a.pub, []byte("self"))
		})
	})
}

// TestWebSocketWorkers: the two are on different workers.
func TestWebSocketWorkers(t *testing.T) {
	if !isOurs() {
		t.Skip("the reference has no workers")
	}
	for _, withTLS := range []bool{false, true} {
		t.Run(fmt.Sprintf("TLS=%v", withTLS), func(t *testing.T) {
			s := wsPrivate(t, withTLS, "-workers", "2", "-placement", "spread")
			a, b, c := wsConnect(t, s), connect(t, s), wsConnect(t, s)
			wsExchange(t, a, b)
			wsExchange(t, b, c)
			wsExchange(t, a, c)
			awaitVarz(t, s, map[string]float64{metricWebSockets: 2})
			if varz(t, s)["ringrelay_packets_crossed"] == 0 {
				t.Fatal("no packet crossed: all clients are on one worker")
			}
		})
	}
}

// TestWebSocketInOrder: many packets at once, in both directions.
func TestWebSocketInOrder(t *testing.T) {
	wsServers(t, func(t *testing.T, s *relay.Server) {
		a, b := wsConnect(t, s), connect(t, s)
		const count = 600
		sizes := wsSizes()
		packet := func(from uint64, i int) []byte { return pattern(sizes[(i*7)%len(sizes)]/8, from+uint64(i)) }
		failed := make(chan error, 2)
		for _, dir := range []struct {
			from, to *client
			seed     uint64
		}{{a, b, 1 << 20}, {b, a, 1 << 21}} {
			go func() {
				window := make(chan struct{}, 20) // the reference's queue holds 32
				done := make(chan error, 1)
				go func() {
					for i := range count {
						window <- struct{}{}
						if err := dir.from.send(dir.to.pub, packet(dir.seed, i)); err != nil {
							done <- err
							return
						}
					}
					done <- nil
				}()
				for i := range count {
					m := <-dir.to.msgs
					p, ok := m.(derp.ReceivedPacket)
					if !ok || !bytes.Equal(p.Data, packet(dir.seed, i)) {
						failed <- fmt.Errorf("packet %d: got %.60v", i, m)
						return
					}
					<-window
				}
				failed <- <-done
			}()
		}
		timeout := time.After(3 * wait)
		for range 2 {
			select {
			case err := <-failed:
				if err != nil {
					t.Fatal(err)
				}
			case <-timeout:
				t.Fatal("packets are missing")
			}
		}
	})
}

// TestWebSocketNotCopied: a message that is alone in its TLS record is
// relayed from where it was opened.
func TestWebSocketNotCopied(t *testing.T) {
	if !isOurs() {
		t.Skip("a metric of ours")
	}
	s := wsPrivate(t, true)
	a, b := wsLogin(t, s), connect(t, s)
	for i := range 50 {
		data := pattern(20*i, uint64(i))
		a.mustSend(t, wire.SendPacket(b.pub, data))
		b.mustReceive(t, a.pub, data)
	}
	awaitVarz(t, s, map[string]float64{"derp_packets_sent": 50, "ringrelay_frames_copied": 0})
}

// ---- frames ----

// TestWebSocketRandomFrames: borders of segments, records, WebSocket frames,
// messages and DERP frames where chance puts them.
func TestWebSocketRandomFrames(t *testing.T) {
	wsServers(t, func(t *testing.T, s *relay.Server) {
		b := login(t, s)
		for seed := range uint64(20) {
			a := wsLogin(t, s)
			rng := rand.New(rand.NewPCG(seed, 0))
			var stream, frames []byte
			var packets [][]byte
			for i := range 20 {
				data := pattern(rng.IntN(3000), seed*100+uint64(i))
				packets = append(packets, data)
				stream = append(stream, wire.SendPacket(b.pub, data)...)
			}
			for len(stream) > 0 {
				n := min(1+rng.IntN(2500), len(stream))
				message, piece := stream[:n], 1+rng.IntN(600)
				stream = stream[n:]
				frames = append(frames, wsFragments(message, piece, rng.IntN(8) == 0)...)
			}
			for len(frames) > 0 {
				n := min(1+rng.IntN(5000), len(frames))
				a.sendBytes(t, frames[:n])
				frames = frames[n:]
			}
			for _, data := range packets {
				b.mustReceive(t, a.pub, data)
			}
			a.mustLive(t)
		}
	})
}

func TestWebSocketPing(t *testing.T) {
	wsServers(t, func(t *testing.T, s *relay.Server) {
		p := wsStart(t, s)
		for _, n := range []int{0, 1, 5, 125} {
			p.sendBytes(t, wsFrame(wsFin|wsPing, pattern(n, 1))) // before the login too
			p.mustPongs(t, pattern(n, 1))
		}
		p.login(t)
		for _, n := range []int{0, 1, 5, 125} {
			p.sendBytes(t, wsFrame(wsFin|wsPing, pattern(n, 2)))
			p.mustPongs(t, pattern(n, 2))
		}
		packet := wire.SendPacket(p.pub, []byte("around a ping"))
		p.sendBytes(t, wsFrame(wsBinary, packet[:20]), wsFrame(wsFin|wsPing, []byte("amid")))
		p.mustPongs(t, []byte("amid"))
		p.sendBytes(t, wsFrame(wsFin|wsPong, pattern(125, 3)), wsFrame(wsFin|wsContinuation, packet[20:]))
		p.mustReceive(t, p.pub, []byte("around a ping"))
	})
}

// TestWebSocketManyPings: the newest is answered, others may be.
func TestWebSocketManyPings(t *testing.T) {
	wsServers(t, func(t *testing.T, s *relay.Server) {
		p := wsLogin(t, s)
		var all []byte
		for i := range 1000 {
			all = append(all, wsFrame(wsFin|wsPing, fmt.Appendf(nil, "ping %d", i))...)
		}
		p.sendBytes(t, all)
		p.mustLive(t)
		if n := len(p.ws.pongs); n == 0 || string(p.ws.pongs[n-1]) != "ping 999" {
			t.Fatalf("got %d pongs, the last %q; want the newest ping answered", n, p.ws.pongs[max(n-1, 0):])
		}
	})
}

type wsViolation struct {
	name   string
	frames []byte
	code   int
	reason string // of ours
	lax    bool   // the reference lets it pass
}

func wsViolations() []wsViolation {
	unmasked := func(first byte, payload string) []byte {
		return append([]byte{first, byte(len(payload))}, payload...)
	}
	bin := byte(wsFin | wsBinary)
	note := wire.Encode(derp.FrameNotePreferred, []byte{1})
	v := func(name string, parts ...[]byte) wsViolation {
		return wsViolation{name, bytes.Join(parts, nil), 1002, "websocket_protocol", false}
	}
	lax := func(name string, parts ...[]byte) wsViolation {
		x := v(name, parts...)
		x.lax = true
		return x
	}
	text := func(name string, parts ...[]byte) wsViolation {
		x := v(name, parts...)
		x.code, x.reason = 1003, "websocket_text"
		return x
	}
	return []wsViolation{
		v("unmasked", unmasked(bin, string(note))),
		v("unmasked ping", unmasked(wsFin|wsPing, "x")),
		v("RSV1", wsFrame(bin|0x40, note)),
		v("RSV2", wsFrame(bin|0x20, note)),
		v("RSV3", wsFrame(bin|0x10, note)),
		v("opcode 3", wsFrame(wsFin|3, note)),
		v("opcode 11", wsFrame(wsFin|11, nil)),
		v("ping in fragments", wsFrame(wsPing, nil)),
		v("ping of 126", wsFrame(wsFin|wsPing, pattern(126, 1))),
		v("ping of 70000", wsFrame(wsFin|wsPing, pattern(70000, 1))),
		v("pong of 126", wsFrame(wsFin|wsPong, pattern(126, 1))),
		v("close of 126", wsFrame(wsFin|wsClose, append([]byte{3, 232}, pattern(124, 1)...))),
		v("continuation of nothing", wsFrame(wsFin|wsContinuation, note)),
		// lax: derper closes, but now and then only after more than 10 s.
		lax("message in a message", wsFrame(wsBinary, note), wsFrame(bin, note)),
		v("text in a message", wsFrame(wsBinary, note), wsFrame(wsFin|wsText, note)),
		v("close of 1 byte", wsFrame(wsFin|wsClose, []byte{3})),
		v("close with 1005", wsFrame(wsFin|wsClose, []byte{3, 237})),
		v("close with 1006", wsFrame(wsFin|wsClose, []byte{3, 238})),
		v("close with 999", wsFrame(wsFin|wsClose, []byte{3, 231})),
		v("close with 2000", wsFrame(wsFin|wsClose, []byte{7, 208})),
		v("close with 5000", wsFrame(wsFin|wsClose, []byte{0x13, 0x88})),
		lax("length in 2 bytes for 1", wsFrameForm(bin, note, 2)),
		lax("length in 8 bytes for 2", wsFrameForm(bin, pattern(200, 1), 8)),
		v("length with the top bit", []byte{bin, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 9, 1, 2, 3, 4}),
		text("text", wsFrame(wsFin|wsText, note)),
		text("text behind messages", wsFrame(bin, note), wsFrame(bin, note), wsFrame(wsText, note)),
	}
}

// mustBeRefused allows the reference to hang up without a close frame.
func (v wsViolation) mustBeRefused(t *testing.T, p *wsPeer) {
	t.Helper()
	p.SetWriteDeadline(time.Now().Add(wait))
	p.ws.Conn.Write(v.frames)
	if isOurs() {
		p.mustEnd(t, v.code)
		return
	}
	p.mustEnd(t, v.code, 1000, 0)
}

// atOnceEach runs them beside each other and waits: after each the server waits
// a quarter of a second for the client to notice.
func atOnceEach(t *testing.T, violations []wsViolation, test func(*testing.T, wsViolation)) {
	t.Run("each", func(t *testing.T) {
		for _, v := range violations {
			t.Run(v.name, func(t *testing.T) {
				t.Parallel()
				test(t, v)
			})
		}
	})
}

func TestWebSocketViolations(t *testing.T) {
	for _, withTLS := range []bool{false, true} {
		t.Run(fmt.Sprintf("TLS=%v", withTLS), func(t *testing.T) {
			s := wsPrivate(t, withTLS)
			want := map[string]float64{}
			var violations []wsViolation
			for _, v := range wsViolations() {
				if v.lax && !isOurs() {
					continue
				}
				want[closesMetric(v.reason)]++
				violations = append(violations, v)
			}
			atOnceEach(t, violations, func(t *testing.T, v wsViolation) { v.mustBeRefused(t, wsLogin(t, s)) })
			if isOurs() {
				awaitVarz(t, s, want)
			}
		})
	}
}

// TestWebSocketViolationsAtTheDoor: the same before the login.
func TestWebSocketViolationsAtTheDoor(t *testing.T) {
	for _, withTLS := range []bool{false, true} {
		t.Run(fmt.Sprintf("TLS=%v", withTLS), func(t *testing.T) {
			s := wsPrivate(t, withTLS)
			var violations []wsViolation
			for _, v := range wsViolations() {
				behindData := strings.Contains(v.name, "message") // DERP would refuse the data first
				if (v.lax && !isOurs()) || behindData {
					continue
				}
				violations = append(violations, v)
			}
			atOnceEach(t, violations, func(t *testing.T, v wsViolation) { v.mustBeRefused(t, wsStart(t, s)) })
			if isOurs() {
				eventually(t, func() string {
					got := varz(t, s)
					if n := got[`ringrelay_refusals{reason="websocket"}`]; n != float64(len(violations)) {
						return fmt.Sprintf("%v refusals, want %v", n, len(violations))
					}
					return ""
				})
			}
		})
	}
}

// TestWebSocketRefusedWhileSending: the client goes on sending, which must
// not turn the close frame into a reset.
func TestWebSocketRefusedWhileSending(t *testing.T) {
	if !isOurs() {
		t.Skip("the reference resets")
	}
	wsServers(t, func(t *testing.T, s *relay.Server) {
		for _, start := range []func(*testing.T) *wsPeer{
			func(t *testing.T) *wsPeer { return wsStart(t, s) },
			func(t *testing.T) *wsPeer { return wsLogin(t, s) },
		} {
			p := start(t)
			p.sendBytes(t, wsFrame(wsFin|wsText, pattern(100000, 1)))
			p.mustEnd(t, 1003)
		}
	})
}

// TestWebSocketBadFrames: DERP's rules are broken, not WebSocket's.
func TestWebSocketBadFrames(t *testing.T) {
	s := wsPrivate(t, false)
	wsBad := map[string][]byte{
		"NotePreferred of 2": wire.Encode(derp.FrameNotePreferred, []byte{1, 2}),
		"SendPacket of 31":   wire.Encode(derp.FrameSendPacket, pattern(31, 1)),
		"Ping of 7":          wire.Encode(derp.FramePing, pattern(7, 1)),
		"WatchConns":         wire.Encode(derp.FrameWatchConns),
	}
	for name, frame := range wsBad {
		t.Run(name, func(t *testing.T) {
			p := wsLogin(t, s)
			p.mustSend(t, frame, wire.SendPacket(p.pub, []byte("too late")))
			p.mustEnd(t, 1000)
		})
	}
	if isOurs() {
		awaitVarz(t, s, map[string]float64{closesMetric("frame_too_short"): 2, closesMetric("frame_length"): 1,
			closesMetric("frame_forbidden"): 1, metricConnections: 0})
	}
}

// TestWebSocketEndingGivesWay: while the server waits for the close frame of a
// WebSocket it has closed, packets go to another connection of the key.
func TestWebSocketEndingGivesWay(t *testing.T) {
	if !isOurs() {
		t.Skip("the reference loses them: the connection stays the active one until the close handshake is over")
	}
	const soon = wsLinger / 2
	s := wsPrivate(t, false)
	from := login(t, s)
	for range 5 { // a machine may be busy
		other := login(t, s)
		p := wsStart(t, s)
		p.priv, p.pub = other.priv, other.pub
		p.login(t)
		from.mustSend(t, wire.SendPacket(p.pub, []byte("to the newest")))
		p.mustReceive(t, from.pub, []byte("to the newest"))
		begun := time.Now()
		p.mustSend(t, wire.Encode(derp.FrameNotePreferred, []byte{1, 2}))
		if f, err := p.ReadFrame(); err == nil {
			t.Fatalf("got %v, want the end", f)
		}
		from.mustSend(t, wire.SendPacket(p.pub, []byte("to the other")))
		other.mustReceive(t, from.pub, []byte("to the other"))
		took := time.Since(begun)
		p.ws.Conn.Close()
		other.mustLive(t)
		if took < soon {
			return
		}
	}
	t.Fatalf("packets always come later than %v after the bad frame", soon)
}

func TestWebSocketClose(t *testing.T) {
	for _, withTLS := range []bool{false, true} {
		t.Run(fmt.Sprintf("TLS=%v", withTLS), func(t *testing.T) {
			s := wsPrivate(t, withTLS)
			codes := []int{1000, 1001, wsNoCode, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 4999}
			for _, code := range codes {
				p := wsLogin(t, s)
				p.sendBytes(t, wsCloseFrame(code))
				p.mustEnd(t, code)
				p = wsStart(t, s)
				p.sendBytes(t, wsCloseFrame(code))
				p.mustEnd(t, code)
			}
			p := wsLogin(t, s)
			p.sendBytes(t, wsFrame(wsFin|wsClose, append([]byte{3, 232}, "with a reason"...)))
			p.mustEnd(t, 1000)
			if isOurs() {
				awaitVarz(t, s, map[string]float64{closesMetric("eof"): 4,
					closesMetric("websocket_closed"): float64(len(codes) - 3), metricConnections: 0})
			}
		})
	}
}

// TestWebSocketGoneWithoutWords: the connection just ends.
func TestWebSocketGoneWithoutWords(t *testing.T) {
	wsServers(t, func(t *testing.T, s *relay.Server) {
		a, b := wsLogin(t, s), connect(t, s)
		a.mustSend(t, wire.SendPacket(b.pub, []byte("last")))
		b.mustReceive(t, a.pub, []byte("last"))
		a.ws.Conn.Close()
		b.mustPeerGone(t, a.pub, derp.PeerGoneReasonDisconnected)
	})
}

// TestWebSocketPoliteClient: the library's Close needs our close frame.
func TestWebSocketPoliteClient(t *testing.T) {
	wsServers(t, func(t *testing.T, s *relay.Server) {
		ctx, cancel := context.WithTimeout(context.Background(), wait)
		defer cancel()
		config := &tls.Config{}
		if s.TLS != nil {
			config = s.TLSConfig()
		}
		c, _, err := websocket.Dial(ctx, "ws"+strings.TrimPrefix(s.URL("/derp"), "http"), &websocket.DialOptions{
			HTTPClient:   &http.Client{Transport: &http.Transport{TLSClientConfig: config}},
			Subprotocols: []string{"derp"},
		})
		if err != nil {
			t.Fatal(err)
		}
		if typ, b, err := c.Read(ctx); err != nil || typ != websocket.MessageBinary || len(b) < 45 && isOurs() {
			t.Fatalf("the first message is %v, %x, %v, want ServerKey", typ, b, err)
		}
		if isOurs() { // the reference does not read while the library waits
			if err := c.Ping(c.CloseRead(ctx)); err != nil {
				t.Fatalf("ping: %v", err)
			}
		}
		if err := c.Close(websocket.StatusNormalClosure, "bye"); err != nil {
			t.Fatalf("close: %v", err)
		}
	})
}

// TestWebSocketLoginDeadline: pings do not buy time.
func TestWebSocketLoginDeadline(t *testing.T) {
	slow(t)
	p := wsStart(t, shared)
	go func() {
		for range time.Tick(time.Second) {
			if _, err := p.ws.Conn.Write(wsFrame(wsFin|wsPing, []byte("wait for me"))); err != nil {
				return
			}
		}
	}()
	p.mustDrop(t, 8*time.Second, 10*time.Second+slack)
}

// TestWebSocketCloseUnderLoad: the answer to a close frame waits for the send
// that is under way, and is not lost for it.
func TestWebSocketCloseUnderLoad(t *testing.T) {
	wsServers(t, func(t *testing.T, s *relay.Server) {
		for range 10 {
			a, from := wsLogin(t, s), connect(t, s)
			stop, stopped := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(stopped)
				for data := pattern(1000, 1); ; {
					select {
					case <-stop:
						return
					default:
						from.send(a.pub, data)
					}
				}
			}()
			for range 100 {
				a.mustRead(t, "a packet")
			}
			a.sendBytes(t, wsCloseFrame(1000))
			var err error
			for err == nil {
				_, err = a.ReadFrame()
			}
			close(stop)
			<-stopped
			if a.ws.closed != 1000 {
				t.Fatalf("closed with %d (0: without a close frame; %v), want 1000", a.ws.closed, err)
			}
		}
	})
}

// TestWebSocketMessagesInOneRecord: the first goes nowhere, and with it the
// memory that it was opened into, unless the others are still in there.
func TestWebSocketMessagesInOneRecord(t *testing.T) {
	wsServers(t, func(t *testing.T, s *relay.Server) {
		a, b := wsLogin(t, s), login(t, s)
		for size := range 60 {
			data := pattern(size*40, uint64(size))
			message := wsFrame(wsFin|wsBinary, wire.SendPacket(b.pub, data))
			a.sendBytes(t, wsFrame(wsFin|wsBinary, wire.SendPacket(key.NewNode().Public(), data)), message, message)
			b.mustReceive(t, a.pub, data)
			b.mustReceive(t, a.pub, data)
		}
	})
}

// TestWebSocketChunks: two packets that just fit into one send, or just do
// not, while each message needs a new key.
func TestWebSocketChunks(t *testing.T) {
	if !isOurs() {
		t.Skip("an option of ours")
	}
	t.Run("plain", func(t *testing.T) { wsChunks(t, wsPrivate(t, false), 32700, 32830) })
	t.Run("TLS", func(t *testing.T) { wsChunks(t, wsPrivate(t, true, "-tls-rekey-after", "1"), 32510, 32670) })
}

func wsChunks(t *testing.T, s *relay.Server, least, most int) {
	t.Helper()
	a, b := login(t, s), wsLogin(t, s)
	for size := least; size < most; size++ {
		packets := [][]byte{pattern(65536, 1), pattern(size, 2), pattern(33000, 3)}
		var all []byte
		for _, data := range packets {
			all = append(all, wire.SendPacket(b.pub, data)...)
		}
		a.mustSend(t, all)
		for _, data := range packets {
			b.mustReceive(t, a.pub, data)
		}
	}
}

// TestWebSocketRekey: a frame in several messages, and the key changes with
// each record.
func TestWebSocketRekey(t *testing.T) {
	if !isOurs() {
		t.Skip("an option of ours")
	}
	for _, after := range []string{"1", "2", "3", "100"} {
		t.Run("after "+after, func(t *testing.T) {
			s := wsPrivate(t, true, "-tls-rekey-after", after)
			wsExchange(t, wsConnect(t, s), wsConnect(t, s))
		})
	}
}
