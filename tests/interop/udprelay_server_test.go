package interop

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"ringrelay.test/interop/internal/relay"
	"tailscale.com/net/udprelay"
	"tailscale.com/net/udprelay/endpoint"
	"tailscale.com/net/udprelay/status"
	"tailscale.com/types/key"
	"tailscale.com/types/views"
	"tailscale.com/util/usermetric"
)

// UDP relays: ringrelayd's, and with RINGRELAY_REFERENCE Tailscale's own, which is a package and runs in this process.
// The tests in udprelay_*_test.go see neither, but a udpRelay.

// relayDifferences is all in which the two may differ.
var relayDifferences = map[string]struct{ ours, theirs, why string }{
	"STUN request": {"answered", "silence",
		"a probe of the port may as well be answered; no client sends one there"},
	"allocate, the same key twice": {"refused", "granted",
		"a packet of such a pair could never be told to be the other's; Go's endpoint cannot be used either"},
	"allocate, key of low order": {"refused", "granted",
		"everybody knows the key shared with it, so everybody could bind"},
	"Bind with more than 96 bytes behind it": {"dropped", "answered",
		"later releases may add to a message, but a stranger's datagram must not cost a box of 64 KiB"},
	"answers to a client": {"from the address it speaks to", "from any",
		"on a host with several addresses the kernel may choose one that a NAT does not let through"},
	"Bind and Answer replayed": {"dropped", "bound",
		"an Answer is taken once, or whoever recorded a handshake could send a leg back to its old address"},
	"allocate, old and not open": {"replaced from 20 s on", "the same until it is collected",
		"Go hands out endpoints that may end at any moment"},
	"no address to tell": {"does not start", "come back in 3 s",
		"who forbids discovery and names no address has made a mistake; while none is found it is 503 here, too"},
	"VNIs of endpoints in a row": {"drawn", "counted up",
		"a VNI that is hard to guess keeps strangers from trying those of others"},
}

// differs is what this relay does where the two are not the same.
func differs(t *testing.T, what string) string {
	t.Helper()
	d, ok := relayDifferences[what]
	if !ok {
		t.Fatalf("%q is not in the table of differences", what)
	}
	if program.Kind == relay.Derper {
		return d.theirs
	}
	return d.ours
}

// mustDiffer requires what the table of differences says of this relay.
func mustDiffer(t *testing.T, what, got string) {
	t.Helper()
	if want := differs(t, what); got != want {
		t.Errorf("%s: %s, want %s", what, got, want)
	}
}

// udpRelay is a relay under test.
type udpRelay struct {
	udpRelayKind
	port uint16
	derp *relay.Server // the same process when it is ours
}

type udpRelayKind interface {
	// allocate asks for an endpoint. A relay without addresses says so with a notReady.
	allocate(a, b key.DiscoPublic) (endpoint.ServerEndpoint, error)
	// sessions lists the endpoints.
	sessions() ([]status.ServerSession, error)
	// metrics are "name{labels}" and values.
	metrics() (map[string]float64, error)
}

// notReady: ask again after that time.
type notReady struct{ after time.Duration }

func (e notReady) Error() string { return fmt.Sprintf("not ready, ask again after %v", e.after) }

// at is the relay's address of the family of host.
func (u *udpRelay) at(host string) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr(host), u.port)
}

// mustAllocate is an endpoint for two clients.
func (u *udpRelay) mustAllocate(t *testing.T, a, b key.DiscoPublic) endpoint.ServerEndpoint {
	t.Helper()
	e, err := u.allocate(a, b)
	if err != nil {
		t.Fatalf("allocate: %v", err)
	}
	return e
}

// startUDPRelay starts a relay that advertises its port at these hosts and nothing else.
func startUDPRelay(t *testing.T, hosts ...string) *udpRelay {
	t.Helper()
	return startUDPRelayWith(t, nil, hosts...)
}

// startUDPRelayWith: with further arguments for ringrelayd.
func startUDPRelayWith(t *testing.T, args []string, hosts ...string) *udpRelay {
	t.Helper()
	return startUDPRelayOn(t, hosts, func(relayArgs ...string) *relay.Server {
		if program.Kind == relay.Derper {
			return nil // not needed
		}
		return privateServer(t, relay.Options{Host: "::", Args: append(relayArgs, args...)})
	})
}

// startUDPRelayOn: the DERP server is started by start.
func startUDPRelayOn(t *testing.T, hosts []string, start func(args ...string) *relay.Server) *udpRelay {
	t.Helper()
	u := &udpRelay{port: relayPort(t)}
	var static []netip.AddrPort
	for _, host := range hosts {
		static = append(static, u.at(host))
	}
	if program.Kind == relay.Derper {
		u.udpRelayKind = startReferenceRelay(t, u.port, static)
		u.derp = start()
		return u
	}
	socket := filepath.Join(t.TempDir(), "admin.sock")
	args := []string{"-admin-socket", socket, "-relay-port", strconv.Itoa(int(u.port)), "-relay-no-discovery"}
	if len(static) > 0 {
		var list []string
		for _, a := range static {
			list = append(list, a.String())
		}
		args = append(args, "-relay-static-endpoints", strings.Join(list, ","))
	}
	u.derp = start(args...)
	u.udpRelayKind = &ourRelay{u.derp, socket}
	return u
}

// relayPort is a port that nobody has, in either family. It is no ephemeral one: relays share their port with
// SO_REUSEPORT, so whoever got it meanwhile would not be noticed.
func relayPort(t *testing.T) uint16 {
	t.Helper()
	for range 100 {
		port := 10000 + rand.IntN(20000)
		if c, err := net.ListenUDP("udp", &net.UDPAddr{Port: port}); err == nil {
			c.Close()
			return uint16(port)
		}
	}
	t.Fatal("no free port found")
	return 0
}

// ---- ringrelayd ----

type ourRelay struct {
	*relay.Server
	socket string // of the admin
}

// overAdmin is an HTTP client that speaks to the admin socket, whatever the host of the URL.
func overAdmin(socket string) *http.Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}
	return &http.Client{Timeout: wait, Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
}

const endpointPath = "/v0/relay/endpoint"

func endpointRequest(a, b key.DiscoPublic) []byte {
	body, err := json.Marshal(map[string][]key.DiscoPublic{"DiscoKeys": {a, b}})
	if err != nil {
		panic(err)
	}
	return body
}

func (o *ourRelay) allocate(a, b key.DiscoPublic) (e endpoint.ServerEndpoint, err error) {
	client := overAdmin(o.socket)
	resp, err := client.Post("http://admin"+endpointPath, "application/json", bytes.NewReader(endpointRequest(a, b)))
	if err != nil {
		return e, err
	}
	defer resp.Body.Close()
	return parseEndpoint(resp)
}

// parseEndpoint reads an answer as Tailscale's own type does.
func parseEndpoint(resp *http.Response) (e endpoint.ServerEndpoint, err error) {
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return e, err
	}
	if after := resp.Header.Get("Retry-After"); resp.StatusCode == http.StatusServiceUnavailable && after != "" {
		seconds, err := strconv.Atoi(after)
		if err != nil {
			return e, fmt.Errorf("Retry-After: %w", err)
		}
		return e, notReady{time.Duration(seconds) * time.Second}
	}
	if resp.StatusCode != http.StatusOK {
		return e, fmt.Errorf("%s: %.200s", resp.Status, body)
	}
	return e, json.Unmarshal(body, &e)
}

func (o *ourRelay) sessions() ([]status.ServerSession, error) {
	resp, err := overAdmin(o.socket).Get("http://admin/localapi/v0/debug-peer-relay-sessions")
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var s status.ServerStatus
	if err := json.NewDecoder(resp.Body).Decode(&s); err != nil || resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %v", resp.Status, err)
	}
	return s.Sessions, nil
}

func (o *ourRelay) metrics() (map[string]float64, error) { return o.Varz() }

// ---- Tailscale's ----

type referenceRelay struct {
	server   *udprelay.Server
	registry *usermetric.Registry
}

func startReferenceRelay(t *testing.T, port uint16, static []netip.AddrPort) *referenceRelay {
	t.Helper()
	var log lockedBuffer
	r := &referenceRelay{registry: new(usermetric.Registry)}
	server, err := udprelay.NewServer(func(format string, args ...any) { fmt.Fprintf(&log, format+"\n", args...) },
		port, true, r.registry, nil)
	if err != nil {
		t.Fatal(err)
	}
	server.SetStaticAddrPorts(views.SliceOf(static))
	t.Cleanup(func() {
		server.Close()
		if t.Failed() {
			t.Logf("log of the relay:\n%s", log.String())
		}
	})
	r.server = server
	return r
}

func (r *referenceRelay) allocate(a, b key.DiscoPublic) (endpoint.ServerEndpoint, error) {
	e, err := r.server.AllocateEndpoint(a, b)
	var wait udprelay.ErrServerNotReady
	if errors.As(err, &wait) {
		return e, notReady{wait.RetryAfter}
	}
	return e, err
}

func (r *referenceRelay) sessions() ([]status.ServerSession, error) {
	return r.server.GetSessions(), nil
}

func (r *referenceRelay) metrics() (map[string]float64, error) {
	page := httptest.NewRecorder()
	r.registry.Handler(page, httptest.NewRequest("GET", "/metrics", nil))
	return relay.ParseVarz(page.Body.String())
}
