package interop

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"go4.org/mem"
	"tailscale.com/disco"
	"tailscale.com/net/packet"
	"tailscale.com/net/udprelay/endpoint"
	"tailscale.com/types/key"
)

// handshakeSize is what Bind, Challenge and Answer have, so that nobody gains by making a relay answer.
const handshakeSize = 160

// relayLeg is one of the two clients of an endpoint, at one socket. The socket is connected: it hears only what comes
// from the very address it speaks to.
type relayLeg struct {
	*net.UDPConn
	endpoint   endpoint.ServerEndpoint
	private    key.DiscoPrivate
	remote     key.DiscoPublic
	generation uint32 // of the last handshake
}

// newLeg is the client with this key, at a new socket.
func newLeg(t *testing.T, e endpoint.ServerEndpoint, at netip.AddrPort, private key.DiscoPrivate,
	remote key.DiscoPublic) *relayLeg {
	t.Helper()
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(at))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetReadBuffer(4 << 20)
	return &relayLeg{UDPConn: c, endpoint: e, private: private, remote: remote}
}

// moved is the same client at a new socket.
func (l *relayLeg) moved(t *testing.T) *relayLeg {
	t.Helper()
	at := l.RemoteAddr().(*net.UDPAddr).AddrPort()
	m := newLeg(t, l.endpoint, netip.AddrPortFrom(at.Addr().Unmap(), at.Port()), l.private, l.remote)
	m.generation = l.generation
	return m
}

// same is the client with another key at the socket of l.
func (l *relayLeg) same(private key.DiscoPrivate, remote key.DiscoPublic) *relayLeg {
	return &relayLeg{UDPConn: l.UDPConn, endpoint: l.endpoint, private: private, remote: remote}
}

// newPair allocates an endpoint for two new clients, which speak to the relay at these hosts.
func newPair(t *testing.T, u *udpRelay, hostA, hostB string) (a, b *relayLeg) {
	t.Helper()
	privateA, privateB := key.NewDisco(), key.NewDisco()
	e := u.mustAllocate(t, privateA.Public(), privateB.Public())
	return newLeg(t, e, u.at(hostA), privateA, privateB.Public()), newLeg(t, e, u.at(hostB), privateB, privateA.Public())
}

// boundPair is a pair that can send.
func boundPair(t *testing.T, u *udpRelay, hostA, hostB string) (a, b *relayLeg) {
	t.Helper()
	a, b = newPair(t, u, hostA, hostB)
	a.mustBind(t)
	b.mustBind(t)
	return a, b
}

// ---- datagrams ----

func header(vni uint32, control bool, protocol uint16) []byte {
	h := packet.GeneveHeader{Control: control, Protocol: protocol}
	h.VNI.Set(vni)
	b := make([]byte, packet.GeneveFixedHeaderLength)
	if err := h.Encode(b); err != nil {
		panic(err)
	}
	return b
}

// data is a datagram for the other client.
func (l *relayLeg) data(payload string) []byte {
	return append(header(l.endpoint.VNI, false, packet.GeneveProtocolWireGuard), payload...)
}

// envelope is disco from this client to somebody.
func (l *relayLeg) envelope(to key.DiscoPublic, plain []byte) []byte {
	b := append([]byte(disco.Magic), l.private.Public().AppendTo(nil)...)
	return append(b, l.private.Shared(to).Seal(plain)...)
}

// control is a datagram for the relay.
func (l *relayLeg) control(plain []byte) []byte {
	h := header(l.endpoint.VNI, true, packet.GeneveProtocolDisco)
	return append(h, l.envelope(l.endpoint.ServerDisco, plain)...)
}

// toPeer is disco for the other client, as Ping and Pong are.
func (l *relayLeg) toPeer(m disco.Message) []byte {
	return append(header(l.endpoint.VNI, false, packet.GeneveProtocolDisco), l.envelope(l.remote, m.AppendMarshal(nil))...)
}

func (l *relayLeg) common(generation uint32) disco.BindUDPRelayEndpointCommon {
	return disco.BindUDPRelayEndpointCommon{VNI: l.endpoint.VNI, Generation: generation, RemoteKey: l.remote}
}

func (l *relayLeg) bind(generation uint32) []byte {
	return l.control((&disco.BindUDPRelayEndpoint{BindUDPRelayEndpointCommon: l.common(generation)}).AppendMarshal(nil))
}

type challenge [disco.BindUDPRelayChallengeLen]byte

func (l *relayLeg) answer(generation uint32, c challenge) []byte {
	m := &disco.BindUDPRelayEndpointAnswer{BindUDPRelayEndpointCommon: l.common(generation)}
	m.Challenge = c
	return l.control(m.AppendMarshal(nil))
}

// ---- sending and receiving ----

func (l *relayLeg) mustSend(t *testing.T, datagrams ...[]byte) {
	t.Helper()
	for _, d := range datagrams {
		if _, err := l.Write(d); err != nil {
			t.Fatalf("send of %d bytes: %v", len(d), err)
		}
	}
}

func (l *relayLeg) next(t *testing.T, what string) []byte {
	t.Helper()
	var buf [1 << 16]byte
	l.SetReadDeadline(time.Now().Add(wait))
	n, err := l.Read(buf[:])
	if err != nil {
		t.Fatalf("waiting for %s: %v", what, err)
	}
	return bytes.Clone(buf[:n])
}

// mustGet requires the next datagrams to be these, bit by bit.
func (l *relayLeg) mustGet(t *testing.T, datagrams ...[]byte) {
	t.Helper()
	for i, want := range datagrams {
		if got := l.next(t, "data"); !bytes.Equal(got, want) {
			t.Fatalf("datagram %d: got %d bytes, %.60x, want %d, %.60x", i, len(got), got, len(want), want)
		}
	}
}

// openDisco is what is in a datagram with disco, and whether it is for the relay's clients themselves.
func (l *relayLeg) openDisco(b []byte) (m disco.Message, sender key.DiscoPublic, isControl bool, err error) {
	var h packet.GeneveHeader
	if err := h.Decode(b); err != nil {
		return nil, sender, false, err
	}
	b = b[packet.GeneveFixedHeaderLength:]
	source, ok := disco.Source(b)
	if !ok || h.Protocol != packet.GeneveProtocolDisco || h.VNI.Get() != l.endpoint.VNI {
		return nil, sender, false, errors.New("not disco, or of another endpoint")
	}
	sender = key.DiscoPublicFromRaw32(mem.B(source))
	plain, ok := l.private.Shared(sender).Open(b[len(disco.Magic)+len(source):])
	if !ok {
		return nil, sender, false, errors.New("the box does not open")
	}
	m, err = disco.Parse(plain)
	return m, sender, h.Control, err
}

// readChallenge requires a datagram to be the relay's challenge of this generation, and nothing more.
func (l *relayLeg) readChallenge(t *testing.T, b []byte, generation uint32) challenge {
	t.Helper()
	// What a client takes for Geneve: no version, no options, no reserved bits.
	head := binary.BigEndian.AppendUint32([]byte{0, 0x80, 0x7a, 0x11}, l.endpoint.VNI<<8)
	if len(b) != handshakeSize || !bytes.HasPrefix(b, head) {
		t.Fatalf("got %d bytes, %.60x, want a challenge", len(b), b)
	}
	m, sender, _, err := l.openDisco(b)
	if err != nil {
		t.Fatalf("challenge: %v", err)
	}
	c, ok := m.(*disco.BindUDPRelayEndpointChallenge)
	if !ok || sender != l.endpoint.ServerDisco {
		t.Fatalf("got %T of %v, want a challenge of %v", m, sender, l.endpoint.ServerDisco)
	}
	want := l.common(generation)
	want.Challenge = c.Challenge
	if c.BindUDPRelayEndpointCommon != want {
		t.Fatalf("challenge: got %+v, want %+v", c.BindUDPRelayEndpointCommon, want)
	}
	return c.Challenge
}

// ask sends a Bind of a generation and returns what it is answered with: the next datagram.
func (l *relayLeg) ask(t *testing.T, generation uint32) challenge {
	t.Helper()
	l.mustSend(t, l.bind(generation))
	return l.readChallenge(t, l.next(t, "a challenge"), generation)
}

// handshake ends with the Answer, which is not acknowledged.
func (l *relayLeg) handshake(t *testing.T) {
	t.Helper()
	l.generation++
	l.mustSend(t, l.answer(l.generation, l.ask(t, l.generation)))
}

// settle returns when the relay has done all that this socket sent before, and proves that it answered none of it: two
// Binds are answered, and nothing comes before. Two, because a relay may send what a batch of datagrams leads to in any
// order. The binding stays as it was; a handshake under way is forgotten.
func (l *relayLeg) settle(t *testing.T) {
	t.Helper()
	for range 2 {
		l.generation++
		l.ask(t, l.generation)
	}
}

func (l *relayLeg) mustBind(t *testing.T) {
	t.Helper()
	l.handshake(t)
	l.settle(t)
}

// mustPass requires that the next datagram at to is one that l sends now.
func (l *relayLeg) mustPass(t *testing.T, to *relayLeg, payload string) {
	t.Helper()
	d := l.data(payload)
	l.mustSend(t, d)
	to.mustGet(t, d)
}
