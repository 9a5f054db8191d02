package interop

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"ringrelay.test/interop/internal/pki"
	"ringrelay.test/interop/internal/relay"
	"tailscale.com/derp"
	"tailscale.com/disco"
	"tailscale.com/types/key"
)

// The address that the relay tells its clients; nobody is there.
const toldAddress = "192.0.2.9:41641"

// A nodeServer is a server whose UDP relay has a node that can be asked over DERP.
type nodeServer struct {
	*relay.Server
	node      key.NodePublic
	disco     key.DiscoPublic
	allowFile string
}

var nodeKeysSaid = regexp.MustCompile(`node (nodekey:[0-9a-f]{64}) disco (discokey:[0-9a-f]{64})`)

func writeAllowFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func startNodeServer(t *testing.T, o relay.Options, allowed ...*asker) *nodeServer {
	t.Helper()
	if program.Kind == relay.Derper {
		t.Skip("derper has no UDP relay")
	}
	lines := "# who may ask\n\n"
	for i, a := range allowed {
		lines += fmt.Sprintf("%s  asker %d\n", a.node.Public(), i)
	}
	n := &nodeServer{allowFile: filepath.Join(t.TempDir(), "allow")}
	writeAllowFile(t, n.allowFile, lines)
	o.Args = append([]string{"-relay-port", "0", "-relay-no-discovery", "-relay-static-endpoints", toldAddress,
		"-relay-allow-file", n.allowFile}, o.Args...)
	n.Server = privateServer(t, o)
	m := nodeKeysSaid.FindStringSubmatch(n.Log())
	if m == nil {
		t.Fatalf("the log does not have the node's keys:\n%s", n.Log())
	}
	if err := n.node.UnmarshalText([]byte(m[1])); err != nil {
		t.Fatal(err)
	}
	if err := n.disco.UnmarshalText([]byte(m[2])); err != nil {
		t.Fatal(err)
	}
	n.awaitNode(t)
	return n
}

func (n *nodeServer) awaitNode(t *testing.T) {
	t.Helper()
	n.awaitFigure(t, "ringrelay_udp_node_connected", 1)
}

func (n *nodeServer) awaitFigure(t *testing.T, name string, want float64) {
	t.Helper()
	eventually(t, func() string {
		v, ok := varz(t, n.Server)[name]
		if !ok {
			return "there is no " + name
		}
		if v != want {
			return fmt.Sprintf("%s is %v, not %v", name, v, want)
		}
		return ""
	})
}

func (n *nodeServer) awaitRefusals(t *testing.T, reason string, want float64) {
	t.Helper()
	n.awaitFigure(t, fmt.Sprintf("ringrelay_udp_refusals{reason=%q}", reason), want)
}

// An asker has a peer that it wants a relay for.
type asker struct {
	*client
	node       key.NodePrivate
	disco      key.DiscoPrivate
	peer       key.DiscoPublic
	generation uint32
}

func newAsker() *asker {
	return &asker{node: key.NewNode(), disco: key.NewDisco(), peer: key.NewDisco().Public()}
}

func (a *asker) connect(t *testing.T, s *relay.Server) {
	t.Helper()
	a.client = attach(t, newClient(t, s, a.node), a.node)
}

func (a *asker) pair() [2]key.DiscoPublic {
	return key.NewSortedPairOfDiscoPublic(a.disco.Public(), a.peer).Get()
}

// request is the plaintext that Tailscale's package writes.
func (a *asker) request() []byte {
	a.generation++
	m := disco.AllocateUDPRelayEndpointRequest{ClientDisco: a.pair(), Generation: a.generation}
	return m.AppendMarshal(nil)
}

func (a *asker) seal(to key.DiscoPublic, plain []byte) []byte {
	packet := append([]byte(disco.Magic), a.disco.Public().AppendTo(nil)...)
	return append(packet, a.disco.Shared(to).Seal(plain)...)
}

func (a *asker) ask(t *testing.T, n *nodeServer) {
	t.Helper()
	a.mustSend(t, n.node, a.seal(n.disco, a.request()))
}

// answer is the next message, which has to be the answer to the last request.
func (a *asker) answer(t *testing.T, n *nodeServer) *disco.AllocateUDPRelayEndpointResponse {
	t.Helper()
	m := a.next(t, "an answer of the node")
	p, ok := m.(derp.ReceivedPacket)
	if !ok || p.Source != n.node {
		t.Fatalf("got %#v, want a packet of the node", m)
	}
	sender, ok := bytes.CutPrefix(p.Data, []byte(disco.Magic))
	if !ok || !bytes.HasPrefix(sender, n.disco.AppendTo(nil)) {
		t.Fatalf("%x is not from the node's disco key", p.Data)
	}
	plain, ok := a.disco.Shared(n.disco).Open(sender[key.DiscoPublicRawLen:])
	if !ok {
		t.Fatal("the answer does not open")
	}
	parsed, err := disco.Parse(plain)
	if err != nil {
		t.Fatal(err)
	}
	r, ok := parsed.(*disco.AllocateUDPRelayEndpointResponse)
	if !ok {
		t.Fatalf("got %#v, want an AllocateUDPRelayEndpointResponse", parsed)
	}
	if r.Generation != a.generation {
		t.Errorf("generation %d, want %d", r.Generation, a.generation)
	}
	return r
}

// granted asks and checks all that is in the answer.
func (a *asker) granted(t *testing.T, n *nodeServer) disco.UDPRelayEndpoint {
	t.Helper()
	a.ask(t, n)
	e := a.answer(t, n).UDPRelayEndpoint
	if e.ClientDisco != a.pair() {
		t.Errorf("clients %v, want %v", e.ClientDisco, a.pair())
	}
	if e.ServerDisco.IsZero() || e.ServerDisco == n.disco {
		t.Errorf("the server's key is %v, the node's %v", e.ServerDisco, n.disco)
	}
	if e.VNI == 0 || e.VNI >= 1<<24 || e.LamportID == 0 {
		t.Errorf("VNI %d, lamport %d", e.VNI, e.LamportID)
	}
	if e.BindLifetime != 30*time.Second || e.SteadyStateLifetime != 5*time.Minute {
		t.Errorf("lifetimes %v and %v", e.BindLifetime, e.SteadyStateLifetime)
	}
	if len(e.AddrPorts) != 1 || e.AddrPorts[0] != netip.MustParseAddrPort(toldAddress) {
		t.Errorf("addresses %v", e.AddrPorts)
	}
	return e
}

// refused sends what must not be answered, and waits until it was counted.
func (a *asker) refused(t *testing.T, n *nodeServer, packet []byte, reason string, count float64) {
	t.Helper()
	a.mustSend(t, n.node, packet)
	n.awaitRefusals(t, reason, count)
	a.mustQuiet(t)
}

func TestNodeAllocates(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]relay.Options{
		"plain":       {},
		"TLS":         {TLS: withCA(t, pki.ECDSA, tlsName)},
		"two workers": {Args: []string{"-workers", "2", "-placement", "spread"}},
		// What is for the public's connections must not keep the daemon's own one out.
		"limits": {TLS: withCA(t, pki.ECDSA, tlsName), Args: []string{"-accept-connection-limit", "20",
			"-accept-connection-burst", "20", "-disallow-app-names", "ringrelay-node"}},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := newAsker(), newAsker()
			b.disco, b.peer = key.NewDisco(), a.disco.Public()
			a.peer = b.disco.Public()
			n := startNodeServer(t, o, a, b)
			a.connect(t, n.Server)
			b.connect(t, n.Server)
			first := a.granted(t, n)
			for range 2 {
				if again := a.granted(t, n); again.VNI != first.VNI || again.LamportID != first.LamportID {
					t.Errorf("got %v and then %v", first, again)
				}
			}
			if other := b.granted(t, n); other.VNI != first.VNI {
				t.Errorf("the other one of the pair got VNI %d, not %d", other.VNI, first.VNI)
			}
			a.peer = key.NewDisco().Public()
			if next := a.granted(t, n); next.VNI == first.VNI || next.LamportID <= first.LamportID {
				t.Errorf("another pair got %v after %v", next, first)
			}
			v := varz(t, n.Server)
			if v[`tailscaled_peer_relay_endpoints{state="connecting"}`] != 2 ||
				v[`ringrelay_udp_allocations{endpoint="new"}`] != 2 ||
				v[`ringrelay_udp_allocations{endpoint="existing"}`] != 3 {
				t.Errorf("figures: %v", v)
			}
		})
	}
}

// The node is a client as any other: it is counted, and it can be talked to.
func TestNodeIsAClient(t *testing.T) {
	t.Parallel()
	a := newAsker()
	n := startNodeServer(t, relay.Options{}, a)
	v := varz(t, n.Server)
	for name, want := range map[string]float64{"derp_current_connections": 1, "derp_clients_local": 1, "derp_accepts": 1,
		"derp_current_home_connections": 0, "derp_packets_sent": 0} {
		if got, ok := v[name]; !ok || got != want {
			t.Errorf("%s is %v before anybody came, want %v", name, got, want)
		}
	}
	a.connect(t, n.Server)
	a.granted(t, n)
	// Whatever peers say to a peer: it is listened to and left alone.
	ping := disco.Ping{TxID: [12]byte{1}, NodeKey: a.pub}
	sent := [][]byte{{}, []byte("hello"), bytes.Repeat([]byte{4}, 65536), a.seal(n.disco, ping.AppendMarshal(nil)),
		a.seal(n.disco, (&disco.CallMeMaybe{MyNumber: make([]netip.AddrPort, 8)}).AppendMarshal(nil))}
	for _, packet := range sent {
		a.mustSend(t, n.node, packet)
	}
	// The greatest one is not read in one piece, and thrown away before that.
	n.awaitFigure(t, "ringrelay_udp_node_ignored", float64(len(sent)-1))
	a.mustQuiet(t)
	a.granted(t, n)
	for name, got := range varz(t, n.Server) {
		if strings.HasPrefix(name, "ringrelay_udp_refusals{") && got != 0 {
			t.Errorf("%s is %v", name, got)
		}
	}
}

func TestNodeRefuses(t *testing.T) {
	t.Parallel()
	a, stranger := newAsker(), newAsker()
	n := startNodeServer(t, relay.Options{}, a)
	a.connect(t, n.Server)
	stranger.connect(t, n.Server)
	stranger.refused(t, n, stranger.seal(n.disco, stranger.request()), "not_allowed", 1)
	// A stranger does not get further by naming keys of somebody who may.
	copied := *stranger
	copied.disco, copied.peer = a.disco, a.peer
	copied.refused(t, n, copied.seal(n.disco, copied.request()), "not_allowed", 2)

	newer := a.request()
	newer[1] = 1
	a.refused(t, n, a.seal(n.disco, newer), "bad_request", 1)
	a.refused(t, n, a.seal(key.NewDisco().Public(), a.request()), "bad_request", 2)
	damaged := a.seal(n.disco, a.request())
	damaged[len(damaged)-1] ^= 1
	a.refused(t, n, damaged, "bad_request", 3)
	zero := a.seal(n.disco, a.request())
	copy(zero[len(disco.Magic):], make([]byte, 32)) // a sender whom nobody shares a key with
	a.refused(t, n, zero, "bad_request", 4)

	others := disco.AllocateUDPRelayEndpointRequest{ClientDisco: stranger.pair(), Generation: 1}
	a.refused(t, n, a.seal(n.disco, others.AppendMarshal(nil)), "not_a_client", 1)
	same := disco.AllocateUDPRelayEndpointRequest{Generation: 1,
		ClientDisco: [2]key.DiscoPublic{a.disco.Public(), a.disco.Public()}}
	a.refused(t, n, a.seal(n.disco, same.AppendMarshal(nil)), "equal_keys", 1)
	if !strings.Contains(n.Log(), "refused a request of "+a.pub.ShortString()) {
		t.Errorf("nothing is said of a refusal to one who is allowed:\n%s", n.Log())
	}
	if strings.Contains(n.Log(), stranger.pub.ShortString()) {
		t.Errorf("a stranger can write into the log:\n%s", n.Log())
	}
	a.granted(t, n) // none of it has hurt
}

// Nobody is allowed without a file, and there is no node without DERP or without the relay.
func TestNodeFlags(t *testing.T) {
	t.Parallel()
	if program.Kind == relay.Derper {
		t.Skip("derper has no UDP relay")
	}
	closed := privateServer(t, relay.Options{Args: []string{"-relay-port", "0"}})
	if !strings.Contains(closed.Log(), "nobody may ask for endpoints over DERP") {
		t.Errorf("it is not said that nobody may ask:\n%s", closed.Log())
	}
	for name, args := range map[string][]string{"no relay": nil, "no DERP": {"-relay-port", "0", "-derp=false"}} {
		if s := privateServer(t, relay.Options{Args: args}); nodeKeysSaid.MatchString(s.Log()) {
			t.Errorf("%s: there is a node:\n%s", name, s.Log())
		}
	}
	missing := filepath.Join(t.TempDir(), "missing")
	mustNotStart(t, relay.Options{Args: []string{"-relay-port", "0", "-relay-allow-file", missing}}, missing)
	writeAllowFile(t, missing, "# people\n\nnodekey:12\n")
	mustNotStart(t, relay.Options{Args: []string{"-relay-port", "0", "-relay-allow-file", missing}}, "line 3")
	writeAllowFile(t, missing, "{}")
	mustNotStart(t, relay.Options{Args: []string{"-relay-port", "0", "-relay-node-key-file", missing}}, "NodeKey")
	mustNotStart(t, relay.Options{Args: []string{"-relay-port", "0", "-relay-rate", "-1"}}, "-relay-rate")
}

// The control plane has the node's keys: they stay what they were.
func TestNodeKeysAreKept(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	o := relay.Options{KeyFile: filepath.Join(folder, "derper.key")}
	first := startNodeServer(t, o)
	if err := first.Stop(wait); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(folder, "relay-node.key")); err != nil || info.Mode() != 0o600 {
		t.Errorf("the key file: %v, %v", info, err)
	}
	if second := startNodeServer(t, o); second.node != first.node || second.disco != first.disco {
		t.Errorf("%v %v became %v %v", first.node, first.disco, second.node, second.disco)
	}
	other := filepath.Join(folder, "other", "node.key")
	o.Args = []string{"-relay-node-key-file", other}
	if third := startNodeServer(t, o); third.node == first.node || third.disco == first.disco {
		t.Errorf("-relay-node-key-file %s: the same keys", other)
	}
}

// hangUp sends SIGHUP and waits for what is said about it.
func (n *nodeServer) hangUp(t *testing.T, want string) {
	t.Helper()
	said := len(n.Log())
	if err := n.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		if news := n.Log()[said:]; !strings.Contains(news, want) {
			return fmt.Sprintf("after SIGHUP %q is missing in %q", want, news)
		}
		return ""
	})
}

func TestNodeAllowFileIsReadAgain(t *testing.T) {
	t.Parallel()
	a, b := newAsker(), newAsker()
	n := startNodeServer(t, relay.Options{}, a)
	a.connect(t, n.Server)
	b.connect(t, n.Server)
	a.granted(t, n)
	b.refused(t, n, b.seal(n.disco, b.request()), "not_allowed", 1)

	writeAllowFile(t, n.allowFile, b.pub.String()+" b\n"+"nodekey:no\n")
	n.hangUp(t, "line 2")
	a.granted(t, n)
	b.refused(t, n, b.seal(n.disco, b.request()), "not_allowed", 2)

	// The list is on its way to another thread when the line is written.
	writeAllowFile(t, n.allowFile, b.pub.String()+" b\n")
	n.hangUp(t, "1 node keys may ask")
	refused := 2.0
	eventually(t, func() string {
		a.ask(t, n)
		select {
		case <-a.msgs:
			return "the old list is still in force"
		case <-time.After(50 * time.Millisecond):
			refused = varz(t, n.Server)[`ringrelay_udp_refusals{reason="not_allowed"}`]
			if refused < 3 {
				return "no answer, and not refused either"
			}
			return ""
		}
	})
	b.granted(t, n)
}

// One who may ask gets so many answers and no more, whatever else he sends; another one is not kept from asking.
func TestNodeRate(t *testing.T) {
	t.Parallel()
	a, b := newAsker(), newAsker()
	n := startNodeServer(t, relay.Options{Args: []string{"-relay-rate", "0.002", "-relay-requester-max", "1"}}, a, b)
	a.connect(t, n.Server)
	b.connect(t, n.Server)
	a.granted(t, n)
	a.refused(t, n, a.seal(n.disco, a.request()), "rate", 1)
	b.refused(t, n, b.seal(key.NewDisco().Public(), b.request()), "bad_request", 1)
	b.refused(t, n, b.seal(n.disco, b.request()), "rate", 2)

	fast := startNodeServer(t, relay.Options{Args: []string{"-relay-rate", "0", "-relay-requester-max", "2"}}, a)
	a.connect(t, fast.Server)
	for range 2 {
		a.granted(t, fast)
		a.peer = key.NewDisco().Public()
	}
	a.refused(t, fast, a.seal(fast.disco, a.request()), "quota", 1)
}

// pour sends to the node until the test is over, as fast as the server takes it.
func pour(t *testing.T, s *relay.Server, to key.NodePublic, packets [][]byte, stop <-chan struct{}) {
	c := connect(t, s)
	go func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				if c.send(to, packets[i%len(packets)]) != nil {
					return
				}
			}
		}
	}()
}

// Garbage, pings and requests of strangers: others log in and get their answers all the same.
func TestNodeFlooded(t *testing.T) {
	t.Parallel()
	a := newAsker()
	n := startNodeServer(t, relay.Options{Args: []string{"-workers", "2"}}, a)
	garbage := make([]byte, 60000)
	rand.Read(garbage)
	stranger := newAsker()
	request := stranger.seal(n.disco, stranger.request())
	stop := make(chan struct{})
	defer close(stop)
	pour(t, n.Server, n.node, [][]byte{garbage, garbage[:1], garbage[:148]}, stop)
	pour(t, n.Server, n.node, [][]byte{request, garbage[:100]}, stop)
	pour(t, n.Server, n.node, [][]byte{append([]byte(disco.Magic), garbage[:200]...)}, stop)
	eventually(t, func() string {
		if got := varz(t, n.Server)[`ringrelay_udp_refusals{reason="not_allowed"}`]; got < 1000 {
			return fmt.Sprintf("only %v requests of strangers have come", got)
		}
		return ""
	})
	for range 3 {
		a.connect(t, n.Server)
		// Its queue at the worker is shared fairly, but a single packet may be dropped: then one asks again, as
		// clients do.
		eventually(t, func() string {
			a.ask(t, n)
			select {
			case m := <-a.msgs:
				if p, ok := m.(derp.ReceivedPacket); ok && p.Source == n.node {
					return ""
				}
				return fmt.Sprintf("got %#v", m)
			case <-time.After(500 * time.Millisecond):
				return "no answer"
			}
		})
		a.Close()
	}
	n.awaitNode(t)
}

// Numbers of Linux that package syscall does not have.
const (
	sysPidfdOpen  = 434
	sysPidfdGetfd = 438
)

// cutNode ends the node's connection from outside, as a fault would: it is the one to the node's listener. The server itself
// listens on [::1].
func (n *nodeServer) cutNode(t *testing.T) {
	t.Helper()
	pidfd, _, e := syscall.Syscall(sysPidfdOpen, uintptr(n.PID()), 0, 0)
	if e != 0 {
		t.Skipf("pidfd_open: %v", e)
	}
	defer syscall.Close(int(pidfd))
	port := n.nodePort(t)
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", n.PID()))
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		number, _ := strconv.Atoi(entry.Name())
		fd, _, e := syscall.Syscall(sysPidfdGetfd, pidfd, uintptr(number), 0)
		if e == syscall.EPERM {
			t.Skipf("pidfd_getfd: %v", e)
		}
		if e != 0 {
			continue
		}
		peer, err := syscall.Getpeername(int(fd))
		p, isV4 := peer.(*syscall.SockaddrInet4)
		is := err == nil && isV4 && p.Port == port
		if is {
			syscall.Shutdown(int(fd), syscall.SHUT_RDWR)
		}
		syscall.Close(int(fd))
		if is {
			return
		}
	}
	t.Fatal("the node's connection was not found")
}

// Twice, under the filter of system calls that a daemon has.
func TestNodeComesBack(t *testing.T) {
	t.Parallel()
	a := newAsker()
	n := startNodeServer(t, relay.Options{Addr: "[::1]:0"}, a)
	for i := range 2 {
		n.cutNode(t)
		eventually(t, func() string {
			if got := strings.Count(n.Log(), "the node is connected"); got != i+2 {
				return fmt.Sprintf("connected %d times", got)
			}
			return ""
		})
		n.awaitNode(t)
		a.connect(t, n.Server)
		a.granted(t, n)
		ctx, cancel := context.WithTimeout(context.Background(), wait)
		if err := a.Ping(ctx); err != nil {
			t.Errorf("ping: %v", err)
		}
		cancel()
		a.Close()
	}
	if got := strings.Count(n.Log(), "the node's DERP connection is gone"); got != 2 {
		t.Errorf("lost %d times in the log:\n%s", got, n.Log())
	}
}

// intrude connects to the node's listener and asks for a page; nil: it was closed without an answer.
func intrude(port int) error {
	conn, err := dialLoopback(port)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(wait))
	fmt.Fprintf(conn, "GET /debug/ HTTP/1.1\r\nHost: x\r\n\r\n")
	n, err := conn.Read(make([]byte, 100))
	var timeout net.Error
	if n != 0 || errors.As(err, &timeout) && timeout.Timeout() {
		return fmt.Errorf("a stranger got %d bytes and %v, want to be closed", n, err)
	}
	return nil
}

// A stranger on this host finds the listener: he is closed at once, also while the node waits for its own connection,
// and the node does not notice.
func TestNodeListenerIsForNobodyElse(t *testing.T) {
	t.Parallel()
	a := newAsker()
	n := startNodeServer(t, relay.Options{Addr: "[::1]:0"}, a)
	port := n.nodePort(t)
	stop := make(chan struct{})
	ended := make(chan error)
	const intruders = 8
	for range intruders {
		go func() {
			for {
				select {
				case <-stop:
					ended <- nil
					return
				default:
				}
				if err := intrude(port); err != nil {
					ended <- err
					return
				}
			}
		}()
	}
	for i := range 3 {
		n.cutNode(t)
		eventually(t, func() string {
			if got := strings.Count(n.Log(), "the node is connected"); got < i+2 {
				return fmt.Sprintf("connected %d times", got)
			}
			return ""
		})
	}
	close(stop)
	for range intruders {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	n.awaitNode(t)
	a.connect(t, n.Server)
	a.granted(t, n)
}

func dialLoopback(port int) (net.Conn, error) {
	return net.DialTimeout("tcp4", fmt.Sprintf("127.0.0.1:%d", port), wait)
}

// nodePort is the port of the one listener that is on 127.0.0.1 when everything else is on ::1.
func (n *nodeServer) nodePort(t *testing.T) int {
	t.Helper()
	inodes := map[string]bool{}
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", n.PID()))
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		link, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", n.PID(), entry.Name()))
		if rest, ok := strings.CutPrefix(link, "socket:["); ok {
			inodes[strings.TrimSuffix(rest, "]")] = true
		}
	}
	text, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(text), "\n") {
		f := strings.Fields(line)
		if len(f) < 10 || f[3] != "0A" || !inodes[f[9]] {
			continue
		}
		port, err := strconv.ParseInt(f[1][strings.IndexByte(f[1], ':')+1:], 16, 32)
		if err != nil {
			t.Fatal(err)
		}
		return int(port)
	}
	t.Fatal("no listener on IPv4")
	return 0
}
