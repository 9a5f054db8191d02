package interop

import (
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"ringrelay.test/interop/internal/tls13"
	"ringrelay.test/interop/internal/wire"
)

// clientHello is the first record a client sends.
func clientHello(t *testing.T, config *tls.Config) []byte {
	t.Helper()
	ours, theirs := net.Pipe()
	defer ours.Close()
	go tls.Client(theirs, config).Handshake() // ends when the pipe does
	ours.SetReadDeadline(time.Now().Add(wait))
	record := make([]byte, tls13.HeaderLen)
	if _, err := io.ReadFull(ours, record); err != nil {
		t.Fatal(err)
	}
	record = append(record, make([]byte, binary.BigEndian.Uint16(record[3:]))...)
	if _, err := io.ReadFull(ours, record[tls13.HeaderLen:]); err != nil {
		t.Fatal(err)
	}
	return record
}

// TestTLSUnauthenticatedIsDropped: nobody may hold a connection without
// completing the handshake, the request, the login.
func TestTLSUnauthenticatedIsDropped(t *testing.T) {
	slow(t)
	const httpDeadline, loginDeadline = 30 * time.Second, 10 * time.Second
	s := sharedTLS(t)
	hello := clientHello(t, s.TLSConfig())
	request := wire.Request(s.Addr, "DERP")
	fast := wire.Request(s.Addr, "DERP", wire.FastStart)
	server := fastStart(t, s).server

	tcp := func(t *testing.T) *rawPeer { return newPeer(t, dialTCP(t, s)) }
	handshake := func(t *testing.T) *rawPeer { return dialRaw(t, s) }
	unfinished := func(t *testing.T) *rawPeer {
		nc := &corked{Conn: dialTCP(t, s)} // what is read from here on is the server's side of it
		mustHandshake(t, nc, s.TLSConfig())
		return newPeer(t, nc.Conn)
	}
	for name, c := range map[string]struct {
		deadline time.Duration
		dial     func(*testing.T) *rawPeer
		send     func(p *rawPeer) []byte
		trickle  []byte // then one byte a second
	}{
		"nothing":            {httpDeadline, tcp, nil, nil},
		"half a header":      {httpDeadline, tcp, func(*rawPeer) []byte { return hello[:3] }, nil},
		"half a hello":       {httpDeadline, tcp, func(*rawPeer) []byte { return hello[:len(hello)/2] }, nil},
		"trickled hello":     {httpDeadline, tcp, nil, hello},
		"hello only":         {httpDeadline, tcp, func(*rawPeer) []byte { return hello }, nil},
		"no Finished":        {httpDeadline, unfinished, nil, nil},
		"no request":         {httpDeadline, handshake, nil, nil},
		"half a request":     {httpDeadline, handshake, func(*rawPeer) []byte { return request[:20] }, nil},
		"trickled request":   {httpDeadline, handshake, nil, slices.Concat(request[:len(request)-2], make([]byte, 99))},
		"no ClientInfo":      {loginDeadline, handshake, func(*rawPeer) []byte { return request }, nil},
		"no ClientInfo fast": {loginDeadline, handshake, func(*rawPeer) []byte { return fast }, nil},
		"half a ClientInfo": {loginDeadline, handshake, func(p *rawPeer) []byte {
			p.server = server
			return slices.Concat(fast, p.clientInfo(wire.DefaultInfo)[:60])
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := c.dial(t)
			if c.send != nil {
				p.mustSend(t, c.send(p))
			}
			if c.trickle != nil {
				go trickle(p, c.trickle)
			}
			p.mustDrop(t, c.deadline/2, c.deadline+slack)
		})
	}
}
