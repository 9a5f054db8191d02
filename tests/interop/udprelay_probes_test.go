package interop

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"go4.org/mem"
	"ringrelay.test/interop/internal/relay"
	"tailscale.com/disco"
	"tailscale.com/net/stun"
	"tailscale.com/types/key"
)

// What Tailscale's relay was seen to do with every odd datagram, one by one. That something is dropped is proven by
// what comes behind it: see settle, and mustGet, which takes no other datagram first.

// TestUDPRelayBind: which Binds are answered.
func TestUDPRelayBind(t *testing.T) {
	t.Parallel()
	u := startUDPRelay(t, "127.0.0.1", "::1")
	bindOf := func(l *relayLeg, change func(*disco.BindUDPRelayEndpointCommon)) []byte {
		m := &disco.BindUDPRelayEndpoint{BindUDPRelayEndpointCommon: l.common(1)}
		change(&m.BindUDPRelayEndpointCommon)
		return m.AppendMarshal(nil)
	}
	unchanged := func(*disco.BindUDPRelayEndpointCommon) {}
	plain := func(l *relayLeg) []byte { return bindOf(l, unchanged) }
	typed := func(l *relayLeg, messageType byte) []byte {
		b := l.control(append([]byte{messageType}, plain(l)[1:]...))
		return b
	}
	for name, datagram := range map[string]func(a, b *relayLeg) []byte{
		"generation 0": func(a, b *relayLeg) []byte { return a.bind(0) },
		"RemoteKey of a stranger": func(a, b *relayLeg) []byte {
			return a.control(bindOf(a, func(m *disco.BindUDPRelayEndpointCommon) { m.RemoteKey = key.NewDisco().Public() }))
		},
		"RemoteKey of the relay": func(a, b *relayLeg) []byte {
			return a.control(bindOf(a, func(m *disco.BindUDPRelayEndpointCommon) { m.RemoteKey = a.endpoint.ServerDisco }))
		},
		"RemoteKey its own": func(a, b *relayLeg) []byte {
			return a.control(bindOf(a, func(m *disco.BindUDPRelayEndpointCommon) { m.RemoteKey = a.private.Public() }))
		},
		"RemoteKey zero": func(a, b *relayLeg) []byte {
			return a.control(bindOf(a, func(m *disco.BindUDPRelayEndpointCommon) { m.RemoteKey = key.DiscoPublic{} }))
		},
		"inner VNI one more": func(a, b *relayLeg) []byte {
			return a.control(bindOf(a, func(m *disco.BindUDPRelayEndpointCommon) { m.VNI++ }))
		},
		"inner VNI 0": func(a, b *relayLeg) []byte {
			return a.control(bindOf(a, func(m *disco.BindUDPRelayEndpointCommon) { m.VNI = 0 }))
		},
		"inner VNI with a 25th bit": func(a, b *relayLeg) []byte {
			return a.control(bindOf(a, func(m *disco.BindUDPRelayEndpointCommon) { m.VNI |= 1 << 24 }))
		},
		"one byte short":         func(a, b *relayLeg) []byte { return a.control(plain(a)[:len(plain(a))-1]) },
		"of the first release":   func(a, b *relayLeg) []byte { return a.control(plain(a)[:2+32]) },
		"type alone":             func(a, b *relayLeg) []byte { return a.control([]byte{4}) },
		"nothing in the box":     func(a, b *relayLeg) []byte { return a.control(nil) },
		"type 0":                 func(a, b *relayLeg) []byte { return typed(a, 0) },
		"a Ping":                 func(a, b *relayLeg) []byte { return typed(a, 1) },
		"a Challenge":            func(a, b *relayLeg) []byte { return typed(a, 5) },
		"a CallMeMaybeVia":       func(a, b *relayLeg) []byte { return typed(a, 7) },
		"an AllocateRequest":     func(a, b *relayLeg) []byte { return typed(a, 8) },
		"an unknown type":        func(a, b *relayLeg) []byte { return typed(a, 0x7f) },
		"Answer to no challenge": func(a, b *relayLeg) []byte { return a.answer(1, challenge{}) },
		"box for the other client": func(a, b *relayLeg) []byte {
			return append(header(a.endpoint.VNI, true, 0x7a11), a.envelope(a.remote, plain(a))...)
		},
		"sender of another pair": func(a, b *relayLeg) []byte {
			return a.same(key.NewDisco(), a.remote).bind(1)
		},
		"sender the relay itself": func(a, b *relayLeg) []byte {
			d := a.bind(1)
			copy(d[8+6:], a.endpoint.ServerDisco.AppendTo(nil))
			return d
		},
		"sender the other client": func(a, b *relayLeg) []byte {
			d := a.bind(1)
			copy(d[8+6:], a.remote.AppendTo(nil))
			return d
		},
		"magic wrong":             func(a, b *relayLeg) []byte { d := a.bind(1); d[8] ^= 1; return d },
		"tag wrong":               func(a, b *relayLeg) []byte { d := a.bind(1); d[8+62] ^= 1; return d },
		"nonce wrong":             func(a, b *relayLeg) []byte { d := a.bind(1); d[8+38] ^= 1; return d },
		"last bit wrong":          func(a, b *relayLeg) []byte { d := a.bind(1); d[len(d)-1] ^= 1; return d },
		"cut within the tag":      func(a, b *relayLeg) []byte { return a.bind(1)[:8+62+15] },
		"cut behind the nonce":    func(a, b *relayLeg) []byte { return a.bind(1)[:8+62] },
		"cut within the nonce":    func(a, b *relayLeg) []byte { return a.bind(1)[:8+61] },
		"cut behind the magic":    func(a, b *relayLeg) []byte { return a.bind(1)[:8+6] },
		"cut behind the header":   func(a, b *relayLeg) []byte { return a.bind(1)[:8] },
		"cut within the header":   func(a, b *relayLeg) []byte { return a.bind(1)[:7] },
		"one byte":                func(a, b *relayLeg) []byte { return []byte{7} },
		"nothing":                 func(a, b *relayLeg) []byte { return nil },
		"protocol of WireGuard":   func(a, b *relayLeg) []byte { d := a.bind(1); d[3] = 0x12; return d },
		"protocol of Ethernet":    func(a, b *relayLeg) []byte { d := a.bind(1); d[2], d[3] = 0x65, 0x58; return d },
		"outer VNI 0":             func(a, b *relayLeg) []byte { d := a.bind(1); clear(d[4:7]); return d },
		"outer VNI of all bits":   func(a, b *relayLeg) []byte { d := a.bind(1); copy(d[4:], "\xff\xff\xff"); return d },
		"outer VNI of other bits": func(a, b *relayLeg) []byte { d := a.bind(1); d[4] ^= 0x55; return d },
	} {
		t.Run("dropped/"+name, func(t *testing.T) {
			a, b := newPair(t, u, "127.0.0.1", "::1")
			a.mustSend(t, datagram(a, b))
			a.settle(t)
		})
	}

	for name, plain := range map[string]func(plain []byte) []byte{
		"as it should be":               func(p []byte) []byte { return p },
		"inner version 9":               func(p []byte) []byte { p[1] = 9; return p },
		"three more bytes":              func(p []byte) []byte { return append(p, 1, 2, 3) },
		"inner version 9 and more":      func(p []byte) []byte { p[1] = 9; return append(p, 1, 2, 3) },
		"96 more bytes":                 func(p []byte) []byte { return append(p, make([]byte, 96)...) },
		"something for a challenge":     func(p []byte) []byte { return append(p[:42], bytes.Repeat([]byte{0xaa}, 32)...) },
		"highest generation":            func(p []byte) []byte { copy(p[6:], "\xff\xff\xff\xff"); return p },
		"generation with the sign only": func(p []byte) []byte { copy(p[6:], "\x80\x00\x00\x00"); return p },
	} {
		t.Run("answered/"+name, func(t *testing.T) {
			a, _ := newPair(t, u, "127.0.0.1", "::1")
			p := plain(bindOf(a, unchanged))
			a.mustSend(t, a.control(p))
			a.readChallenge(t, a.next(t, "a challenge"), binary.BigEndian.Uint32(p[6:]))
		})
	}

	t.Run("much behind it", func(t *testing.T) {
		a, _ := newPair(t, u, "127.0.0.1", "::1")
		a.mustSend(t, a.control(append(bindOf(a, unchanged), make([]byte, 97)...)), a.bind(2))
		var buf [handshakeSize]byte
		a.SetReadDeadline(time.Now().Add(wait))
		if _, err := a.Read(buf[:]); err != nil {
			t.Fatal(err)
		}
		m, _, _, err := a.openDisco(buf[:])
		c, ok := m.(*disco.BindUDPRelayEndpointChallenge)
		if err != nil || !ok {
			t.Fatalf("got %T, %v", m, err)
		}
		mustDiffer(t, "Bind with more than 96 bytes behind it",
			map[uint32]string{1: "answered", 2: "dropped"}[c.Generation])
	})

	// The answer has a clean header whatever the question had.
	for name, mangle := range mangledHeaders {
		t.Run("answered/header with "+name, func(t *testing.T) {
			a, _ := newPair(t, u, "127.0.0.1", "::1")
			d := a.bind(1)
			mangle(d)
			a.mustSend(t, d)
			a.readChallenge(t, a.next(t, "a challenge"), 1)
		})
	}
}

// mangledHeaders set bits of a header that a relay does not look at.
var mangledHeaders = map[string]func(header []byte){
	"version":           func(h []byte) { h[0] |= 0xc0 },
	"length of options": func(h []byte) { h[0] |= 0x3f },
	"critical options":  func(h []byte) { h[1] |= 0x40 },
	"reserved bits":     func(h []byte) { h[1] |= 0x3f },
	"last byte":         func(h []byte) { h[7] = 0xff },
	"all of these":      func(h []byte) { h[0] = 0xff; h[1] |= 0x7f; h[7] = 0xff },
}

// TestUDPRelayHandshake: what a challenge is worth, to whom, and for how long.
func TestUDPRelayHandshake(t *testing.T) {
	t.Parallel()
	u := startUDPRelay(t, "127.0.0.1", "::1")
	// A pair with b bound; a has everything before it.
	halfBound := func(t *testing.T) (a, b *relayLeg) {
		a, b = newPair(t, u, "127.0.0.1", "127.0.0.1")
		b.mustBind(t)
		return a, b
	}
	probes := map[string]func(t *testing.T, a, b *relayLeg){
		"the same Bind twice, one challenge": func(t *testing.T, a, b *relayLeg) {
			d := a.bind(7)
			a.mustSend(t, d, d)
			first := a.readChallenge(t, a.next(t, "a challenge"), 7)
			if second := a.readChallenge(t, a.next(t, "a second challenge"), 7); second != first {
				t.Errorf("got %x, then %x", first, second)
			}
			if third := a.ask(t, 7); third != first {
				t.Errorf("sealed anew: got %x, then %x", first, third)
			}
			a.mustSend(t, a.answer(7, first))
			a.mustPass(t, b, "bound")
		},
		"other socket, other challenge": func(t *testing.T, a, b *relayLeg) {
			if a.ask(t, 7) == a.moved(t).ask(t, 7) {
				t.Error("it is the same")
			}
		},
		"other generation, other challenge": func(t *testing.T, a, b *relayLeg) {
			if a.ask(t, 7) == a.ask(t, 8) {
				t.Error("it is the same")
			}
		},
		"other leg, other challenge": func(t *testing.T, a, b *relayLeg) {
			if a.ask(t, 7) == a.same(b.private, b.remote).ask(t, 7) {
				t.Error("it is the same")
			}
		},
		"Bind 5, Bind 2: Answer 5 is too late": func(t *testing.T, a, b *relayLeg) {
			five := a.ask(t, 5)
			two := a.ask(t, 2)
			a.mustSend(t, a.answer(5, five), a.data("not bound yet"), a.answer(2, two))
			a.mustPass(t, b, "bound")
		},
		"Answer from another socket": func(t *testing.T, a, b *relayLeg) {
			c := a.ask(t, 1)
			stranger := a.moved(t)
			stranger.mustSend(t, stranger.answer(1, c), stranger.data("not bound"))
			stranger.same(b.private, b.remote).settle(t) // of the other leg, so as not to disturb this one
			a.mustSend(t, a.answer(1, c))
			a.mustPass(t, b, "bound")
		},
		"Answer by another family": func(t *testing.T, a, b *relayLeg) {
			c := a.ask(t, 1)
			stranger := newLeg(t, a.endpoint, u.at("::1"), a.private, a.remote)
			stranger.mustSend(t, stranger.answer(1, c), stranger.data("not bound"))
			stranger.same(b.private, b.remote).settle(t)
			a.mustSend(t, a.answer(1, c))
			a.mustPass(t, b, "bound")
		},
		"Answer with the other leg's challenge": func(t *testing.T, a, b *relayLeg) {
			other := a.same(b.private, b.remote).ask(t, 1)
			right := a.ask(t, 1)
			a.mustSend(t, a.answer(1, other), a.data("not bound"), a.answer(1, right))
			a.mustPass(t, b, "bound")
		},
		"Answer replayed after it was taken": func(t *testing.T, a, b *relayLeg) {
			d := a.answer(1, a.ask(t, 1))
			a.mustSend(t, d)
			a.same(b.private, b.remote).settle(t)
			a2 := a.moved(t)
			a2.handshake(t)
			a2.mustPass(t, b, "moved")
			a.mustSend(t, d, a.data("not bound any more"))
			a.same(b.private, b.remote).settle(t)
			a2.mustPass(t, b, "still there")
		},
		"Bind and Answer replayed": func(t *testing.T, a, b *relayLeg) {
			bind := a.bind(1)
			a.mustSend(t, bind)
			answer := a.answer(1, a.readChallenge(t, a.next(t, "a challenge"), 1))
			a.mustSend(t, answer)
			a.same(b.private, b.remote).settle(t)
			a2 := a.moved(t)
			a2.handshake(t)
			a2.mustPass(t, b, "moved")
			a.mustSend(t, bind)
			a.readChallenge(t, a.next(t, "a challenge"), 1)
			a.mustSend(t, answer)
			a.same(b.private, b.remote).settle(t)
			old, moved := a.data("from the old socket"), a2.data("from the new one")
			a.mustSend(t, old)
			a.same(b.private, b.remote).settle(t)
			a2.mustSend(t, moved)
			a2.same(b.private, b.remote).settle(t)
			got := b.next(t, "one of two")
			mustDiffer(t, "Bind and Answer replayed",
				map[bool]string{true: "bound", false: "dropped"}[bytes.Equal(got, old)])
		},
		"Answer replayed, with a new one to come": func(t *testing.T, a, b *relayLeg) {
			d := a.answer(1, a.ask(t, 1))
			a.mustSend(t, d)
			second := a.ask(t, 2)
			a.mustSend(t, d, a.answer(2, second))
			a.mustPass(t, b, "bound")
		},
		"Bind of a bound leg, never answered": func(t *testing.T, a, b *relayLeg) {
			a.mustBind(t)
			a.moved(t).ask(t, 99)
			a.mustPass(t, b, "still here")
			b.mustPass(t, a, "and back")
		},
		"Answer after a Bind from elsewhere, same generation": func(t *testing.T, a, b *relayLeg) {
			c := a.ask(t, 3)
			a.moved(t).ask(t, 3)
			a.mustSend(t, a.answer(3, c))
			a.mustPass(t, b, "bound")
		},
		"Answer after a Bind from elsewhere, another generation": func(t *testing.T, a, b *relayLeg) {
			c := a.ask(t, 3)
			a.moved(t).ask(t, 4)
			a.mustSend(t, a.answer(3, c), a.data("not bound"))
			a.handshake(t)
			a.mustPass(t, b, "bound")
		},
		"both legs at one socket": func(t *testing.T, a, b *relayLeg) {
			a.mustBind(t)
			both := a.same(b.private, b.remote)
			both.generation = b.generation
			both.mustBind(t)
			a.mustPass(t, both, "to myself")
		},
	}
	wrong := map[string]func(m *disco.BindUDPRelayEndpointCommon){
		"generation":      func(m *disco.BindUDPRelayEndpointCommon) { m.Generation++ },
		"generation 0":    func(m *disco.BindUDPRelayEndpointCommon) { m.Generation = 0 },
		"VNI":             func(m *disco.BindUDPRelayEndpointCommon) { m.VNI++ },
		"RemoteKey":       func(m *disco.BindUDPRelayEndpointCommon) { m.RemoteKey = key.NewDisco().Public() },
		"first bit":       func(m *disco.BindUDPRelayEndpointCommon) { m.Challenge[0] ^= 0x80 },
		"last bit":        func(m *disco.BindUDPRelayEndpointCommon) { m.Challenge[31] ^= 1 },
		"challenge of 0s": func(m *disco.BindUDPRelayEndpointCommon) { m.Challenge = challenge{} },
	}
	for what, change := range wrong {
		probes["Answer with wrong "+what] = func(t *testing.T, a, b *relayLeg) {
			m := &disco.BindUDPRelayEndpointAnswer{BindUDPRelayEndpointCommon: a.common(1)}
			m.Challenge = a.ask(t, 1)
			c := m.Challenge
			change(&m.BindUDPRelayEndpointCommon)
			a.mustSend(t, a.control(m.AppendMarshal(nil)), a.data("not bound"))
			a.mustSend(t, a.answer(1, c)) // what was wrong has spoilt nothing
			a.mustPass(t, b, "bound")
		}
	}
	for name, probe := range probes {
		t.Run(name, func(t *testing.T) {
			a, b := halfBound(t)
			probe(t, a, b)
		})
	}
}

// TestUDPRelayData: what is forwarded, and that it is forwarded as it is.
func TestUDPRelayData(t *testing.T) {
	t.Parallel()
	u := startUDPRelay(t, "127.0.0.1", "::1")
	for _, hosts := range [][2]string{{"127.0.0.1", "127.0.0.1"}, {"::1", "::1"}, {"127.0.0.1", "::1"}} {
		t.Run(hosts[0]+" to "+hosts[1], func(t *testing.T) {
			a, b := boundPair(t, u, hosts[0], hosts[1])
			passes := map[string][]byte{
				"nothing behind the header": a.data(""),
				"one byte":                  a.data("x"),
				"Ethernet":                  append(header(a.endpoint.VNI, false, 0x6558), "frame"...),
				"protocol 0":                append(header(a.endpoint.VNI, false, 0), "?"...),
				"disco that is none":        append(header(a.endpoint.VNI, false, 0x7a11), "TS"...),
				"Ping":                      a.toPeer(&disco.Ping{}),
				"Bind without O":            append(header(a.endpoint.VNI, false, 0x7a11), a.bind(1)[8:]...),
				"1280 bytes":                a.data(strings.Repeat("a", 1280-8)),
				"9000 bytes":                a.data(string(pattern(9000-8, 1))),
				"60000 bytes":               a.data(string(pattern(60000-8, 2))),
				"most that IPv4 takes":      a.data(string(pattern(65507-8, 3))),
			}
			for name, mangle := range mangledHeaders {
				d := a.data("odd")
				mangle(d)
				passes["header with "+name] = d
			}
			for name, d := range passes {
				t.Run(name, func(t *testing.T) {
					a.mustSend(t, d)
					b.mustGet(t, d)
					b.mustSend(t, d)
					a.mustGet(t, d)
				})
			}
		})
	}

	dropped := map[string]func(a *relayLeg) []byte{
		"seven bytes":                   func(a *relayLeg) []byte { return a.data("")[:7] },
		"one byte":                      func(a *relayLeg) []byte { return []byte{7} },
		"nothing":                       func(a *relayLeg) []byte { return nil },
		"O with the WireGuard protocol": func(a *relayLeg) []byte { return append(header(a.endpoint.VNI, true, 0x7a12), 1) },
		"O with disco that is none":     func(a *relayLeg) []byte { return append(header(a.endpoint.VNI, true, 0x7a11), 1) },
		"O and nothing else":            func(a *relayLeg) []byte { return header(a.endpoint.VNI, true, 0x7a11) },
		"VNI 0":                         func(a *relayLeg) []byte { return append(header(0, false, 0x7a12), 1) },
		"another VNI": func(a *relayLeg) []byte {
			return append(header(a.endpoint.VNI^1<<23, false, 0x7a12), 1)
		},
		"a STUN response nobody asked for": func(a *relayLeg) []byte {
			return stun.Response(stun.NewTxID(), u.at("127.0.0.1"))
		},
		"STUN that is no request": func(a *relayLeg) []byte {
			return append(stun.Request(stun.NewTxID())[:39], 0)
		},
		"naked disco":     func(a *relayLeg) []byte { return a.envelope(a.remote, (&disco.Ping{}).AppendMarshal(nil)) },
		"naked WireGuard": func(a *relayLeg) []byte { return append([]byte{1, 0, 0, 0}, make([]byte, 144)...) },
	}
	for name, datagram := range dropped {
		t.Run("dropped/"+name, func(t *testing.T) {
			a, b := boundPair(t, u, "127.0.0.1", "127.0.0.1")
			a.mustSend(t, datagram(a))
			a.settle(t)
			a.mustPass(t, b, "what is behind it")
			b.settle(t)
		})
	}

	t.Run("dropped/from a socket that is not bound", func(t *testing.T) {
		a, b := boundPair(t, u, "127.0.0.1", "127.0.0.1")
		c := a.moved(t)
		c.mustSend(t, c.data("not mine"))
		c.settle(t)
		a.mustPass(t, b, "a")
		b.mustPass(t, a, "b")
	})
	t.Run("dropped/with the VNI of another pair", func(t *testing.T) {
		a, b := boundPair(t, u, "127.0.0.1", "127.0.0.1")
		c, d := boundPair(t, u, "127.0.0.1", "127.0.0.1")
		a.mustSend(t, c.data("from a"))
		a.settle(t)
		a.mustPass(t, b, "a")
		c.mustPass(t, d, "c")
	})

	t.Run("dropped/before both are bound", func(t *testing.T) {
		a, b := newPair(t, u, "127.0.0.1", "127.0.0.1")
		a.mustSend(t, a.data("none is bound"))
		a.mustBind(t)
		a.mustSend(t, a.data("one is bound"))
		a.settle(t)
		b.mustBind(t)
		a.mustPass(t, b, "both are")
		b.mustPass(t, a, "both")
		s := mustSession(t, u, a.endpoint.VNI)
		if s.Client1.PacketsTx != 1 || s.Client2.PacketsTx != 1 {
			t.Errorf("counted: %+v", s)
		}
	})

	t.Run("to a client that has hung up", func(t *testing.T) {
		a, b := boundPair(t, u, "127.0.0.1", "::1")
		c, d := boundPair(t, u, "127.0.0.1", "::1")
		b2 := b.moved(t)
		b.Close()
		run := make([][]byte, 30)
		for i := range run {
			run[i] = a.data(string(pattern(1000, uint64(i))))
		}
		for range 5 {
			a.sendRun(t, run...)
			a.mustSend(t, run...)
			c.mustPass(t, d, "not concerned")
			d.mustPass(t, c, "nor back")
		}
		a.settle(t)
		b2.handshake(t)
		b2.mustPass(t, a, "here again")
		a.mustPass(t, b2, "and there")
	})

	t.Run("a new binding under way", func(t *testing.T) {
		a, b := boundPair(t, u, "127.0.0.1", "::1")
		a2 := newLeg(t, a.endpoint, u.at("::1"), a.private, a.remote) // it changes the family, too
		c := a2.ask(t, 77)
		b.mustPass(t, a, "to the old socket")
		a.mustPass(t, b, "from the old socket")
		a2.mustSend(t, a2.data("from the new one"), a2.answer(77, c))
		a2.mustPass(t, b, "and now it is")
		b.mustPass(t, a2, "to the new socket")
		a.mustSend(t, a.data("from the old socket, too late"))
		a.settle(t)
		a2.mustPass(t, b, "only from the new one")
		b.mustPass(t, a2, "and only to it")
		a2.settle(t)
	})
}

// TestUDPRelaySTUN: the relay's port is not the place to ask, but ours answers.
func TestUDPRelaySTUN(t *testing.T) {
	t.Parallel()
	u := startUDPRelay(t, "127.0.0.1", "::1")
	for _, host := range []string{"127.0.0.1", "::1"} {
		t.Run(host, func(t *testing.T) {
			a, b := boundPair(t, u, host, host)
			tx := stun.NewTxID()
			a.mustSend(t, stun.Request(tx))
			a.generation++
			a.mustSend(t, a.bind(a.generation))
			got, d := "silence", a.next(t, "anything")
			if stun.Is(d) {
				got = "answered"
				answered, seen, err := stun.ParseResponse(d)
				if own := addrOf(a); err != nil || answered != tx || seen != own {
					t.Errorf("got %x, %v, %v, want %x and %v", answered, seen, err, tx, own)
				}
				d = a.next(t, "a challenge")
			}
			a.readChallenge(t, d, a.generation)
			mustDiffer(t, "STUN request", got)
			a.mustPass(t, b, "still bound")
		})
	}
}

// TestUDPRelayLocalAddress: a host with several addresses, and which of them a client hears. It must be the one that it
// speaks to: a NAT or a firewall lets nothing else through.
func TestUDPRelayLocalAddress(t *testing.T) {
	t.Parallel()
	u := startUDPRelay(t, "127.0.0.1")
	a, b := newPair(t, u, "127.0.0.1", "127.0.0.1")
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 3)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	spokenTo, right := u.at("127.0.0.2"), true
	send := func(d []byte) {
		t.Helper()
		if _, err := c.WriteToUDPAddrPort(d, spokenTo); err != nil {
			t.Fatal(err)
		}
	}
	receive := func() []byte {
		t.Helper()
		var buf [2048]byte
		c.SetReadDeadline(time.Now().Add(wait))
		n, from, err := c.ReadFromUDPAddrPort(buf[:])
		if err != nil {
			t.Fatal(err)
		}
		if right = right && from == spokenTo; from.Port() != u.port {
			t.Fatalf("from %v", from)
		}
		return bytes.Clone(buf[:n])
	}
	b.mustBind(t)
	send(a.bind(1))
	send(a.answer(1, a.readChallenge(t, receive(), 1)))
	send(a.data("there"))
	b.mustGet(t, a.data("there"))
	for i := range 10 {
		back := b.data(fmt.Sprint("and back ", i))
		b.mustSend(t, back)
		if got := receive(); !bytes.Equal(got, back) {
			t.Fatalf("got %q, want %q", got, back)
		}
	}
	mustDiffer(t, "answers to a client", map[bool]string{true: "from the address it speaks to", false: "from any"}[right])
}

// TestUDPRelayAllocate: who is given an endpoint.
func TestUDPRelayAllocate(t *testing.T) {
	t.Parallel()
	u := startUDPRelay(t, "127.0.0.1", "::1")
	fresh := func() key.DiscoPublic { return key.NewDisco().Public() }
	same := fresh()
	server := u.mustAllocate(t, fresh(), fresh()).ServerDisco
	low := key.DiscoPublicFromRaw32(mem.B(append([]byte{1}, make([]byte, 31)...)))
	outcome := func(err error) string { return map[bool]string{true: "granted", false: "refused"}[err == nil] }
	for name, pair := range map[string][2]key.DiscoPublic{
		"the relay's key":      {server, fresh()},
		"the relay's key last": {fresh(), server},
		"zero key":             {{}, fresh()},
		"zero key last":        {fresh(), {}},
		"zero keys":            {},
	} {
		t.Run("refused/"+name, func(t *testing.T) {
			if e, err := u.allocate(pair[0], pair[1]); err == nil {
				t.Errorf("got %+v", e)
			} else {
				t.Log(err)
			}
		})
	}
	for name, pair := range map[string][2]key.DiscoPublic{
		"allocate, the same key twice": {same, same},
		"allocate, key of low order":   {low, fresh()},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := u.allocate(pair[0], pair[1])
			mustDiffer(t, name, outcome(err))
		})
	}

	t.Run("another relay, another key", func(t *testing.T) {
		if e := startUDPRelay(t, "127.0.0.1").mustAllocate(t, fresh(), fresh()); e.ServerDisco == server {
			t.Errorf("both have %v", server)
		}
	})
	t.Run("without addresses", func(t *testing.T) {
		if program.Kind == relay.Ringrelay {
			_, err := relay.Start(program, relay.Options{KeyFile: t.TempDir() + "/key",
				Args: []string{"-relay-port", "0", "-relay-no-discovery"}})
			mustDiffer(t, "no address to tell", map[bool]string{true: "does not start"}[errors.Is(err, relay.ErrExited)])
			return
		}
		_, err := startUDPRelay(t).allocate(fresh(), fresh())
		if wait, ok := err.(notReady); ok && wait.after.Seconds() == 3 {
			mustDiffer(t, "no address to tell", "come back in 3 s")
		} else {
			t.Errorf("got %v, want to be told to come back in 3 s", err)
		}
	})

	t.Run("in a row", func(t *testing.T) {
		const count = 200
		vnis, counted := map[uint32]bool{}, true
		var last, lastVNI = u.mustAllocate(t, fresh(), fresh()).LamportID, uint32(0)
		for range count {
			e := u.mustAllocate(t, fresh(), fresh())
			if e.LamportID <= last || e.ServerDisco != server || vnis[e.VNI] || e.VNI == 0 || e.VNI >= 1<<24 {
				t.Fatalf("behind lamport %d: %+v; VNI given before: %v", last, e, vnis[e.VNI])
			}
			counted = counted && (lastVNI == 0 || e.VNI == lastVNI+1)
			vnis[e.VNI], last, lastVNI = true, e.LamportID, e.VNI
		}
		mustDiffer(t, "VNIs of endpoints in a row", map[bool]string{true: "counted up", false: "drawn"}[counted])
	})

	t.Run("pairs with a key in common", func(t *testing.T) {
		a, b, c := fresh(), fresh(), fresh()
		ab, bc, ca := u.mustAllocate(t, a, b), u.mustAllocate(t, b, c), u.mustAllocate(t, c, a)
		if ab.VNI == bc.VNI || bc.VNI == ca.VNI || ca.VNI == ab.VNI {
			t.Errorf("VNIs %d, %d, %d", ab.VNI, bc.VNI, ca.VNI)
		}
		if again := u.mustAllocate(t, b, a); again.VNI != ab.VNI || again.LamportID != ab.LamportID {
			t.Errorf("got %+v, want %+v", again, ab)
		}
	})

	// What one bad datagram of a stranger costs must not be those that are bound.
	t.Run("strangers", func(t *testing.T) {
		a, b := boundPair(t, u, "127.0.0.1", "::1")
		stranger := newLeg(t, a.endpoint, u.at("127.0.0.1"), key.NewDisco(), a.remote)
		rng := rand.New(rand.NewPCG(1, 2))
		for i := range 2000 {
			d := append(header(a.endpoint.VNI, rng.IntN(2) == 0, 0x7a11), pattern(rng.IntN(200), uint64(i))...)
			stranger.mustSend(t, d)
			if i%100 == 99 { // or its buffer would be full
				stranger.same(a.private, a.remote).settle(t)
				a.mustPass(t, b, fmt.Sprint(i))
			}
		}
	})
}
