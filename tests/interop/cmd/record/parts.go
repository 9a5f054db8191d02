package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"ringrelay.test/interop/internal/golden"
	"ringrelay.test/interop/internal/relay"
	"ringrelay.test/interop/internal/wire"
	"tailscale.com/derp"
	"tailscale.com/derp/derphttp"
	"tailscale.com/net/netmon"
	"tailscale.com/types/key"
	"tailscale.com/types/logger"
)

const step = 10 * time.Second

type result struct {
	rec golden.Recording
	err error
}

// loginRaw logs in by fast start with the given ClientInfo.
func loginRaw(s *relay.Server, priv key.NodePrivate, info string) (*wire.Conn, error) {
	c, err := wire.Dial(s.Addr, step, 0)
	if err != nil {
		return nil, err
	}
	if err := c.Send(wire.Request("derp.example", "DERP", wire.FastStart)); err != nil {
		return nil, err
	}
	server, err := c.ReadServerKey()
	if err != nil {
		return nil, err
	}
	if err := c.Send(wire.ClientInfo(priv, server, info)); err != nil {
		return nil, err
	}
	if f, err := c.ReadFrame(); err != nil || f.Type != derp.FrameServerInfo {
		return nil, fmt.Errorf("waiting for ServerInfo: %v, %w", f, err)
	}
	return c, nil
}

func recordKeepAlive(s *relay.Server) result {
	c, err := loginRaw(s, key.NewNode(), wire.DefaultInfo)
	if err != nil {
		return result{err: err}
	}
	defer c.Close()
	f, err := c.ReadFrameUntil(time.Now().Add(90 * time.Second))
	if err == nil && f.Type != derp.FrameKeepAlive {
		err = fmt.Errorf("got %v", f)
	}
	if err != nil {
		return result{err: fmt.Errorf("waiting for KeepAlive: %w", err)}
	}
	return result{rec: golden.Recording{File: "keepalive.hex", What: "KeepAlive", Bytes: wire.Encode(f.Type, f.Body)}}
}

// recordGoClient keeps what the Go client sends on a plain HTTP connection.
func recordGoClient(s *relay.Server) ([]golden.Recording, error) {
	c, err := derphttp.NewClient(golden.Private(golden.ClientPrivate), "http://derp.example:3340/derp", logger.Discard, netmon.NewStatic())
	if err != nil {
		return nil, err
	}
	defer c.Close()
	var sent tee
	c.SetURLDialer(func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		nc, err := d.DialContext(ctx, network, s.Addr)
		return &teeConn{nc, &sent}, err
	})
	ctx, cancel := context.WithTimeout(context.Background(), step)
	defer cancel()
	if err := c.Connect(ctx); err != nil {
		return nil, err
	}
	head, info, ok := bytes.Cut(sent.bytes(), []byte("\r\n\r\n"))
	if !ok {
		return nil, fmt.Errorf("the Go client sent no request head: %q", head)
	}
	return []golden.Recording{
		{File: "request-normal.txt", Bytes: append(head, "\r\n\r\n"...)},
		{File: "clientinfo.hex", What: "ClientInfo as the Go client sends it: public key, nonce (random), box of JSON from client to server", Bytes: info},
	}, nil
}

// tee collects what was written; the library writes from one goroutine at a
// time, but not always from the same.
type tee struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (t *tee) bytes() []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	return bytes.Clone(t.buf.Bytes())
}

type teeConn struct {
	net.Conn
	sent *tee
}

func (c *teeConn) Write(b []byte) (int, error) {
	c.sent.mu.Lock()
	c.sent.buf.Write(b)
	c.sent.mu.Unlock()
	return c.Conn.Write(b)
}

// recordMesh keeps the PeerPresent frames a mesh peer gets for a client
// without and with an app name.
func recordMesh(s *relay.Server) ([]golden.Recording, error) {
	watcher, err := loginRaw(s, key.NewNode(), `{"version":2,"meshKey":"`+golden.MeshKey+`"}`)
	if err != nil {
		return nil, err
	}
	defer watcher.Close()
	if err := watcher.Send(wire.Encode(derp.FrameWatchConns)); err != nil {
		return nil, err
	}
	var recs []golden.Recording
	for _, v := range []struct{ file, what, priv, info string }{
		{"peerpresent.hex", "PeerPresent: key, IP, port (varies), flags, length of app name", golden.ClientPrivate, wire.DefaultInfo},
		{"peerpresent-appname.hex", "PeerPresent with the app name \"golden\"", golden.PeerPrivate, `{"version":2,"AppName":"golden"}`},
	} {
		priv := golden.Private(v.priv)
		c, err := loginRaw(s, priv, v.info)
		if err != nil {
			return nil, err
		}
		defer c.Close()
		f, err := presentOf(watcher, priv.Public())
		if err != nil {
			return nil, err
		}
		recs = append(recs, golden.Recording{File: v.file, What: v.what, Bytes: wire.Encode(f.Type, f.Body)})
	}
	return recs, nil
}

// presentOf skips what the watcher is told about others.
func presentOf(watcher *wire.Conn, k key.NodePublic) (wire.Frame, error) {
	for {
		f, err := watcher.ReadFrame()
		if err != nil {
			return f, fmt.Errorf("waiting for PeerPresent: %w", err)
		}
		if f.Type == derp.FramePeerPresent && bytes.HasPrefix(f.Body, wire.Raw(k)) {
			return f, nil
		}
	}
}
