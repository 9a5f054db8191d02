package interop

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"ringrelay.test/interop/internal/relay"

	"tailscale.com/net/stun"
)

var (
	udpRelayLine = regexp.MustCompile(`UDP relay on \S+:(\d+)\s`)
	toldLine     = regexp.MustCompile(`clients are told (.*)`)
)

// aSTUNServer answers on the loopback what `see` says to the source of a
// request, or nothing when that is not valid. With `forge` another socket
// answers first, with an address of its own.
type aSTUNServer struct {
	addr  string
	mu    sync.Mutex
	asked []netip.AddrPort
}

func newSTUNServer(t *testing.T, see func(from netip.AddrPort) netip.AddrPort, forge bool) *aSTUNServer {
	t.Helper()
	return newSTUNServerAt(t, "127.0.0.1", see, forge)
}

func newSTUNServerAt(t *testing.T, host string, see func(from netip.AddrPort) netip.AddrPort,
	forge bool) *aSTUNServer {
	t.Helper()
	listen := func() *net.UDPConn {
		c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(host)})
		if err != nil {
			t.Skipf("no UDP on %s: %v", host, err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	c, forger := listen(), listen()
	s := &aSTUNServer{addr: c.LocalAddr().String()}
	go func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := c.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			tx, err := stun.ParseBindingRequest(buf[:n])
			if err != nil {
				t.Errorf("%s got a request that Tailscale's servers do not answer: %v", s.addr, err)
				return
			}
			s.mu.Lock()
			s.asked = append(s.asked, from)
			s.mu.Unlock()
			wrong := netip.MustParseAddrPort("203.0.113.66:6666")
			if forge {
				forger.WriteToUDPAddrPort(stun.Response(tx, wrong), from) // the right transaction, from elsewhere
				tx[11] ^= 1
				c.WriteToUDPAddrPort(stun.Response(tx, wrong), from)
				c.WriteToUDPAddrPort(stun.Response(stun.NewTxID(), wrong), from)
				tx[11] ^= 1
			}
			if seen := see(from); seen.IsValid() {
				c.WriteToUDPAddrPort(stun.Response(tx, seen), from)
			}
		}
	}()
	return s
}

func (s *aSTUNServer) askers() []netip.AddrPort {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]netip.AddrPort(nil), s.asked...)
}

func sees(text string) func(netip.AddrPort) netip.AddrPort {
	return func(netip.AddrPort) netip.AddrPort { return netip.MustParseAddrPort(text) }
}

func silent(netip.AddrPort) netip.AddrPort { return netip.AddrPort{} }

// relayAsking starts a relay on host with these STUN servers and returns it
// with the port of its UDP relay.
func relayAsking(t *testing.T, host string, args []string, servers ...*aSTUNServer) (*relay.Server, int) {
	t.Helper()
	if program.Kind == relay.Derper {
		t.Skip("derper has no UDP relay")
	}
	var list []string
	for _, s := range servers {
		list = append(list, s.addr)
	}
	args = append([]string{"-stun=false", "-relay-port", "0", "-relay-workers", "3", "-relay-stun-servers",
		strings.Join(list, ",")}, args...)
	s := privateServer(t, relay.Options{Host: host, Args: args})
	m := udpRelayLine.FindStringSubmatch(s.Log())
	if m == nil {
		t.Fatalf("the log does not say where the UDP relay is:\n%s", s.Log())
	}
	port, _ := strconv.Atoi(m[1])
	return s, port
}

// told waits until clients are told exactly these.
func told(t *testing.T, s *relay.Server, wanted ...string) {
	t.Helper()
	eventually(t, func() string {
		all := toldLine.FindAllStringSubmatch(s.Log(), -1)
		if len(all) == 0 {
			return "clients are told nothing"
		}
		last := all[len(all)-1][1]
		if last != strings.Join(wanted, ", ") {
			return fmt.Sprintf("clients are told %s instead of %v", last, wanted)
		}
		return ""
	})
}

// What a server sees is told in front of the relay's own address, and the
// question comes from the relay's own port.
func TestReachByWhatSTUNServersSee(t *testing.T) {
	server := newSTUNServer(t, sees("203.0.113.1:1001"), false)
	s, port := relayAsking(t, "127.0.0.1", []string{"-relay-static-endpoints", "198.51.100.1:7,198.51.100.2:0"}, server)
	told(t, s, "198.51.100.1:7", fmt.Sprintf("198.51.100.2:%d", port), "203.0.113.1:1001",
		fmt.Sprintf("127.0.0.1:%d", port))
	for _, from := range server.askers() {
		if int(from.Port()) != port {
			t.Errorf("asked from port %d, the relay's is %d", from.Port(), port)
		}
	}
}

func TestReachByIPv6(t *testing.T) {
	server := newSTUNServerAt(t, "::1", sees("[2001:db8::7]:1001"), false)
	s, port := relayAsking(t, "::1", nil, server)
	told(t, s, "[2001:db8::7]:1001", fmt.Sprintf("[::1]:%d", port))
}

// A NAT that maps by destination: the first server's view, and the public
// address with the relay's own port.
func TestReachBehindNATThatVaries(t *testing.T) {
	one := newSTUNServer(t, sees("203.0.113.1:1001"), false)
	two := newSTUNServer(t, sees("203.0.113.1:1002"), false)
	s, port := relayAsking(t, "127.0.0.1", nil, one, two)
	told(t, s, "203.0.113.1:1001", fmt.Sprintf("203.0.113.1:%d", port), fmt.Sprintf("127.0.0.1:%d", port))
}

// Somebody else's answers, and answers to other questions, change nothing; a
// silent server keeps nobody waiting and is asked three times.
func TestReachIgnoresForgedAnswers(t *testing.T) {
	honest := newSTUNServer(t, sees("203.0.113.1:1001"), true)
	mute := newSTUNServer(t, silent, true)
	s, port := relayAsking(t, "127.0.0.1", nil, mute, honest)
	told(t, s, "203.0.113.1:1001", fmt.Sprintf("127.0.0.1:%d", port))
	eventually(t, func() string {
		if n := len(mute.askers()); n < 3 {
			return fmt.Sprintf("the silent server was asked %d times", n)
		}
		return ""
	})
	if strings.Contains(s.Log(), "203.0.113.66") {
		t.Errorf("a forged answer was believed")
	}
}

// An address is kept while its server is silent.
func TestReachKeepsWhatASilentServerSaid(t *testing.T) {
	var mu sync.Mutex
	answers := 0
	server := newSTUNServer(t, func(netip.AddrPort) netip.AddrPort {
		mu.Lock()
		defer mu.Unlock()
		if answers++; answers > 1 {
			return netip.AddrPort{}
		}
		return netip.MustParseAddrPort("203.0.113.1:1001")
	}, false)
	s, port := relayAsking(t, "127.0.0.1", nil, server)
	wanted := []string{"203.0.113.1:1001", fmt.Sprintf("127.0.0.1:%d", port)}
	told(t, s, wanted...)
	eventually(t, func() string {
		if !strings.Contains(s.Log(), "no STUN server answers; what they said before is kept") {
			return "the second round is not over"
		}
		return ""
	})
	told(t, s, wanted...)
}

// What a flag cannot mean ends the start with a sentence.
func TestReachFlagsThatAreWrong(t *testing.T) {
	if program.Kind == relay.Derper {
		t.Skip("derper has no UDP relay")
	}
	for _, args := range [][]string{
		{"-relay-static-endpoints", "192.0.2.1"},
		{"-relay-static-endpoints", "0.0.0.0:1"},
		{"-relay-stun-servers", "stun.example.com"},
		{"-relay-port", "0", "-relay-no-discovery"},
	} {
		_, err := relay.Start(program, relay.Options{KeyFile: t.TempDir() + "/key", Args: args})
		if err == nil || !strings.Contains(err.Error(), args[len(args)-2][1:]) && !strings.Contains(err.Error(), "-relay-static") {
			t.Errorf("%v: %v", args, err)
		}
	}
}
