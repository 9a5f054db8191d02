package interop

import (
	"bytes"
	"errors"
	"net"
	"os"
	"testing"
	"time"

	"ringrelay.test/interop/internal/relay"
	"ringrelay.test/interop/internal/wire"
	"tailscale.com/derp"
	"tailscale.com/types/key"
)

// rawPeer is a connection that we drive frame by frame.
type rawPeer struct {
	*wire.Conn
	priv   key.NodePrivate
	pub    key.NodePublic
	server key.NodePublic // once known
}

// dialRaw connects and sends nothing.
func dialRaw(t *testing.T, s *relay.Server) *rawPeer {
	t.Helper()
	return dialRawWindow(t, s, 0)
}

func dialRawWindow(t *testing.T, s *relay.Server, receiveBuffer int) *rawPeer {
	t.Helper()
	c, err := wire.Dial(s.Addr, wait, receiveBuffer)
	if err != nil {
		t.Fatalf("dial: %v", err)
	}
	if s.TLS != nil {
		return newPeer(t, mustHandshake(t, c.Conn, s.TLSConfig()))
	}
	return newPeer(t, c.Conn)
}

// newPeer takes a connection over.
func newPeer(t *testing.T, nc net.Conn) *rawPeer {
	t.Cleanup(func() { nc.Close() })
	priv := key.NewNode()
	return &rawPeer{Conn: wire.New(nc, wait), priv: priv, pub: priv.Public()}
}

// fastStart connects and goes up to and including ServerKey.
func fastStart(t *testing.T, s *relay.Server) *rawPeer {
	t.Helper()
	return dialRaw(t, s).fastStart(t)
}

func (p *rawPeer) fastStart(t *testing.T) *rawPeer {
	t.Helper()
	p.mustSend(t, wire.Request(p.RemoteAddr().String(), "DERP", wire.FastStart))
	p.awaitServerKey(t)
	return p
}

// login connects and goes up to and including ServerInfo.
func login(t *testing.T, s *relay.Server) *rawPeer {
	t.Helper()
	return fastStart(t, s).login(t)
}

func (p *rawPeer) login(t *testing.T) *rawPeer {
	t.Helper()
	p.mustSend(t, p.clientInfo(wire.DefaultInfo))
	p.awaitServerInfo(t)
	return p
}

func (p *rawPeer) clientInfo(json string) []byte { return wire.ClientInfo(p.priv, p.server, json) }

func (p *rawPeer) awaitServerKey(t *testing.T) {
	t.Helper()
	k, err := p.ReadServerKey()
	if err != nil {
		t.Fatal(err)
	}
	p.server = k
}

// awaitServerInfo requires it to be the very next frame, with the one
// content the protocol has.
func (p *rawPeer) awaitServerInfo(t *testing.T) {
	t.Helper()
	f := p.mustRead(t, "ServerInfo")
	if f.Type != derp.FrameServerInfo {
		t.Fatalf("first frame after login is %v, want ServerInfo", f)
	}
	text, ok := p.priv.OpenFrom(p.server, f.Body)
	if !ok {
		t.Fatalf("ServerInfo box of %d bytes does not open", len(f.Body))
	}
	if string(text) != `{"version":2}` {
		t.Fatalf("ServerInfo is %q", text)
	}
}

func (p *rawPeer) mustSend(t *testing.T, parts ...[]byte) {
	t.Helper()
	if err := p.Send(bytes.Join(parts, nil)); err != nil {
		t.Fatalf("send: %v", err)
	}
}

// trySend is for bytes at which the server may hang up before they are out.
func (p *rawPeer) trySend(parts ...[]byte) { p.Send(bytes.Join(parts, nil)) }

// mustRead reads a frame; keep-alives are passed over.
func (p *rawPeer) mustRead(t *testing.T, waitingFor string) wire.Frame {
	t.Helper()
	for {
		f, err := p.ReadFrame()
		if err != nil {
			t.Fatalf("waiting for %s: %v", waitingFor, err)
		}
		if f.Type != derp.FrameKeepAlive {
			return f
		}
	}
}

// mustReceive requires the next frame to be this packet.
func (p *rawPeer) mustReceive(t *testing.T, src key.NodePublic, data []byte) {
	t.Helper()
	f := p.mustRead(t, "a packet")
	if f.Type != derp.FrameRecvPacket || !bytes.Equal(f.Body, append(wire.Raw(src), data...)) {
		t.Fatalf("got %v, want a packet of %d bytes from %v", f, len(data), src.ShortString())
	}
}

// mustPong requires the next frame to be the answer to a ping.
func (p *rawPeer) mustPong(t *testing.T, echo []byte) {
	t.Helper()
	f := p.mustRead(t, "Pong")
	if f.Type != derp.FramePong || !bytes.Equal(f.Body, echo) {
		t.Fatalf("got %v, want Pong %x", f, echo)
	}
}

// mustLive proves that the connection still works and that nothing else was
// sent to it.
func (p *rawPeer) mustLive(t *testing.T) {
	t.Helper()
	if stray := p.fence(t); len(stray) != 0 {
		t.Fatalf("unexpected frames: %v", stray)
	}
}

// fence returns the frames that arrive before the answers to two pings sent
// one after the other. Pongs are not ordered against other frames, but what
// was caused before the first ping has left the server before the second pong.
func (p *rawPeer) fence(t *testing.T) []wire.Frame {
	t.Helper()
	var got []wire.Frame
	for _, echo := range []string{"fence--1", "fence--2"} {
		p.mustSend(t, wire.Encode(derp.FramePing, []byte(echo)))
		for {
			f := p.mustRead(t, "Pong "+echo)
			if f.Type == derp.FramePong && string(f.Body) == echo {
				break
			}
			got = append(got, f)
		}
	}
	return got
}

// mustClose requires the server to end the connection without a further frame.
func (p *rawPeer) mustClose(t *testing.T) {
	t.Helper()
	for {
		f, err := p.ReadFrame()
		switch {
		case err == nil && f.Type == derp.FrameKeepAlive:
		case err == nil:
			t.Fatalf("got %v, want the connection closed", f)
		case isTimeout(err):
			t.Fatalf("connection still open after %v", wait)
		default:
			return // EOF, or reset if the server left bytes unread
		}
	}
}

// mustDrop requires the server to end the connection between two times from
// now, whatever it says before.
func (p *rawPeer) mustDrop(t *testing.T, least, most time.Duration) {
	t.Helper()
	start := time.Now()
	p.SetReadDeadline(start.Add(most))
	var err error
	for buf := make([]byte, 4096); err == nil; {
		_, err = p.Reader().Read(buf)
	}
	took := time.Since(start)
	if isTimeout(err) {
		t.Fatalf("connection still open after %v", most)
	}
	if took < least {
		t.Fatalf("connection closed after %v already, want at least %v", took, least)
	}
	t.Logf("closed after %v (%v)", took.Round(time.Millisecond), err)
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &ne) && ne.Timeout()
}
