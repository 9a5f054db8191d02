// Package golden holds the conversation whose bytes are kept in
// tests/golden: cmd/record has it with the real derper and writes the files,
// the tests have it with the server under test and compare.
package golden

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"time"

	"go4.org/mem"
	"ringrelay.test/interop/internal/relay"
	"ringrelay.test/interop/internal/wire"
	"tailscale.com/derp"
	"tailscale.com/disco"
	"tailscale.com/types/key"
)

// The keys of the conversation. None of them protects anything.
const (
	ServerPrivate = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e5f"
	ClientPrivate = "404142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f"
	PeerPrivate   = "606162636465666768696a6b6c6d6e6f707172737475767778797a7b7c7d7e7f"
	MeshKey       = "c0c1c2c3c4c5c6c7c8c9cacbcccdcecfd0d1d2d3d4d5d6d7d8d9dadbdcdddedf"
)

// Nobody is a key that never connects: 32 times 0x11.
var Nobody = key.NodePublicFromRaw32(mem.B(bytes.Repeat([]byte{0x11}, 32)))

const step = 10 * time.Second

// Recording is the content of one golden file.
type Recording struct {
	File   string
	What   string // a line or two for the file's head; empty for verbatim files
	Bytes  []byte
	Varies bool // differs from one recording to the next; not compared
}

// Private parses one of the keys above.
func Private(hex64 string) key.NodePrivate {
	k, err := key.ParseNodePrivateUntyped(mem.S(hex64))
	if err != nil {
		panic(err) // a constant of this package is wrong
	}
	return k
}

// KeyFile writes the server's key file into dir.
func KeyFile(dir string) (string, error) {
	path := filepath.Join(dir, "derper.key")
	text := "{\n\t\"PrivateKey\": \"privkey:" + ServerPrivate + "\"\n}"
	return path, os.WriteFile(path, []byte(text), 0o600)
}

// recorder collects recordings; the first error sticks and ends the recording.
type recorder struct {
	s   *relay.Server
	out []Recording
	err error
}

// Converse has the conversation with a server that runs with KeyFile.
func Converse(s *relay.Server) ([]Recording, error) {
	c := &recorder{s: s}
	client := c.dial()
	if c.err != nil {
		return nil, c.err
	}
	defer client.Close()
	c.start(client)
	c.packets(client)
	c.peerGone(client)
	c.noUpgrade()
	return c.out, c.err
}

func (c *recorder) dial() *wire.Conn {
	if c.err != nil {
		return nil
	}
	conn, err := wire.Dial(c.s.Addr, step, 0)
	c.err = err
	return conn
}

func (c *recorder) add(file, what string, b []byte) {
	c.out = append(c.out, Recording{File: file, What: what, Bytes: b})
}

func (c *recorder) send(conn *wire.Conn, b []byte) {
	if c.err == nil {
		c.err = conn.Send(b)
	}
}

// frame reads one frame of a wanted type and returns it encoded.
func (c *recorder) frame(conn *wire.Conn, want derp.FrameType) wire.Frame {
	if c.err != nil {
		return wire.Frame{}
	}
	f, err := conn.ReadFrame()
	if err == nil && f.Type != want {
		err = fmt.Errorf("got %v", f)
	}
	if err != nil {
		c.err = fmt.Errorf("waiting for frame %#02x: %w", byte(want), err)
	}
	return f
}

func (c *recorder) keep(file, what string, f wire.Frame) {
	if c.err == nil {
		c.add(file, what, wire.Encode(f.Type, f.Body))
	}
}

func (c *recorder) start(conn *wire.Conn) {
	c.send(conn, wire.Request("derp.example", "DERP"))
	if c.err != nil {
		return
	}
	head, err := conn.ReadHead()
	if err != nil {
		c.err = err
		return
	}
	c.add("response-101.txt", "", []byte(head))
	c.keep("serverkey.hex", "ServerKey: magic, public key of the server", c.frame(conn, derp.FrameServerKey))
	server := Private(ServerPrivate).Public()
	c.send(conn, wire.ClientInfo(Private(ClientPrivate), server, wire.DefaultInfo))
	c.keep("serverinfo.hex", "ServerInfo: nonce (random), box of {\"version\":2} from server to client",
		c.frame(conn, derp.FrameServerInfo))
	if c.err == nil {
		c.out[len(c.out)-1].Varies = true
	}
}

func (c *recorder) packets(conn *wire.Conn) {
	ping := wire.Encode(derp.FramePing, []byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10})
	c.send(conn, ping)
	c.add("ping.hex", "Ping with 10 bytes of payload (sent)", ping)
	c.keep("pong.hex", "Pong: the first 8 bytes of that Ping", c.frame(conn, derp.FramePong))

	self := Private(ClientPrivate).Public()
	packet := wire.SendPacket(self, []byte("a packet to myself"))
	c.send(conn, packet)
	c.add("sendpacket.hex", "SendPacket from the client to its own key (sent)", packet)
	c.keep("recvpacket.hex", "RecvPacket: that packet", c.frame(conn, derp.FrameRecvPacket))

	c.send(conn, wire.SendPacket(self, nil))
	c.keep("recvpacket-empty.hex", "RecvPacket with an empty payload", c.frame(conn, derp.FrameRecvPacket))
}

func (c *recorder) peerGone(conn *wire.Conn) {
	packet := wire.SendPacket(Nobody, append([]byte(disco.Magic), make([]byte, 56)...))
	c.send(conn, packet)
	c.add("sendpacket-disco.hex", "SendPacket of the shortest disco-looking payload to a key nobody has (sent)", packet)
	c.keep("peergone-nothere.hex", "PeerGone(NotHere): the answer", c.frame(conn, derp.FramePeerGone))

	peer := c.dial()
	if c.err != nil {
		return
	}
	defer peer.Close()
	c.send(peer, wire.Request("derp.example", "DERP", wire.FastStart))
	c.frame(peer, derp.FrameServerKey)
	c.send(peer, wire.ClientInfo(Private(PeerPrivate), Private(ServerPrivate).Public(), wire.DefaultInfo))
	c.frame(peer, derp.FrameServerInfo)
	c.send(peer, wire.SendPacket(Private(ClientPrivate).Public(), []byte("remember me")))
	c.frame(conn, derp.FrameRecvPacket)
	peer.Close()
	c.keep("peergone-disconnected.hex", "PeerGone(Disconnected): the peer that had sent us a packet left",
		c.frame(conn, derp.FramePeerGone))
}

var dateLine = regexp.MustCompile(`Date: [^\r]*\r\n`)

func (c *recorder) noUpgrade() {
	conn := c.dial()
	if c.err != nil {
		return
	}
	defer conn.Close()
	c.send(conn, wire.Request("derp.example", ""))
	head, err := conn.ReadHead()
	if err != nil {
		c.err = err
		return
	}
	c.add("response-426.txt", "", dateLine.ReplaceAll([]byte(head), nil))
	c.out[len(c.out)-1].Varies = true // order and choice of headers are the server's
}

// VarzNames picks the metric names of one prefix from a page, sorted, one
// name{labels} per line.
func VarzNames(page, prefix string) []byte {
	var names []string
	for line := range strings.Lines(page) {
		if at := strings.LastIndexByte(line, ' '); at > 0 && strings.HasPrefix(line, prefix) {
			names = append(names, line[:at])
		}
	}
	return joinSorted(names)
}

// VarzTypes picks the "# TYPE name type" lines of one prefix, sorted.
func VarzTypes(page, prefix string) []byte {
	var types []string
	for line := range strings.Lines(page) {
		if rest, ok := strings.CutPrefix(line, "# TYPE "); ok && strings.HasPrefix(rest, prefix) {
			types = append(types, strings.TrimSpace(rest))
		}
	}
	return joinSorted(types)
}

func joinSorted(lines []string) []byte {
	sort.Strings(lines)
	return []byte(strings.Join(lines, "\n") + "\n")
}

// EncodeHex renders a .hex file: comment lines, then 32 bytes a line, the
// frame header on a line of its own.
func EncodeHex(what string, b []byte) []byte {
	var out strings.Builder
	fmt.Fprintf(&out, "# %s\n", what)
	head := min(wire.HeaderLen, len(b))
	fmt.Fprintf(&out, "%x\n", b[:head])
	for rest := b[head:]; len(rest) > 0; {
		n := min(32, len(rest))
		fmt.Fprintf(&out, "%x\n", rest[:n])
		rest = rest[n:]
	}
	return []byte(out.String())
}

// Load reads a golden file back to the bytes it stands for.
func Load(path string) ([]byte, error) {
	text, err := os.ReadFile(path)
	if err != nil || filepath.Ext(path) != ".hex" {
		return text, err
	}
	var digits strings.Builder
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "#") {
			digits.WriteString(strings.TrimSpace(line))
		}
	}
	return hex.DecodeString(digits.String())
}
