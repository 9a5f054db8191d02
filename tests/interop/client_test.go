package interop

import (
	"bytes"
	"context"
	"crypto/tls"
	"testing"
	"time"

	"ringrelay.test/interop/internal/relay"
	"tailscale.com/derp"
	"tailscale.com/derp/derphttp"
	"tailscale.com/net/netmon"
	"tailscale.com/types/key"
)

// client is the real Go client with a goroutine that reads for it.
type client struct {
	*derphttp.Client
	pub  key.NodePublic
	msgs chan derp.ReceivedMessage // closed when the connection ended
	recv func() (derp.ReceivedMessage, error)
	send func(key.NodePublic, []byte) error
}

// connect logs the real client in at s and consumes ServerInfo.
func connect(t *testing.T, s *relay.Server) *client {
	t.Helper()
	priv := key.NewNode()
	return attach(t, newClient(t, s, priv), priv)
}

// newClient is the library's client before it connects.
func newClient(t *testing.T, s *relay.Server, priv key.NodePrivate) *derphttp.Client {
	t.Helper()
	url := s.URL("/derp")
	if s.TLS != nil {
		url = tlsURL(t, s)
	}
	dc, err := derphttp.NewClient(priv, url, t.Logf, netmon.NewStatic())
	if err != nil {
		t.Fatal(err)
	}
	if s.TLS != nil {
		dc.TLSConfig = &tls.Config{RootCAs: s.TLS.Roots}
		dc.SetURLDialer(dialInstead(s.Addr))
	}
	return dc
}

// attach connects a client and reads for it from then on.
func attach(t *testing.T, dc *derphttp.Client, priv key.NodePrivate) *client {
	t.Helper()
	c := &client{Client: dc, pub: priv.Public(), msgs: make(chan derp.ReceivedMessage, 128), recv: dc.Recv, send: dc.Send}
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	if err := dc.Connect(ctx); err != nil {
		t.Fatalf("connect: %v", err)
	}
	c.listen(t, func() { dc.Close() })
	return c
}

// listen reads for a client that has connected, until hangUp at the end of t,
// and consumes ServerInfo.
func (c *client) listen(t *testing.T, hangUp func()) {
	t.Helper()
	stopped := make(chan struct{})
	t.Cleanup(func() {
		hangUp()
		for range c.msgs { // until the reader is gone: it must not outlive t
		}
		<-stopped
	})
	go func() {
		defer close(stopped)
		c.read()
	}()
	if m := c.next(t, "ServerInfo"); m != (derp.ServerInfoMessage{}) {
		t.Fatalf("first message is %#v, want an empty ServerInfoMessage", m)
	}
}

func (c *client) read() {
	defer close(c.msgs)
	for {
		m, err := c.recv()
		if err != nil {
			return
		}
		if p, ok := m.(derp.ReceivedPacket); ok {
			p.Data = bytes.Clone(p.Data) // it aliases the client's buffer
			m = p
		}
		c.msgs <- m
	}
}

// next returns the next message; keep-alives are passed over.
func (c *client) next(t *testing.T, waitingFor string) derp.ReceivedMessage {
	t.Helper()
	timeout := time.NewTimer(wait)
	defer timeout.Stop()
	for {
		select {
		case m, ok := <-c.msgs:
			if !ok {
				t.Fatalf("connection ended while waiting for %s", waitingFor)
			}
			if _, ok := m.(derp.KeepAliveMessage); !ok {
				return m
			}
		case <-timeout.C:
			t.Fatalf("no %s within %v", waitingFor, wait)
		}
	}
}

func (c *client) mustSend(t *testing.T, dst key.NodePublic, data []byte) {
	t.Helper()
	if err := c.send(dst, data); err != nil {
		t.Fatalf("send of %d bytes: %v", len(data), err)
	}
}

// mustReceive requires the next message to be this packet.
func (c *client) mustReceive(t *testing.T, src key.NodePublic, data []byte) {
	t.Helper()
	m := c.next(t, "a packet")
	p, ok := m.(derp.ReceivedPacket)
	if !ok {
		t.Fatalf("got %#v, want a packet", m)
	}
	if p.Source != src || !bytes.Equal(p.Data, data) {
		t.Fatalf("got %d bytes from %v (%.40q), want %d bytes from %v (%.40q)",
			len(p.Data), p.Source.ShortString(), p.Data, len(data), src.ShortString(), data)
	}
}

// mustPeerGone requires the next message to be this one.
func (c *client) mustPeerGone(t *testing.T, peer key.NodePublic, reason derp.PeerGoneReasonType) {
	t.Helper()
	want := derp.PeerGoneMessage{Peer: peer, Reason: reason}
	if m := c.next(t, "PeerGone"); m != want {
		t.Fatalf("got %#v, want %#v", m, want)
	}
}

// mustQuiet proves that nothing is on its way to c: two pings are answered
// (by the library, which swallows the pongs) and nothing else came.
func (c *client) mustQuiet(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	for range 2 {
		if err := c.Ping(ctx); err != nil {
			t.Fatalf("ping: %v", err)
		}
	}
	select {
	case m, ok := <-c.msgs:
		t.Fatalf("got %#v (open: %v), want nothing", m, ok)
	default:
	}
}
