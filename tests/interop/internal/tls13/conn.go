package tls13

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
)

const handshakeKeyUpdate = 24

// AlertError is the alert that ended the connection.
type AlertError byte

func (a AlertError) Error() string { return fmt.Sprintf("tls13: alert %d from the server", byte(a)) }

// Conn is a client's connection after the handshake. One goroutine may read
// while another writes.
type Conn struct {
	net.Conn
	State   tls.ConnectionState
	Updates atomic.Int64 // KeyUpdates received
	Records atomic.Int64 // records of data received

	br    *bufio.Reader
	in    *Half
	plain []byte

	mu  sync.Mutex // writers, and readers that answer a KeyUpdate
	out *Half
}

// Client does the handshake with crypto/tls and takes over.
func Client(nc net.Conn, config *tls.Config) (*Conn, error) {
	c := &Conn{Conn: nc, br: bufio.NewReaderSize(nc, HeaderLen+MaxSealed)}
	var log bytes.Buffer
	config = config.Clone()
	config.MinVersion = tls.VersionTLS13
	config.KeyLogWriter = &log
	handshake := tls.Client(&recordwise{Conn: nc, br: c.br}, config)
	if err := handshake.Handshake(); err != nil {
		return nil, err
	}
	c.State = handshake.ConnectionState()
	var err error
	if c.in, err = c.half(log.Bytes(), ServerSecret); err != nil {
		return nil, err
	}
	c.out, err = c.half(log.Bytes(), ClientSecret)
	return c, err
}

func (c *Conn) half(log []byte, label string) (*Half, error) {
	secret, err := SecretFromLog(log, label)
	if err != nil {
		return nil, err
	}
	return NewHalf(c.State.CipherSuite, secret)
}

// recordwise keeps crypto/tls from reading beyond the record it asks for, so
// that nothing of ours is in its buffers when the handshake is done.
type recordwise struct {
	net.Conn
	br   *bufio.Reader
	left int
}

func (r *recordwise) Read(b []byte) (int, error) {
	if r.left == 0 {
		h, err := r.br.Peek(HeaderLen)
		if err != nil {
			return 0, err
		}
		r.left = HeaderLen + int(binary.BigEndian.Uint16(h[3:]))
	}
	n, err := r.br.Read(b[:min(len(b), r.left)])
	r.left -= n
	return n, err
}

// Seal makes the next record and does not send it.
func (c *Conn) Seal(kind byte, content []byte, padding int) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out.Seal(kind, content, padding)
}

// KeyUpdateMessage is the content of the record that says: from now on, the
// next key.
func KeyUpdateMessage(request bool) []byte {
	m := []byte{handshakeKeyUpdate, 0, 0, 1, 0}
	if request {
		m[4] = 1
	}
	return m
}

// SealKeyUpdate makes that record and goes on to the next key.
func (c *Conn) SealKeyUpdate(request bool) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sealKeyUpdate(request)
}

func (c *Conn) sealKeyUpdate(request bool) ([]byte, error) {
	r := c.out.Seal(Handshake, KeyUpdateMessage(request), 0)
	return r, c.out.Update()
}

// UpdateKey sends a KeyUpdate.
func (c *Conn) UpdateKey(request bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, err := c.sealKeyUpdate(request)
	if err != nil {
		return err
	}
	_, err = c.Conn.Write(r)
	return err
}

// Write sends b in records as large as they may be, in one write.
func (c *Conn) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var sealed []byte
	for rest := b; len(rest) > 0; {
		n := min(len(rest), MaxContent)
		sealed = append(sealed, c.out.Seal(Data, rest[:n], 0)...)
		rest = rest[n:]
	}
	_, err := c.Conn.Write(sealed)
	return len(b), err
}

// Read returns application data; it answers KeyUpdates on the way. An alert
// is an AlertError, close_notify too.
func (c *Conn) Read(b []byte) (int, error) {
	for len(c.plain) == 0 {
		if err := c.readRecord(); err != nil {
			return 0, err
		}
	}
	n := copy(b, c.plain)
	c.plain = c.plain[n:]
	return n, nil
}

func (c *Conn) readRecord() error {
	h, err := c.br.Peek(HeaderLen)
	if err != nil {
		return err // EOF at a record's border is io.EOF
	}
	n := int(binary.BigEndian.Uint16(h[3:]))
	if n > MaxSealed {
		return fmt.Errorf("tls13: server sent a record of %d bytes", n)
	}
	record := make([]byte, HeaderLen+n)
	if _, err := io.ReadFull(c.br, record); err != nil {
		return fmt.Errorf("inside a record of %d bytes: %w", n, err)
	}
	kind, content, err := c.in.Open(record)
	if err != nil {
		return err
	}
	switch {
	case kind == Data:
		c.Records.Add(1)
		c.plain = content
		return nil
	case kind == Alert && len(content) == 2:
		return AlertError(content[1])
	case kind == Handshake && len(content) == 5 && content[0] == handshakeKeyUpdate && content[4] <= 1:
		c.Updates.Add(1)
		if err := c.in.Update(); err != nil {
			return err
		}
		if content[4] == 1 {
			return c.UpdateKey(false)
		}
		return nil
	}
	return fmt.Errorf("tls13: record of type %d: %.40x", kind, content)
}
