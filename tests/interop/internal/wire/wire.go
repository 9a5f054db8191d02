// Package wire speaks DERP byte by byte, for what a well-behaved client
// library cannot be made to send.
package wire

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"go4.org/mem"
	"tailscale.com/derp"
	"tailscale.com/types/key"
)

const (
	KeyLen       = 32
	HeaderLen    = 5
	BoxOverhead  = 16
	MaxFrameBody = 1 << 20 // what any client accepts

	FrameHealth     = derp.FrameType(0x14)
	FrameRestarting = derp.FrameType(0x15)
)

// DefaultInfo is the ClientInfo of a plain client.
const DefaultInfo = `{"version":2,"CanAckPings":true}`

// Frame is one frame as received.
type Frame struct {
	Type derp.FrameType
	Body []byte
}

func (f Frame) String() string {
	if len(f.Body) > 64 {
		return fmt.Sprintf("%#02x[%d] %x…", byte(f.Type), len(f.Body), f.Body[:64])
	}
	return fmt.Sprintf("%#02x[%d] %x", byte(f.Type), len(f.Body), f.Body)
}

// Encode returns header and body as one slice.
func Encode(t derp.FrameType, body ...[]byte) []byte {
	all := bytes.Join(body, nil)
	return append(Header(t, uint32(len(all))), all...)
}

// Header returns a frame header that may lie about what follows.
func Header(t derp.FrameType, length uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte{byte(t)}, length)
}

// Conn is a TCP connection with a buffered reader and deadlines everywhere.
type Conn struct {
	net.Conn
	br   *bufio.Reader
	wait time.Duration
}

// Dial connects; every later read and write may take at most wait.
// A non-zero receive buffer is set before connecting.
func Dial(addr string, wait time.Duration, receiveBuffer int) (*Conn, error) {
	d := net.Dialer{Timeout: wait, KeepAlive: -1, ControlContext: setReceiveBuffer(receiveBuffer)}
	nc, err := d.DialContext(context.Background(), "tcp", addr)
	if err != nil {
		return nil, err
	}
	return New(nc, wait), nil
}

// New does the same with a connection that there is already.
func New(nc net.Conn, wait time.Duration) *Conn {
	return &Conn{Conn: nc, br: bufio.NewReader(nc), wait: wait}
}

// Reader is the buffered reader, for handing the connection to a client library.
func (c *Conn) Reader() *bufio.Reader { return c.br }

// Send writes b in one call.
func (c *Conn) Send(b []byte) error {
	c.SetWriteDeadline(time.Now().Add(c.wait))
	_, err := c.Write(b)
	return err
}

// SendBytewise writes b in segments of one byte (TCP_NODELAY is Go's default).
func (c *Conn) SendBytewise(b []byte) error {
	for i := range b {
		if err := c.Send(b[i : i+1]); err != nil {
			return fmt.Errorf("byte %d: %w", i, err)
		}
	}
	return nil
}

// ReadFrame reads the next frame.
func (c *Conn) ReadFrame() (Frame, error) { return c.ReadFrameUntil(time.Now().Add(c.wait)) }

// ReadFrameUntil reads the next frame, with a deadline of its own. An error
// other than at a frame boundary says so.
func (c *Conn) ReadFrameUntil(deadline time.Time) (Frame, error) {
	c.SetReadDeadline(deadline)
	if _, err := c.br.Peek(1); err != nil {
		return Frame{}, err
	}
	var h [HeaderLen]byte
	if _, err := io.ReadFull(c.br, h[:]); err != nil {
		return Frame{}, fmt.Errorf("inside a frame header: %w", err)
	}
	n := binary.BigEndian.Uint32(h[1:])
	if n > MaxFrameBody {
		return Frame{}, fmt.Errorf("frame %#02x of %d bytes: longer than any client accepts", h[0], n)
	}
	f := Frame{Type: derp.FrameType(h[0]), Body: make([]byte, n)}
	if _, err := io.ReadFull(c.br, f.Body); err != nil {
		return Frame{}, fmt.Errorf("inside frame %#02x of %d bytes: %w", h[0], n, err)
	}
	return f, nil
}

// ReadHead reads up to and including the blank line of an HTTP answer.
func (c *Conn) ReadHead() (string, error) {
	c.SetReadDeadline(time.Now().Add(c.wait))
	var head strings.Builder
	for !strings.HasSuffix(head.String(), "\r\n\r\n") {
		line, err := c.br.ReadString('\n')
		head.WriteString(line)
		if err != nil {
			return head.String(), fmt.Errorf("after %q: %w", head.String(), err)
		}
	}
	return head.String(), nil
}

// ReadResponse parses a whole HTTP answer with Go's parser.
func (c *Conn) ReadResponse() (*http.Response, error) {
	c.SetReadDeadline(time.Now().Add(c.wait))
	return http.ReadResponse(c.br, nil)
}

// ReadServerKey reads the greeting and returns the key in it.
func (c *Conn) ReadServerKey() (key.NodePublic, error) {
	f, err := c.ReadFrame()
	if err != nil {
		return key.NodePublic{}, fmt.Errorf("waiting for ServerKey: %w", err)
	}
	return ParseServerKey(f)
}

// ParseServerKey checks the greeting strictly: the server sends exactly 40 bytes.
func ParseServerKey(f Frame) (key.NodePublic, error) {
	if f.Type != derp.FrameServerKey || len(f.Body) != 40 || string(f.Body[:8]) != derp.Magic {
		return key.NodePublic{}, fmt.Errorf("not a ServerKey frame: %v", f)
	}
	return key.NodePublicFromRaw32(mem.B(f.Body[8:])), nil
}

// ClientInfo is the login frame: our key, and the JSON in a box for the server.
func ClientInfo(priv key.NodePrivate, server key.NodePublic, json string) []byte {
	return Encode(derp.FrameClientInfo, Raw(priv.Public()), priv.SealTo(server, []byte(json)))
}

// SendPacket is the frame that carries data to dst.
func SendPacket(dst key.NodePublic, data []byte) []byte {
	return Encode(derp.FrameSendPacket, Raw(dst), data)
}

// Raw returns the 32 bytes of a key.
func Raw(k key.NodePublic) []byte { return k.AppendTo(nil) }

// Request is a request head as the Go client sends it, with further header
// lines ("Name: value") inserted before Upgrade.
func Request(host, upgrade string, headers ...string) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "GET /derp HTTP/1.1\r\nHost: %s\r\nUser-Agent: Go-http-client/1.1\r\nConnection: Upgrade\r\n", host)
	for _, h := range headers {
		b.WriteString(h + "\r\n")
	}
	if upgrade != "" {
		b.WriteString("Upgrade: " + upgrade + "\r\n")
	}
	b.WriteString("\r\n")
	return []byte(b.String())
}

// FastStart is the header that suppresses the HTTP answer.
const FastStart = derp.FastStartHeader + ": 1"

// SwitchingProtocols is the one correct answer to a normal upgrade.
func SwitchingProtocols(server key.NodePublic) string {
	return "HTTP/1.1 101 Switching Protocols\r\n" +
		"Upgrade: DERP\r\n" +
		"Connection: Upgrade\r\n" +
		"Derp-Version: 2\r\n" +
		"Derp-Public-Key: " + server.UntypedHexString() + "\r\n\r\n"
}
