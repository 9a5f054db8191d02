package interop

import (
	"bytes"
	"fmt"
	"testing"

	"ringrelay.test/interop/internal/relay"
	"ringrelay.test/interop/internal/wire"
	"tailscale.com/derp"
	"tailscale.com/types/key"
)

func TestPing(t *testing.T) {
	p := login(t, shared)
	for _, n := range []int{8, 9, 1000} {
		body := pattern(n, 3)
		p.mustSend(t, wire.Encode(derp.FramePing, body))
		p.mustPong(t, body[:8])
	}
	for _, n := range []int{0, 7, 1001} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			p := login(t, shared)
			p.trySend(wire.Encode(derp.FramePing, pattern(n, 3)))
			p.mustClose(t)
		})
	}
}

func TestPingCounters(t *testing.T) {
	s := privateServer(t, relay.Options{})
	p := login(t, s)
	for range 5 {
		p.mustSend(t, wire.Encode(derp.FramePing, []byte("12345678")))
		p.mustPong(t, []byte("12345678"))
	}
	awaitVarz(t, s, map[string]float64{"derp_got_ping": 5, "derp_sent_pong": 5})
}

// maxUnknownLen is the longest frame of an unknown type that is read and
// thrown away: what the longest SendPacket takes. Older releases had no limit.
const maxUnknownLen = 65536 + wire.KeyLen

// discarded are frames a server does not know, or not in this direction.
func discarded() []wire.Frame {
	frames := []wire.Frame{
		{Type: derp.FrameServerKey, Body: make([]byte, 40)},
		{Type: derp.FrameClientInfo, Body: nil},
		{Type: derp.FrameClientInfo, Body: pattern(104, 4)},
		{Type: derp.FrameServerInfo, Body: pattern(53, 4)},
		{Type: derp.FrameRecvPacket, Body: pattern(40, 4)},
		{Type: derp.FrameRecvPacket, Body: pattern(31, 4)},
		{Type: derp.FrameKeepAlive, Body: nil},
		{Type: derp.FrameKeepAlive, Body: []byte{1}},
		{Type: derp.FramePeerGone, Body: pattern(33, 4)},
		{Type: derp.FramePeerPresent, Body: pattern(51, 4)},
		{Type: derp.FramePong, Body: pattern(8, 4)},
		{Type: derp.FramePong, Body: nil},
		{Type: wire.FrameHealth, Body: []byte("not well")},
		{Type: wire.FrameRestarting, Body: pattern(8, 4)},
	}
	for _, typ := range []derp.FrameType{0x00, 0x0b, 0x0f, 0x16, 'H', 0x7f, 0x80, 0xff} {
		for _, n := range []int{0, 1, 5, 1000, 1400, 65536, maxUnknownLen} {
			frames = append(frames, wire.Frame{Type: typ, Body: pattern(n, 4)})
		}
	}
	return frames
}

func TestUnknownFramesAreDiscarded(t *testing.T) {
	p := login(t, shared)
	for _, f := range discarded() {
		p.mustSend(t, wire.Encode(f.Type, f.Body))
		if stray := p.fence(t); len(stray) != 0 {
			t.Fatalf("after %v: unexpected frames %v", f, stray)
		}
	}
}

// TestFramesThatClose: the header alone must suffice where the body does not
// matter, so nothing else is sent.
func TestFramesThatClose(t *testing.T) {
	somebody := wire.Raw(key.NewNode().Public())
	cases := []struct {
		typ    derp.FrameType
		length uint32
		body   []byte
	}{
		{derp.FrameSendPacket, 0, nil},
		{derp.FrameSendPacket, 31, nil},
		{derp.FrameSendPacket, 32 + 65537, somebody},
		{derp.FrameSendPacket, 0xffffffff, somebody},
		{derp.FrameNotePreferred, 0, nil},
		{derp.FrameNotePreferred, 2, nil},
		{derp.FrameNotePreferred, 0xffffffff, nil},
		// Only mesh peers may use these, whatever the length.
		{derp.FrameForwardPacket, 0, nil},
		{derp.FrameForwardPacket, 63, nil},
		{derp.FrameForwardPacket, 64, nil},
		{derp.FrameForwardPacket, 64 + 1400, nil},
		{derp.FrameForwardPacket, 64 + 65537, nil},
		{derp.FrameWatchConns, 0, nil},
		{derp.FrameWatchConns, 1, nil},
		{derp.FrameClosePeer, 0, nil},
		{derp.FrameClosePeer, 31, nil},
		{derp.FrameClosePeer, 32, nil},
		{derp.FrameClosePeer, 33, nil},
		{derp.FramePing, 0, nil},
		{derp.FramePing, 7, nil},
		{derp.FramePing, 1001, nil},
		{derp.FramePing, 0xffffffff, nil},
	}
	for _, c := range cases {
		t.Run(fmt.Sprintf("%#02x/%d", byte(c.typ), c.length), func(t *testing.T) {
			p := login(t, shared)
			p.trySend(wire.Header(c.typ, c.length), c.body)
			p.mustClose(t)
		})
	}
}

// TestLongUnknownFramesClose holds for derper since 1.104; before, any length
// was read and discarded.
func TestLongUnknownFramesClose(t *testing.T) {
	for _, typ := range []derp.FrameType{derp.FrameClientInfo, derp.FramePong, 0xff} {
		for _, length := range []uint32{maxUnknownLen + 1, 1 << 20, 0xffffffff} {
			t.Run(fmt.Sprintf("%#02x/%d", byte(typ), length), func(t *testing.T) {
				p := login(t, shared)
				p.trySend(wire.Header(typ, length))
				p.mustClose(t)
			})
		}
	}
}

// TestPermittedLengths: the accepted side of each boundary above.
func TestPermittedLengths(t *testing.T) {
	p := login(t, shared)
	for _, pref := range []byte{0, 1, 2, 255} {
		p.mustSend(t, wire.Encode(derp.FrameNotePreferred, []byte{pref}))
		p.mustLive(t)
	}
	for _, n := range []int{0, 1, 65535, 65536} {
		data := pattern(n, 5)
		p.mustSend(t, wire.SendPacket(p.pub, data))
		p.mustReceive(t, p.pub, data)
	}
	p.mustLive(t)
}

// TestFrameAcrossSegments: headers and bodies in every possible two pieces.
func TestFrameAcrossSegments(t *testing.T) {
	p := login(t, shared)
	data := pattern(20, 6)
	stream := bytes.Join([][]byte{
		wire.SendPacket(p.pub, data),
		wire.Encode(derp.FrameType(0xee), pattern(3, 6)),
		wire.SendPacket(p.pub, nil),
	}, nil)
	for cut := 1; cut < len(stream); cut++ {
		p.mustSend(t, stream[:cut])
		p.mustSend(t, stream[cut:])
		p.mustReceive(t, p.pub, data)
		p.mustReceive(t, p.pub, nil)
	}
}

// TestHalfFrameThenEnd: a client may vanish in the middle of anything.
func TestHalfFrameThenEnd(t *testing.T) {
	s := privateServer(t, relay.Options{})
	whole := wire.SendPacket(key.NewNode().Public(), pattern(1400, 7))
	for _, n := range []int{1, 4, 5, 20, 37, 100, len(whole) - 1} {
		p := login(t, s)
		p.mustSend(t, whole[:n])
		p.Close()
	}
	awaitVarz(t, s, map[string]float64{metricConnections: 0, "derp_packets_received": 0})
	login(t, s).mustLive(t)
}
