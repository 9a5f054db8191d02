package interop

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"

	"ringrelay.test/interop/internal/relay"

	"tailscale.com/net/stun"
)

var (
	ringrelaySTUN = regexp.MustCompile(`STUN on \S+:(\d+)\s`)
	derperSTUN    = regexp.MustCompile(`STUN server listening on \S+:(\d+)\s`)
)

// stunServer starts an instance with STUN on host ("::" means all addresses)
// and returns it with the port.
func stunServer(t *testing.T, host string) (*relay.Server, int) {
	t.Helper()
	return withSTUN(t, relay.Options{Host: host})
}

func withSTUN(t *testing.T, o relay.Options) (*relay.Server, int) {
	t.Helper()
	line, port := ringrelaySTUN, "0"
	if program.Kind == relay.Derper {
		line, port = derperSTUN, freeUDPPort(t)
	}
	o.Args = append(o.Args, "-stun=true", "-stun-port", port)
	s := privateServer(t, o)
	m := line.FindStringSubmatch(s.Log())
	if m == nil {
		t.Fatalf("the log does not say where STUN is:\n%s", s.Log())
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		t.Fatal(err)
	}
	return s, n
}

func freeUDPPort(t *testing.T) string {
	t.Helper()
	c, err := net.ListenUDP("udp", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return strconv.Itoa(c.LocalAddr().(*net.UDPAddr).Port)
}

// stunClient is a connected socket: it hears only what comes from the very
// address and port it asks.
type stunClient struct {
	*net.UDPConn
	own netip.AddrPort
}

func dialSTUN(t *testing.T, ip string, port int) *stunClient {
	t.Helper()
	c, err := net.Dial("udp", net.JoinHostPort(ip, strconv.Itoa(port)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	own := c.LocalAddr().(*net.UDPAddr).AddrPort()
	return &stunClient{c.(*net.UDPConn), netip.AddrPortFrom(own.Addr().Unmap(), own.Port())}
}

func (c *stunClient) ask(t *testing.T, request []byte) {
	t.Helper()
	if _, err := c.Write(request); err != nil {
		t.Fatal(err)
	}
}

// next is the next answer's transaction; it must name this client.
func (c *stunClient) next(within time.Duration) (tx stun.TxID, err error) {
	var buf [2048]byte
	c.SetReadDeadline(time.Now().Add(within))
	n, err := c.Read(buf[:])
	if err != nil {
		return tx, err
	}
	tx, seen, err := stun.ParseResponse(buf[:n])
	if err != nil {
		return tx, fmt.Errorf("answer %x: %v", buf[:n], err)
	}
	if seen != c.own {
		return tx, fmt.Errorf("told %v instead of %v", seen, c.own)
	}
	if want := map[bool]int{true: 32, false: 44}[c.own.Addr().Is4()]; n != want {
		return tx, fmt.Errorf("an answer of %d bytes instead of %d: %x", n, want, buf[:n])
	}
	return tx, nil
}

func (c *stunClient) mustAnswer(t *testing.T) {
	t.Helper()
	tx := stun.NewTxID()
	c.ask(t, stun.Request(tx))
	got, err := c.next(wait)
	if err != nil {
		t.Fatal(err)
	}
	if got != tx {
		t.Fatalf("transaction %x instead of %x", got, tx)
	}
}

func stunCounters(success, notSTUN, ipv4, ipv6 int) map[string]float64 {
	return map[string]float64{
		`stun_requests{disposition="success"}`:     float64(success),
		`stun_requests{disposition="not_stun"}`:    float64(notSTUN),
		`stun_requests{disposition="write_error"}`: 0,
		`stun_requests{disposition="read_error"}`:  0,
		`stun_addrfamily{family="ipv4"}`:           float64(ipv4),
		`stun_addrfamily{family="ipv6"}`:           float64(ipv6),
		`stun_no_local_addr`:                       0,
	}
}

// On all addresses: both families, and each answer from the address that was
// asked, which a connected socket checks.
func TestSTUNOnAllAddresses(t *testing.T) {
	t.Parallel()
	s, port := stunServer(t, "::")
	for _, ip := range []string{"127.0.0.1", "127.0.0.2", "::1", "127.1.2.3"} {
		c := dialSTUN(t, ip, port)
		for range 3 {
			c.mustAnswer(t)
		}
	}
	awaitVarz(t, s, stunCounters(12, 0, 9, 3))
	text, err := s.VarzText()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"stun_requests", "stun_addrfamily", "stun_no_local_addr"} {
		if want := "# TYPE " + name + " counter\n" + name; !bytes.Contains([]byte(text), []byte(want)) {
			t.Errorf("%q is missing", want)
		}
	}
}

func TestSTUNOnOneAddress(t *testing.T) {
	t.Parallel()
	for i, host := range []string{"127.0.0.1", "127.0.0.3", "::1"} {
		s, port := stunServer(t, host)
		c := dialSTUN(t, host, port)
		c.mustAnswer(t)
		awaitVarz(t, s, stunCounters(1, 0, map[bool]int{true: 1}[i < 2], map[bool]int{true: 1}[i == 2]))
	}
}

// requestOf is a request with these attributes and a right fingerprint.
func requestOf(tx stun.TxID, attributes ...[]byte) []byte {
	b := append([]byte{0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42}, tx[:]...)
	for _, a := range attributes {
		b = append(b, a...)
	}
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)-20+8))
	crc := crc32.ChecksumIEEE(b) ^ 0x5354554e
	return binary.BigEndian.AppendUint32(append(b, 0x80, 0x28, 0, 4), crc)
}

func attribute(number uint16, value string) []byte {
	b := binary.BigEndian.AppendUint16(nil, number)
	b = binary.BigEndian.AppendUint16(b, uint16(len(value)))
	b = append(b, value...)
	return append(b, make([]byte, -len(value)&3)...)
}

var tailnode = attribute(0x8022, "tailnode")

// What is no request of Tailscale's is met with silence, by both programs
// alike; each good request behind it is answered.
func TestSTUNSilence(t *testing.T) {
	t.Parallel()
	s, port := stunServer(t, "127.0.0.1")
	c := dialSTUN(t, "127.0.0.1", port)
	tx := stun.NewTxID()
	good := stun.Request(tx)
	changed := func(at int) []byte {
		b := bytes.Clone(good)
		b[at] ^= 1
		return b
	}
	silent := [][]byte{
		{}, {0}, good[:19], good[:20], good[:39], append(bytes.Clone(good), 0), append(bytes.Clone(good), good...),
		make([]byte, 40), bytes.Repeat([]byte{0xff}, 600),
		requestOf(tx), requestOf(tx, attribute(0x8022, "other")), requestOf(tx, attribute(0x8022, "tailnode2")),
		append(requestOf(tx, tailnode), attribute(1, "behind the fingerprint")...),
		stun.Response(tx, netip.MustParseAddrPort("192.0.2.1:1")),
		[]byte("GET / HTTP/1.1\r\n\r\n"),
	}
	for at := range good {
		silent = append(silent, changed(at))
	}
	for i, b := range silent {
		c.ask(t, b)
		c.ask(t, good)
		got, err := c.next(wait) // a wrong answer would be the first
		if err != nil {
			t.Fatalf("behind datagram %d, %x: %v", i, b, err)
		}
		if got != tx {
			t.Fatalf("datagram %d, %x, was answered", i, b)
		}
	}
	awaitVarz(t, s, stunCounters(len(silent), len(silent), len(silent), 0))
}

// Unusual requests that both programs answer.
func TestSTUNUnusualRequests(t *testing.T) {
	t.Parallel()
	s, port := stunServer(t, "127.0.0.1")
	c := dialSTUN(t, "127.0.0.1", port)
	tx := stun.NewTxID()
	wrongLength := requestOf(tx, tailnode)
	long := string(make([]byte, 1400))
	requests := [][]byte{
		requestOf(tx, tailnode),
		requestOf(tx, attribute(6, "odd"), tailnode, attribute(0x7777, "")),
		requestOf(tx, tailnode, attribute(0x8022, "another")),
		requestOf(tx, attribute(0x8028, "1234"), tailnode),
		requestOf(tx, tailnode, attribute(0x1234, long)),
	}
	binary.BigEndian.PutUint16(wrongLength[2:], 0xbeef)
	binary.BigEndian.PutUint32(wrongLength[len(wrongLength)-4:],
		crc32.ChecksumIEEE(wrongLength[:len(wrongLength)-8])^0x5354554e)
	for i, b := range append(requests, wrongLength) {
		c.ask(t, b)
		if got, err := c.next(wait); err != nil || got != tx {
			t.Fatalf("request %d, %x: %x, %v", i, b, got, err)
		}
	}
	awaitVarz(t, s, stunCounters(len(requests)+1, 0, len(requests)+1, 0))
}

// 10,000 requests, a hundred under way at any time: each is answered once.
func TestSTUNPipelined(t *testing.T) {
	t.Parallel()
	const total, window = 10000, 100
	for _, ip := range []string{"127.0.0.2", "::1"} {
		s, port := stunServer(t, "::")
		c := dialSTUN(t, ip, port)
		open := make(map[stun.TxID]bool, window)
		for sent, answered := 0, 0; answered < total; {
			for sent < total && len(open) < window {
				tx := stun.NewTxID()
				open[tx] = true
				c.ask(t, stun.Request(tx))
				sent++
			}
			tx, err := c.next(wait)
			if err != nil {
				t.Fatalf("after %d answers: %v", answered, err)
			}
			if !open[tx] {
				t.Fatalf("transaction %x was not asked for", tx)
			}
			delete(open, tx)
			answered++
		}
		is4 := map[bool]int{true: total}[ip != "::1"]
		awaitVarz(t, s, stunCounters(total, 0, is4, total-is4))
	}
}

// While strangers flood the port, packets are relayed, and afterwards STUN is
// answered as before.
func TestSTUNFlood(t *testing.T) {
	t.Parallel()
	s, port := stunServer(t, "127.0.0.1")
	stop := make(chan struct{})
	var floods sync.WaitGroup
	for i := range 3 {
		c := dialSTUN(t, "127.0.0.1", port) // never read: its answers fill its buffer
		datagram := [][]byte{stun.Request(stun.NewTxID()), make([]byte, 1200), {1}}[i]
		floods.Add(1)
		go func() {
			defer floods.Done()
			for {
				select {
				case <-stop:
					return
				default:
					c.Write(datagram)
				}
			}
		}()
	}
	a, b := connect(t, s), connect(t, s)
	start := time.Now()
	for i := range 2000 {
		data := binary.BigEndian.AppendUint32(nil, uint32(i))
		a.mustSend(t, b.pub, data)
		b.mustReceive(t, a.pub, data)
	}
	took := time.Since(start)
	close(stop)
	floods.Wait()
	v := varz(t, s)
	t.Logf("2000 packets one by one: %v; %.0f requests answered, %.0f others", took,
		v[`stun_requests{disposition="success"}`], v[`stun_requests{disposition="not_stun"}`])
	if v[`stun_requests{disposition="not_stun"}`] < 1000 {
		t.Error("that was no flood")
	}
	eventually(t, func() string { // what was in the buffer when the flood ended comes first
		c := dialSTUN(t, "127.0.0.1", port)
		c.ask(t, stun.Request(stun.NewTxID()))
		if _, err := c.next(time.Second); err != nil {
			return err.Error()
		}
		return ""
	})
}
