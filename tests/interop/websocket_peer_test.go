package interop

import (
	"bufio"
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"testing"
	"time"

	"ringrelay.test/interop/internal/relay"
)

// Opcodes and the bit of a message's last frame.
const (
	wsContinuation = 0x00
	wsText         = 0x01
	wsBinary       = 0x02
	wsClose        = 0x08
	wsPing         = 0x09
	wsPong         = 0x0a
	wsFin          = 0x80

	wsKey     = "dGhlIHNhbXBsZSBub25jZQ=="
	wsNoCode  = 1005
	wsMessage = 32768 // the longest message that Go's library reads
)

// wsRequest is a correct request, but for further lines.
func wsRequest(host string, headers ...string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "GET /derp HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n", host, wsKey)
	for _, h := range headers {
		b.WriteString(h + "\r\n")
	}
	b.WriteString("\r\n")
	return b.Bytes()
}

const wsDerp = "Sec-WebSocket-Protocol: derp"

// wsFrame is a masked frame, in the shortest form.
func wsFrame(first byte, payload []byte) []byte {
	form := 1
	if len(payload) > 125 {
		form = 2
	}
	if len(payload) > 65535 {
		form = 8
	}
	return wsFrameForm(first, payload, form)
}

// wsFrameForm is one with a length of 1, 2 or 8 bytes.
func wsFrameForm(first byte, payload []byte, form int) []byte {
	b := []byte{first}
	switch form {
	case 1:
		b = append(b, 0x80|byte(len(payload)))
	case 2:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(len(payload)))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(len(payload)))
	}
	mask := binary.BigEndian.AppendUint32(nil, rand.Uint32())
	b = append(b, mask...)
	for i, c := range payload {
		b = append(b, c^mask[i%4])
	}
	return b
}

// wsCloseFrame says goodbye; wsNoCode: without a code.
func wsCloseFrame(code int) []byte {
	if code == wsNoCode {
		return wsFrame(wsFin|wsClose, nil)
	}
	return wsFrame(wsFin|wsClose, binary.BigEndian.AppendUint16(nil, uint16(code)))
}

// wsStream is the DERP stream inside a WebSocket whose frames we make and
// judge ourselves. A rule that the server breaks is an error of Read.
type wsStream struct {
	net.Conn
	br      *bufio.Reader
	left    int                 // of the message being read
	wrap    func([]byte) []byte // a Write as frames; nil: one message
	pongs   [][]byte
	closed  int // code of the server's close frame
	longest int // message of the server's
}

var errWSClosed = errors.New("the server sent a close frame")

func (s *wsStream) Write(b []byte) (int, error) {
	wrap := s.wrap
	if wrap == nil {
		wrap = func(b []byte) []byte { return wsFrame(wsFin|wsBinary, b) }
	}
	if _, err := s.Conn.Write(wrap(b)); err != nil {
		return 0, err
	}
	return len(b), nil
}

func (s *wsStream) Read(b []byte) (int, error) {
	for s.left == 0 {
		if err := s.nextFrame(); err != nil {
			return 0, err
		}
	}
	n, err := s.br.Read(b[:min(len(b), s.left)])
	s.left -= n
	return n, err
}

// nextFrame reads a head, and all of a control frame.
func (s *wsStream) nextFrame() error {
	if s.closed != 0 {
		if _, err := s.br.ReadByte(); err != io.EOF {
			return fmt.Errorf("behind the server's close frame: %v, want EOF", err)
		}
		return io.EOF
	}
	var head [2]byte
	if _, err := io.ReadFull(s.br, head[:]); err != nil {
		return err
	}
	n, err := s.length(int(head[1]))
	if err != nil {
		return err
	}
	switch head[0] {
	case wsFin | wsBinary:
		s.left = n
		s.longest = max(s.longest, n)
		return nil
	case wsFin | wsPong, wsFin | wsClose:
		return s.control(head[0]&0x0f, n)
	}
	return fmt.Errorf("the server sent a frame that begins with %#02x", head[0])
}

func (s *wsStream) length(b int) (int, error) {
	var ext [2]byte
	if b < 126 {
		return b, nil
	}
	if b != 126 {
		return 0, fmt.Errorf("the server sent a length of %#02x: masked, or longer than any message of its", b)
	}
	_, err := io.ReadFull(s.br, ext[:])
	n := int(binary.BigEndian.Uint16(ext[:]))
	if err == nil && (n < 126 || n > wsMessage) {
		err = fmt.Errorf("the server sent a length of %d in two bytes", n)
	}
	return n, err
}

func (s *wsStream) control(op byte, n int) error {
	if n > 125 {
		return fmt.Errorf("the server sent a control frame of %d bytes", n)
	}
	payload := make([]byte, n)
	if _, err := io.ReadFull(s.br, payload); err != nil {
		return err
	}
	if op == wsPong {
		s.pongs = append(s.pongs, payload)
		return nil
	}
	s.closed = wsNoCode
	if n >= 2 {
		s.closed = int(binary.BigEndian.Uint16(payload))
	}
	return errWSClosed
}

// wsPeer is a client frame by frame, of both layers.
type wsPeer struct {
	*rawPeer
	ws *wsStream
}

// wsDial connects; nothing is sent yet.
func wsDial(t *testing.T, s *relay.Server) *wsPeer {
	t.Helper()
	nc := dialTCP(t, s)
	if s.TLS != nil {
		nc = mustHandshake(t, nc, s.TLSConfig())
	}
	ws := &wsStream{Conn: nc, br: bufio.NewReader(nc)}
	return &wsPeer{newPeer(t, ws), ws}
}

// sendBytes writes past the framing.
func (p *wsPeer) sendBytes(t *testing.T, parts ...[]byte) {
	t.Helper()
	p.SetWriteDeadline(time.Now().Add(wait))
	if _, err := p.ws.Conn.Write(bytes.Join(parts, nil)); err != nil {
		t.Fatalf("send: %v", err)
	}
}

func (p *wsPeer) response(t *testing.T) *http.Response {
	t.Helper()
	p.SetReadDeadline(time.Now().Add(wait))
	resp, err := http.ReadResponse(p.ws.br, nil)
	if err != nil {
		t.Fatalf("reading the answer: %v", err)
	}
	return resp
}

// await101 checks the answer and returns the protocol in it.
func (p *wsPeer) await101(t *testing.T) string {
	t.Helper()
	resp := p.response(t)
	sum := sha1.Sum([]byte(wsKey + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	want := map[string]string{
		"Upgrade":              "websocket",
		"Connection":           "Upgrade",
		"Sec-Websocket-Accept": base64.StdEncoding.EncodeToString(sum[:]),
	}
	if resp.StatusCode != 101 {
		t.Fatalf("got %s, want 101", resp.Status)
	}
	for name, value := range want {
		if got := resp.Header.Get(name); got != value {
			t.Fatalf("%s is %q, want %q", name, got, value)
		}
	}
	for _, name := range []string{"Sec-Websocket-Extensions", "Derp-Version", "Derp-Public-Key"} {
		if got := resp.Header.Get(name); got != "" {
			t.Fatalf("the answer has %s: %q", name, got)
		}
	}
	return resp.Header.Get("Sec-Websocket-Protocol")
}

// wsStart connects and goes up to and including ServerKey.
func wsStart(t *testing.T, s *relay.Server, headers ...string) *wsPeer {
	t.Helper()
	p := wsDial(t, s)
	p.sendBytes(t, wsRequest(s.Addr, append(headers, wsDerp)...))
	if got := p.await101(t); got != "derp" {
		t.Fatalf("the protocol is %q, want derp", got)
	}
	p.awaitServerKey(t)
	return p
}

// wsLogin connects and goes up to and including ServerInfo.
func wsLogin(t *testing.T, s *relay.Server) *wsPeer {
	t.Helper()
	p := wsStart(t, s)
	p.login(t)
	return p
}

// mustPongs requires pongs with these payloads, in order, and nothing else.
func (p *wsPeer) mustPongs(t *testing.T, want ...[]byte) {
	t.Helper()
	p.SetReadDeadline(time.Now().Add(wait))
	for len(p.ws.pongs) < len(want) {
		if err := p.ws.nextFrame(); err != nil {
			t.Fatalf("waiting for a WebSocket pong: %v", err)
		}
		if p.ws.left > 0 {
			t.Fatal("got a message, want a WebSocket pong")
		}
	}
	for i, payload := range want {
		if !bytes.Equal(p.ws.pongs[i], payload) {
			t.Fatalf("pong %d holds %q, want %q", i, p.ws.pongs[i], payload)
		}
	}
	p.ws.pongs = nil
}

// mustEnd requires a close frame with one of these codes and, once it was
// answered, the end of the stream. Code 0: no close frame at all.
func (p *wsPeer) mustEnd(t *testing.T, codes ...int) {
	t.Helper()
	f, err := p.ReadFrame()
	if err == nil {
		t.Fatalf("got %v, want a close frame", f)
	}
	if isTimeout(err) {
		t.Fatalf("connection still open after %v", wait)
	}
	fine := false
	for _, code := range codes {
		fine = fine || p.ws.closed == code
	}
	if !fine {
		t.Fatalf("closed with %d (0: without a close frame; %v), want one of %d", p.ws.closed, err, codes)
	}
	if p.ws.closed == 0 {
		return
	}
	p.ws.Conn.Write(wsCloseFrame(p.ws.closed)) // the server may not wait for it
	if !isOurs() {
		return // derper leaves it open for more than 20 s about once in 500 times
	}
	p.SetReadDeadline(time.Now().Add(wait))
	if _, err := io.Copy(io.Discard, p.ws.br); isTimeout(err) {
		t.Fatalf("connection still open %v after both close frames", wait)
	}
}
