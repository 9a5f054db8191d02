// Package load is what the small measuring programs and the flood test have in
// common: logged-in peers, a live pair, streams, floods, and what /proc tells
// of a server. It is smoke, not a load generator: senders wait for credit.
package load

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"time"

	"ringrelay.test/interop/internal/wire"
	"tailscale.com/derp"
	"tailscale.com/types/key"
)

// Wait bounds every single step against a server.
const Wait = 10 * time.Second

// Target is where to connect and whom to trust.
type Target struct {
	Addr string
	TLS  *tls.Config
}

// Handshake connects up to and including the TLS handshake.
func (t Target) Handshake() (*tls.Conn, error) {
	nc, err := net.DialTimeout("tcp", t.Addr, Wait)
	if err != nil {
		return nil, err
	}
	nc.SetDeadline(time.Now().Add(Wait))
	c := tls.Client(nc, t.TLS)
	if err := c.Handshake(); err != nil {
		nc.Close()
		return nil, fmt.Errorf("TLS handshake: %w", err)
	}
	nc.SetDeadline(time.Time{})
	return c, nil
}

// Peer is a logged-in connection.
type Peer struct {
	*wire.Conn
	Pub   key.NodePublic
	State tls.ConnectionState
	body  []byte // of the frame read last
}

// Login is a fast start up to and including ServerInfo.
func (t Target) Login() (*Peer, error) {
	c, err := t.Handshake()
	if err != nil {
		return nil, err
	}
	p := &Peer{Conn: wire.New(c, Wait), State: c.ConnectionState()}
	if err := p.login(); err != nil {
		c.Close()
		return nil, fmt.Errorf("login: %w", err)
	}
	return p, nil
}

func (p *Peer) login() error {
	if err := p.Send(wire.Request(p.RemoteAddr().String(), "DERP", wire.FastStart)); err != nil {
		return err
	}
	server, err := p.ReadServerKey()
	if err != nil {
		return err
	}
	priv := key.NewNode()
	p.Pub = priv.Public()
	if err := p.Send(wire.ClientInfo(priv, server, wire.DefaultInfo)); err != nil {
		return err
	}
	f, err := p.ReadFrame()
	if err != nil {
		return err
	}
	if _, ok := priv.OpenFrom(server, f.Body); f.Type != derp.FrameServerInfo || !ok {
		return fmt.Errorf("got %v, want a ServerInfo that opens", f)
	}
	return nil
}

// receive returns the payload of the next packet, which must be from src. It
// is valid until the next call. The caller sets the deadline.
func (p *Peer) receive(src key.NodePublic) ([]byte, error) {
	for {
		var h [wire.HeaderLen]byte
		if _, err := io.ReadFull(p.Reader(), h[:]); err != nil {
			return nil, err
		}
		n := binary.BigEndian.Uint32(h[1:])
		if n > wire.MaxFrameBody {
			return nil, fmt.Errorf("a frame of %d bytes", n)
		}
		if int(n) > cap(p.body) {
			p.body = make([]byte, n)
		}
		p.body = p.body[:n]
		if _, err := io.ReadFull(p.Reader(), p.body); err != nil {
			return nil, err
		}
		switch t := derp.FrameType(h[0]); {
		case t == derp.FrameKeepAlive:
		case t != derp.FrameRecvPacket || n < wire.KeyLen:
			return nil, fmt.Errorf("got frame %#02x of %d bytes, want a packet", h[0], n)
		case !bytes.Equal(p.body[:wire.KeyLen], wire.Raw(src)):
			return nil, fmt.Errorf("packet from %x, want %v", p.body[:wire.KeyLen], src)
		default:
			return p.body[wire.KeyLen:], nil
		}
	}
}

// packets makes and verifies numbered packets of one size, every byte known.
type packets struct{ size int }

const numberLen = 8

var noise = func() []byte {
	b := make([]byte, 1<<17)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}()

func (k packets) noise(n uint64) []byte {
	at := int(n * 31 % (1 << 16))
	return noise[at : at+k.size-numberLen]
}

// frame is a SendPacket frame to dst; fill gives it a number.
func (k packets) frame(dst key.NodePublic) []byte { return wire.SendPacket(dst, make([]byte, k.size)) }

func (k packets) fill(frame []byte, n uint64) {
	payload := frame[len(frame)-k.size:]
	binary.BigEndian.PutUint64(payload, n)
	copy(payload[numberLen:], k.noise(n))
}

func (k packets) verify(payload []byte, n uint64) error {
	switch {
	case len(payload) != k.size:
		return fmt.Errorf("packet %d has %d bytes, want %d", n, len(payload), k.size)
	case binary.BigEndian.Uint64(payload) != n:
		return fmt.Errorf("packet %d arrived, want %d", binary.BigEndian.Uint64(payload), n)
	case !bytes.Equal(payload[numberLen:], k.noise(n)):
		return fmt.Errorf("packet %d is damaged", n)
	}
	return nil
}
