package load

import (
	"context"
	"fmt"
	"time"

	"ringrelay.test/interop/internal/wire"
	"tailscale.com/derp"
	"tailscale.com/derp/derphttp"
	"tailscale.com/net/netmon"
	"tailscale.com/types/key"
	"tailscale.com/types/logger"
)

// end is one end of a stream.
type end interface {
	pub() key.NodePublic
	sendFrame(dst key.NodePublic, frame []byte) error // a whole SendPacket
	receive(src key.NodePublic) ([]byte, error)
	suite() (id uint16, known bool)
	SetDeadline(time.Time) error
	Close() error
}

func (p *Peer) pub() key.NodePublic { return p.Pub }

func (p *Peer) sendFrame(_ key.NodePublic, frame []byte) error {
	_, err := p.Write(frame)
	return err
}

func (p *Peer) suite() (uint16, bool) { return p.State.CipherSuite, true }

// tailscaleEnd is Tailscale's own client. It takes no deadline: a stream that
// stands still is ended by closing it.
type tailscaleEnd struct {
	*derphttp.Client
	key   key.NodePublic
	timer *time.Timer
}

func (t Target) tailscaleClient() (*tailscaleEnd, error) {
	priv := key.NewNode()
	c, err := derphttp.NewClient(priv, "https://"+t.Addr+"/derp", logger.Discard, netmon.NewStatic())
	if err != nil {
		return nil, err
	}
	c.TLSConfig = t.TLS.Clone()
	ctx, cancel := context.WithTimeout(context.Background(), Wait)
	defer cancel()
	if err := c.Connect(ctx); err != nil {
		c.Close()
		return nil, err
	}
	return &tailscaleEnd{Client: c, key: priv.Public()}, nil
}

func (e *tailscaleEnd) pub() key.NodePublic { return e.key }

func (e *tailscaleEnd) sendFrame(dst key.NodePublic, frame []byte) error {
	return e.Send(dst, frame[wire.HeaderLen+wire.KeyLen:])
}

func (e *tailscaleEnd) receive(src key.NodePublic) ([]byte, error) {
	for {
		m, err := e.Recv()
		if err != nil {
			return nil, err
		}
		if p, ok := m.(derp.ReceivedPacket); ok {
			if p.Source != src {
				return nil, fmt.Errorf("packet from %v, want %v", p.Source, src)
			}
			return p.Data, nil
		}
	}
}

func (e *tailscaleEnd) suite() (uint16, bool) {
	state, ok := e.TLSConnectionState()
	if !ok || state == nil {
		return 0, false
	}
	return state.CipherSuite, true
}

func (e *tailscaleEnd) SetDeadline(at time.Time) error {
	if e.timer != nil {
		e.timer.Stop()
	}
	e.timer = time.AfterFunc(time.Until(at), func() { e.Close() })
	return nil
}

func (e *tailscaleEnd) Close() error {
	if e.timer != nil {
		e.timer.Stop()
	}
	return e.Client.Close()
}
