package main

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"

	"ringrelay.test/interop/internal/relay"
	"ringrelay.test/interop/internal/wire"
	"tailscale.com/derp"
	"tailscale.com/types/key"
)

var tests = []struct {
	name string
	run  func(*page, *relay.Server) error
}{
	{"another protocol is refused", testProtocol},
	{"packets with an ordinary client", testPackets},
	{"many packets in order", testOrder},
	{"the page closes", testClose},
	{"text is closed with 1003", testText},
	{"a bad frame is closed with 1000", testBadFrame},
	{"a failed login is closed with 1000", testBadLogin},
}

// session is a DERP connection of the page's.
type session struct {
	page   *page
	priv   key.NodePrivate
	server key.NodePublic
	stream []byte // received, not yet read
}

func socketURL(s *relay.Server) string { return "ws" + strings.TrimPrefix(s.URL("/derp"), "http") }

// open goes up to and including ServerKey.
func open(p *page, s *relay.Server) (*session, error) {
	c := &session{page: p, priv: key.NewNode()}
	if err := p.order("open "+socketURL(s)+" derp", nil); err != nil {
		return nil, err
	}
	e, err := p.next("open WebSocket")
	if err != nil {
		return nil, err
	}
	if e.text != "open derp" {
		return nil, fmt.Errorf("opening: the page says %q", e.text)
	}
	f, err := c.read()
	if err == nil {
		c.server, err = wire.ParseServerKey(f)
	}
	return c, err
}

// login goes up to and including ServerInfo.
func login(p *page, s *relay.Server) (*session, error) {
	c, err := open(p, s)
	if err != nil {
		return nil, err
	}
	if err := c.send(wire.ClientInfo(c.priv, c.server, wire.DefaultInfo)); err != nil {
		return nil, err
	}
	f, err := c.read()
	if err != nil {
		return nil, err
	}
	if text, ok := c.priv.OpenFrom(c.server, f.Body); f.Type != derp.FrameServerInfo || !ok {
		return nil, fmt.Errorf("after the login: %v (%q), want ServerInfo", f, text)
	}
	return c, nil
}

func (c *session) send(b []byte) error { return c.page.order("send", b) }

// read returns the next frame, out of as many messages as it takes.
func (c *session) read() (wire.Frame, error) {
	for {
		if len(c.stream) >= wire.HeaderLen {
			n := wire.HeaderLen + int(binary.BigEndian.Uint32(c.stream[1:]))
			if len(c.stream) >= n {
				f := wire.Frame{Type: derp.FrameType(c.stream[0]), Body: c.stream[wire.HeaderLen:n]}
				c.stream = c.stream[n:]
				return f, nil
			}
		}
		e, err := c.page.next("message")
		if err != nil {
			return wire.Frame{}, err
		}
		if e.text != "message" {
			return wire.Frame{}, fmt.Errorf("the page says %q, want a message", e.text)
		}
		c.stream = append(c.stream, e.body...)
	}
}

// closed requires the socket's end as the page sees it.
func closed(p *page, code int, clean bool) error {
	e, err := p.next("close")
	want := fmt.Sprintf("close %d %v", code, clean)
	if err == nil && e.text != want {
		err = fmt.Errorf("the page says %q, want %q", e.text, want)
	}
	return err
}

// peer is an ordinary client, on plain HTTP or TLS.
type peer struct {
	*wire.Conn
	pub key.NodePublic
}

func dial(s *relay.Server) (net.Conn, error) {
	if s.TLS != nil {
		return tls.Dial("tcp", s.Addr, s.TLSConfig())
	}
	return net.Dial("tcp", s.Addr)
}

func newPeer(s *relay.Server, server key.NodePublic) (*peer, error) {
	nc, err := dial(s)
	if err != nil {
		return nil, err
	}
	c, priv := wire.New(nc, wait), key.NewNode()
	hello := append(wire.Request(s.Addr, "DERP", wire.FastStart), wire.ClientInfo(priv, server, wire.DefaultInfo)...)
	if err := c.Send(hello); err != nil {
		return nil, err
	}
	if _, err := c.ReadServerKey(); err != nil {
		return nil, err
	}
	f, err := c.ReadFrame()
	if err == nil && f.Type != derp.FrameServerInfo {
		err = fmt.Errorf("the ordinary client got %v, want ServerInfo", f)
	}
	return &peer{c, priv.Public()}, err
}

func mustBe(f wire.Frame, err error, src key.NodePublic, data []byte) error {
	if err != nil {
		return err
	}
	if f.Type != derp.FrameRecvPacket || !bytes.Equal(f.Body, append(wire.Raw(src), data...)) {
		return fmt.Errorf("got %v, want %d bytes from %v", f, len(data), src.ShortString())
	}
	return nil
}

func pattern(n int, seed uint64) []byte {
	b, r := make([]byte, n), rand.New(rand.NewPCG(seed, uint64(n)))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// together logs both in.
func together(p *page, s *relay.Server) (*session, *peer, error) {
	c, err := login(p, s)
	if err != nil {
		return nil, nil, err
	}
	other, err := newPeer(s, c.server)
	return c, other, err
}

func testPackets(p *page, s *relay.Server) error {
	c, other, err := together(p, s)
	if err != nil {
		return err
	}
	defer other.Close()
	for _, size := range []int{0, 1, 88, 89, 1280, 16300, 16384, 32727, 32728, 65491, 65535, 65536} {
		there, back := pattern(size, 1), pattern(size, 2)
		if err := c.send(wire.SendPacket(other.pub, there)); err != nil {
			return err
		}
		f, err := other.ReadFrame()
		if err := mustBe(f, err, c.priv.Public(), there); err != nil {
			return fmt.Errorf("%d bytes from the browser: %w", size, err)
		}
		if err := other.Send(wire.SendPacket(c.priv.Public(), back)); err != nil {
			return err
		}
		f, err = c.read()
		if err := mustBe(f, err, other.pub, back); err != nil {
			return fmt.Errorf("%d bytes to the browser: %w", size, err)
		}
	}
	return leave(p)
}

func testOrder(p *page, s *relay.Server) error {
	c, other, err := together(p, s)
	if err != nil {
		return err
	}
	defer other.Close()
	for i := range uint64(200) {
		if err := other.Send(wire.SendPacket(c.priv.Public(), pattern(int(i*37%3000), i))); err != nil {
			return err
		}
	}
	for i := range uint64(200) {
		f, err := c.read()
		if err := mustBe(f, err, other.pub, pattern(int(i*37%3000), i)); err != nil {
			return fmt.Errorf("packet %d: %w", i, err)
		}
	}
	return leave(p)
}

func leave(p *page) error {
	if err := p.order("close 1000", nil); err != nil {
		return err
	}
	return closed(p, 1000, true)
}

func testClose(p *page, s *relay.Server) error {
	for _, code := range []int{1000, 3000, 4999} {
		if _, err := login(p, s); err != nil {
			return err
		}
		if err := p.order(fmt.Sprint("close ", code), nil); err != nil {
			return err
		}
		if err := closed(p, code, true); err != nil {
			return err
		}
	}
	return nil
}

func testProtocol(p *page, s *relay.Server) error {
	// Nothing is echoed to it, for which a browser may fail the handshake by
	// itself (1006) before it sees the 1008.
	if err := p.order("open "+socketURL(s)+" xderp", nil); err != nil {
		return err
	}
	e, err := p.next("close")
	if err == nil && !strings.HasPrefix(e.text, "close 1006") && !strings.HasPrefix(e.text, "close 1008") {
		err = fmt.Errorf("the page says %q, want a close", e.text)
	}
	return err
}

func testText(p *page, s *relay.Server) error {
	if _, err := login(p, s); err != nil {
		return err
	}
	if err := p.order("text", []byte("not bytes")); err != nil {
		return err
	}
	return closed(p, 1003, true)
}

func testBadFrame(p *page, s *relay.Server) error {
	c, err := login(p, s)
	if err != nil {
		return err
	}
	if err := c.send(wire.Encode(derp.FrameNotePreferred, []byte{1, 2})); err != nil {
		return err
	}
	return closed(p, 1000, true)
}

func testBadLogin(p *page, s *relay.Server) error {
	c, err := open(p, s)
	if err != nil {
		return err
	}
	if err := c.send(wire.ClientInfo(c.priv, key.NewNode().Public(), wire.DefaultInfo)); err != nil {
		return err
	}
	return closed(p, 1000, true)
}
