package interop

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"ringrelay.test/interop/internal/relay"
	"ringrelay.test/interop/internal/wire"
	"tailscale.com/derp"
	"tailscale.com/disco"
	"tailscale.com/types/key"
)

const (
	metricConnections = "derp_current_connections"
	metricHome        = "derp_current_home_connections"
	metricNotHere     = "derp_peer_gone_not_here_frames"
	metricGone        = "derp_peer_gone_disconnected_frames"
	metricUnknown     = `derp_packets_dropped{reason="unknown_dest",kind="other"}`
	metricUnknownDisc = `derp_packets_dropped{reason="unknown_dest",kind="disco"}`
	metricQueueHead   = `derp_packets_dropped{reason="queue_head",kind="other"}`
)

// discoLike returns a payload the relay takes for a disco message: the magic,
// a sender key and a nonce, 62 bytes at least.
func discoLike() []byte {
	return append([]byte(disco.Magic), make([]byte, 32+24)...)
}

func pattern(n int, seed uint64) []byte {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(seed, uint64(n)))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func TestSendRecv(t *testing.T) {
	s := privateServer(t, relay.Options{})
	a, b, c := connect(t, s), connect(t, s), connect(t, s)
	awaitVarz(t, s, map[string]float64{metricConnections: 3, "derp_clients_local": 3})

	a.mustSend(t, b.pub, []byte("for b"))
	b.mustReceive(t, a.pub, []byte("for b"))
	b.mustSend(t, a.pub, []byte("for a"))
	a.mustReceive(t, b.pub, []byte("for a"))
	// Packets of one sender to one receiver keep their order, so a stray
	// "for b" would come before this.
	b.mustSend(t, c.pub, []byte("for c"))
	c.mustReceive(t, b.pub, []byte("for c"))
	for _, x := range []*client{a, b, c} {
		x.mustQuiet(t)
	}

	// b got a packet from a; c got none from a.
	a.Close()
	b.mustPeerGone(t, a.pub, derp.PeerGoneReasonDisconnected)
	awaitVarz(t, s, map[string]float64{metricConnections: 2, metricGone: 1})
	b.mustQuiet(t)
	c.mustQuiet(t)
}

// TestGoneIsForReceivers: sending to a key does not subscribe the sender to it.
func TestGoneIsForReceivers(t *testing.T) {
	s := privateServer(t, relay.Options{})
	a, b := connect(t, s), connect(t, s)
	a.mustSend(t, b.pub, []byte("x"))
	b.mustReceive(t, a.pub, []byte("x"))
	b.Close()
	awaitVarz(t, s, map[string]float64{metricConnections: 1, metricGone: 0})
	a.mustQuiet(t)
}

func TestHomeConnections(t *testing.T) {
	s := privateServer(t, relay.Options{})
	a, b := login(t, s), login(t, s)
	steps := []struct {
		who  *rawPeer
		body byte
		home float64
	}{
		{a, 1, 1}, {a, 1, 1}, {b, 255, 2}, {b, 2, 2}, {a, 0, 1}, {a, 0, 1}, {a, 1, 2}, {b, 0, 1},
	}
	for i, st := range steps {
		st.who.mustSend(t, wire.Encode(derp.FrameNotePreferred, []byte{st.body}))
		st.who.mustLive(t)
		if got := varz(t, s)[metricHome]; got != st.home {
			t.Fatalf("step %d: %s = %v, want %v", i, metricHome, got, st.home)
		}
	}
	a.Close() // while preferred
	awaitVarz(t, s, map[string]float64{metricHome: 0, metricConnections: 1,
		"derp_home_moves_in": 0, "derp_home_moves_out": 0})
}

func TestNotIdealGauge(t *testing.T) {
	s := privateServer(t, relay.Options{})
	p := dialRaw(t, s)
	p.mustSend(t, wire.Request(s.Addr, "DERP", wire.FastStart, derp.IdealNodeHeader+": node-1a"))
	p.awaitServerKey(t)
	p.login(t)
	awaitVarz(t, s, map[string]float64{"derp_current_notideal_connections": 1})
	p.Close()
	awaitVarz(t, s, map[string]float64{"derp_current_notideal_connections": 0})
}

func TestUnknownDestination(t *testing.T) {
	s := privateServer(t, relay.Options{})
	p := login(t, s)
	p.mustSend(t, wire.SendPacket(key.NewNode().Public(), []byte("anybody there?")))
	// One byte short of disco, and disco with a wrong magic.
	p.mustSend(t, wire.SendPacket(key.NewNode().Public(), discoLike()[:61]))
	p.mustSend(t, wire.SendPacket(key.NewNode().Public(), bytes.ToLower(discoLike())))
	p.mustLive(t)
	awaitVarz(t, s, map[string]float64{metricNotHere: 0, metricUnknown: 3, metricUnknownDisc: 0})

	nobody := key.NewNode().Public()
	p.mustSend(t, wire.SendPacket(nobody, discoLike()))
	got := p.fence(t)
	want := wire.Encode(derp.FramePeerGone, wire.Raw(nobody), []byte{byte(derp.PeerGoneReasonNotHere)})
	if len(got) != 1 || !bytes.Equal(wire.Encode(got[0].Type, got[0].Body), want) {
		t.Fatalf("got %v, want one PeerGone(NotHere)", got)
	}
	awaitVarz(t, s, map[string]float64{metricNotHere: 1, metricUnknownDisc: 1})
}

// TestNotHereLimit: three replies at once, then one a second.
func TestNotHereLimit(t *testing.T) {
	s := privateServer(t, relay.Options{})
	p := login(t, s)
	nobody := key.NewNode().Public()
	one := wire.SendPacket(nobody, discoLike())
	p.mustSend(t, bytes.Repeat(one, 6))
	got := p.fence(t)
	for _, f := range got {
		if f.Type != derp.FramePeerGone || !bytes.Equal(f.Body, append(wire.Raw(nobody), 1)) {
			t.Fatalf("got %v, want PeerGone(NotHere)", f)
		}
	}
	if len(got) != 3 {
		t.Fatalf("6 quick packets got %d replies, want 3", len(got))
	}
	awaitVarz(t, s, map[string]float64{metricNotHere: 3, metricUnknownDisc: 6})

	// The limiter belongs to the connection, not to the server or the key.
	q := login(t, s)
	q.mustSend(t, one)
	if got := q.fence(t); len(got) != 1 {
		t.Fatalf("a fresh connection got %v, want one PeerGone", got)
	}
}

func TestSizes(t *testing.T) {
	a, b := connect(t, shared), connect(t, shared)
	for _, n := range []int{0, 1, 62, 1400, 16000, 65536} {
		there, back := pattern(n, 1), pattern(n, 2)
		a.mustSend(t, b.pub, there)
		b.mustReceive(t, a.pub, there)
		b.mustSend(t, a.pub, back)
		a.mustReceive(t, b.pub, back)
	}
}

func TestTooLargePacketCloses(t *testing.T) {
	a, b := login(t, shared), login(t, shared)
	a.trySend(wire.SendPacket(b.pub, pattern(65537, 1)))
	a.mustClose(t)
	b.mustLive(t)
}

func TestEmptyPacketFrame(t *testing.T) {
	a, b := login(t, shared), login(t, shared)
	a.mustSend(t, wire.SendPacket(b.pub, nil))
	b.mustReceive(t, a.pub, nil) // a RecvPacket of 32 bytes
}
