package interop

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"go4.org/mem"
	"ringrelay.test/interop/internal/relay"
	"tailscale.com/derp"
	"tailscale.com/disco"
	"tailscale.com/net/udprelay/endpoint"
	"tailscale.com/types/key"
)

// Endpoints asked for by disco over DERP, as Tailscale's clients do it: a relay is a node, with a node key for DERP and
// a disco key of its own. ringrelayd is one beside its other work. With RINGRELAY_REFERENCE there is a stand-in: Go's
// relay, a DERP client for it, and the rules of Tailscale's nodes.

// virtualNode is what a control server tells of such a node.
type virtualNode struct {
	node  key.NodePublic
	disco key.DiscoPublic
}

// allowList is who may ask.
type allowList struct {
	path string // ours
	mu   sync.Mutex
	keys []key.NodePublic // the stand-in's
}

// newAllowList is to be made before the relay, which needs arguments.
func newAllowList(t *testing.T, keys ...key.NodePublic) *allowList {
	t.Helper()
	l := &allowList{path: t.TempDir() + "/allow"}
	l.write(t, keys...)
	return l
}

func (l *allowList) args(t *testing.T) []string {
	return []string{"-relay-allow-file", l.path, "-relay-node-key-file", t.TempDir() + "/node.key"}
}

func (l *allowList) write(t *testing.T, keys ...key.NodePublic) {
	t.Helper()
	var text strings.Builder
	for _, k := range keys {
		fmt.Fprintln(&text, k)
	}
	if err := os.WriteFile(l.path, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.keys = keys
}

// reload makes a running relay read the list again.
func (l *allowList) reload(t *testing.T, u *udpRelay, keys ...key.NodePublic) {
	t.Helper()
	l.write(t, keys...)
	if program.Kind == relay.Ringrelay {
		if err := u.derp.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
}

func (l *allowList) has(k key.NodePublic) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Contains(l.keys, k)
}

var relayNodeInLog = regexp.MustCompile(`(nodekey:[0-9a-f]{64}).*(discokey:[0-9a-f]{64})`)

// node is the relay as a node; for the reference it is made.
func (u *udpRelay) node(t *testing.T, allowed *allowList) virtualNode {
	t.Helper()
	if program.Kind == relay.Derper {
		return u.standIn(t, allowed)
	}
	var v virtualNode
	m := relayNodeInLog.FindStringSubmatch(u.derp.Log())
	if m == nil {
		t.Fatalf("the log does not name the relay's node:\n%s", u.derp.Log())
	}
	if err := v.node.UnmarshalText([]byte(m[1])); err != nil {
		t.Fatal(err)
	}
	if err := v.disco.UnmarshalText([]byte(m[2])); err != nil {
		t.Fatal(err)
	}
	return v
}

// standIn answers as a Tailscale node does that is a relay.
func (u *udpRelay) standIn(t *testing.T, allowed *allowList) virtualNode {
	t.Helper()
	private := key.NewDisco()
	c := connect(t, u.derp)
	go func() {
		for m := range c.msgs {
			p, ok := m.(derp.ReceivedPacket)
			if !ok || !allowed.has(p.Source) {
				continue
			}
			sender, m, err := openNaked(private, p.Data)
			request, ok := m.(*disco.AllocateUDPRelayEndpointRequest)
			if err != nil || !ok || !slices.Contains(request.ClientDisco[:], sender) {
				continue
			}
			e, err := u.allocate(request.ClientDisco[0], request.ClientDisco[1])
			if err != nil {
				continue
			}
			c.send(p.Source, naked(private, sender, (&disco.AllocateUDPRelayEndpointResponse{
				Generation: request.Generation, UDPRelayEndpoint: inDisco(e)}).AppendMarshal(nil)))
		}
	}()
	return virtualNode{c.pub, private.Public()}
}

// inDisco is an endpoint as it goes over DERP.
func inDisco(e endpoint.ServerEndpoint) disco.UDPRelayEndpoint {
	return disco.UDPRelayEndpoint{
		ServerDisco: e.ServerDisco, ClientDisco: e.ClientDisco, LamportID: e.LamportID, VNI: e.VNI,
		BindLifetime: e.BindLifetime.Duration, SteadyStateLifetime: e.SteadyStateLifetime.Duration,
		AddrPorts: e.AddrPorts,
	}
}

// naked is disco without a header, as it goes over DERP.
func naked(from key.DiscoPrivate, to key.DiscoPublic, plain []byte) []byte {
	b := append([]byte(disco.Magic), from.Public().AppendTo(nil)...)
	return append(b, from.Shared(to).Seal(plain)...)
}

func openNaked(private key.DiscoPrivate, b []byte) (sender key.DiscoPublic, m disco.Message, err error) {
	source, ok := disco.Source(b)
	if !ok {
		return sender, nil, fmt.Errorf("not disco: %.40x", b)
	}
	sender = key.DiscoPublicFromRaw32(mem.B(source))
	plain, ok := private.Shared(sender).Open(b[len(disco.Magic)+len(source):])
	if !ok {
		return sender, nil, fmt.Errorf("the box of %v does not open", sender)
	}
	m, err = disco.Parse(plain)
	return sender, m, err
}

// relayAsker is a client that asks for endpoints, connected by DERP.
type relayAsker struct {
	*client
	private key.DiscoPrivate
	relay   virtualNode
}

func (a *relayAsker) request(generation uint32, one, other key.DiscoPublic) *disco.AllocateUDPRelayEndpointRequest {
	return &disco.AllocateUDPRelayEndpointRequest{ClientDisco: [2]key.DiscoPublic{one, other}, Generation: generation}
}

func (a *relayAsker) sealed(m disco.Message) []byte {
	return naked(a.private, a.relay.disco, m.AppendMarshal(nil))
}

// mustAnswer requires that the next packet is the answer to a request of this generation.
func (a *relayAsker) mustAnswer(t *testing.T, generation uint32) disco.UDPRelayEndpoint {
	t.Helper()
	m := a.next(t, fmt.Sprintf("the answer %d", generation))
	p, ok := m.(derp.ReceivedPacket)
	if !ok || p.Source != a.relay.node {
		t.Fatalf("got %#v, want a packet of the relay", m)
	}
	sender, plain, err := openNaked(a.private, p.Data)
	answer, ok := plain.(*disco.AllocateUDPRelayEndpointResponse)
	if err != nil || !ok || sender != a.relay.disco || answer.Generation != generation {
		t.Fatalf("got %+v from %v, %v, want an answer %d from %v", plain, sender, err, generation, a.relay.disco)
	}
	return answer.UDPRelayEndpoint
}

// fence asks for an endpoint and requires that its answer is what comes next.
func (a *relayAsker) fence(t *testing.T, generation uint32) {
	t.Helper()
	a.mustSend(t, a.relay.node, a.sealed(a.request(generation, a.private.Public(), key.NewDisco().Public())))
	a.mustAnswer(t, generation)
}

// TestUDPRelayNode: asked by DERP, bound by UDP.
func TestUDPRelayNode(t *testing.T) {
	t.Parallel()
	askerKey, strangerKey := key.NewNode(), key.NewNode()
	allowed := newAllowList(t, askerKey.Public())
	u := startUDPRelayOn(t, []string{"127.0.0.1", "::1"}, func(args ...string) *relay.Server {
		if program.Kind == relay.Ringrelay {
			args = append(args, allowed.args(t)...)
		}
		return privateServer(t, relay.Options{Host: "::", Args: args})
	})
	v := u.node(t, allowed)
	newRelayAsker := func(t *testing.T, node key.NodePrivate) *relayAsker {
		return &relayAsker{attach(t, newClient(t, u.derp, node), node), key.NewDisco(), v}
	}
	a := newRelayAsker(t, askerKey)

	t.Run("asked, bound, used", func(t *testing.T) {
		private := key.NewDisco()
		for _, pair := range [][2]key.DiscoPublic{
			{a.private.Public(), private.Public()}, {private.Public(), a.private.Public()},
		} {
			a.mustSend(t, v.node, a.sealed(a.request(7, pair[0], pair[1])))
			got := a.mustAnswer(t, 7)
			e := u.mustAllocate(t, a.private.Public(), private.Public())
			if want := inDisco(e); !reflect.DeepEqual(got, want) {
				t.Fatalf("got %+v, want %+v", got, want)
			}
			if got.ServerDisco == v.disco {
				t.Error("the node's disco key is that of the relay, which is made anew at each start")
			}
			one := newLeg(t, e, u.at("127.0.0.1"), a.private, private.Public())
			other := newLeg(t, e, u.at("::1"), private, a.private.Public())
			one.mustBind(t)
			other.mustBind(t)
			one.mustPass(t, other, "there")
			other.mustPass(t, one, "and back")
		}
	})

	fresh := func() key.DiscoPublic { return key.NewDisco().Public() }
	good := func() []byte { return a.request(1, a.private.Public(), fresh()).AppendMarshal(nil) }
	for name, packet := range map[string]func() []byte{
		"neither key is the sender's": func() []byte { return a.sealed(a.request(1, fresh(), fresh())) },
		"zero keys":                   func() []byte { return a.sealed(a.request(1, key.DiscoPublic{}, key.DiscoPublic{})) },
		"the other key zero":          func() []byte { return a.sealed(a.request(1, a.private.Public(), key.DiscoPublic{})) },
		"the other key the relay's": func() []byte {
			return a.sealed(a.request(1, a.private.Public(), u.mustAllocate(t, fresh(), fresh()).ServerDisco))
		},
		"version 1": func() []byte { b := good(); b[1] = 1; return naked(a.private, v.disco, b) },
		"one byte short": func() []byte {
			b := good()
			return naked(a.private, v.disco, b[:len(b)-1])
		},
		"type alone":      func() []byte { return naked(a.private, v.disco, []byte{8}) },
		"empty box":       func() []byte { return naked(a.private, v.disco, nil) },
		"type 9":          func() []byte { b := good(); b[0] = 9; return naked(a.private, v.disco, b) },
		"type 0":          func() []byte { b := good(); b[0] = 0; return naked(a.private, v.disco, b) },
		"Ping":            func() []byte { return a.sealed(&disco.Ping{NodeKey: a.pub}) },
		"CallMeMaybe":     func() []byte { return a.sealed(&disco.CallMeMaybe{}) },
		"for another key": func() []byte { return naked(a.private, fresh(), good()) },
		"wrong tag":       func() []byte { b := naked(a.private, v.disco, good()); b[62] ^= 1; return b },
		"another sender":  func() []byte { b := naked(a.private, v.disco, good()); b[6] ^= 1; return b },
		"wrong magic":     func() []byte { b := naked(a.private, v.disco, good()); b[0] ^= 1; return b },
		"cut":             func() []byte { return naked(a.private, v.disco, good())[:61] },
		"garbage":         func() []byte { return pattern(500, 1) },
		"much garbage":    func() []byte { return pattern(60000, 1) },
		"one byte":        func() []byte { return []byte{8} },
	} {
		t.Run("no answer/"+name, func(t *testing.T) {
			a.mustSend(t, v.node, packet())
			a.fence(t, 0xffff)
		})
	}
	for name, change := range map[string]func(plain []byte) []byte{
		"generation 0":   func(p []byte) []byte { clear(p[66:]); return p },
		"something more": func(p []byte) []byte { return append(p, 1, 2, 3) },
	} {
		t.Run("answered/"+name, func(t *testing.T) {
			p := change(good())
			a.mustSend(t, v.node, naked(a.private, v.disco, p))
			a.mustAnswer(t, map[bool]uint32{true: 1}[name != "generation 0"])
		})
	}
	t.Run("answered/replayed", func(t *testing.T) { // it is the same client's: DERP says so
		packet := a.sealed(a.request(5, a.private.Public(), fresh()))
		a.mustSend(t, v.node, packet)
		first := a.mustAnswer(t, 5)
		a.mustSend(t, v.node, packet)
		if second := a.mustAnswer(t, 5); !reflect.DeepEqual(second, first) {
			t.Errorf("got %+v, want %+v", second, first)
		}
	})
	t.Run("not on the list", func(t *testing.T) {
		s := newRelayAsker(t, strangerKey)
		s.mustSend(t, v.node, s.sealed(s.request(1, s.private.Public(), fresh())))
		s.mustQuiet(t)
		a.fence(t, 2) // what the stranger sent came before it
		s.mustQuiet(t)
		// The key of one who may ask does not help: DERP says who sent it.
		s.mustSend(t, v.node, a.sealed(a.request(3, a.private.Public(), fresh())))
		s.mustQuiet(t)
		a.fence(t, 4)
		s.mustQuiet(t)

		allowed.reload(t, u, strangerKey.Public())
		eventually(t, func() string { // the signal is handled when it is
			s.mustSend(t, v.node, s.sealed(s.request(8, s.private.Public(), fresh())))
			select {
			case m := <-s.msgs:
				if p, ok := m.(derp.ReceivedPacket); !ok || p.Source != v.node {
					t.Fatalf("got %#v, want an answer", m)
				}
				return ""
			default:
				return "no answer to who has come on the list"
			}
		})
		a.mustSend(t, v.node, a.sealed(a.request(9, a.private.Public(), fresh())))
		a.mustQuiet(t)
		eventually(t, func() string { // of the requests above, several may be answered
			s.mustSend(t, v.node, s.sealed(s.request(10, s.private.Public(), fresh())))
			_, m, err := openNaked(s.private, s.next(t, "an answer").(derp.ReceivedPacket).Data)
			if answer, ok := m.(*disco.AllocateUDPRelayEndpointResponse); err != nil || !ok || answer.Generation != 10 {
				return fmt.Sprintf("got %#v, %v", m, err)
			}
			return ""
		})
		a.mustQuiet(t)
	})
}

// status of the daemon names the node, too.
func TestUDPRelayNodeStatus(t *testing.T) {
	t.Parallel()
	if program.Kind == relay.Derper {
		t.Skip("derper has no status")
	}
	allowed := newAllowList(t)
	u := startUDPRelayWith(t, allowed.args(t), "127.0.0.1")
	v := u.node(t, allowed)
	c, err := dialAdmin(u.udpRelayKind.(*ourRelay).socket)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var all map[string]json.RawMessage
	if err := c.ask(`{"v":1,"cmd":"status"}`, &all); err != nil {
		t.Fatal(err)
	}
	text, _ := json.Marshal(all)
	for _, k := range []string{v.node.String(), v.disco.String()} {
		if !strings.Contains(string(text), k) {
			t.Errorf("status does not name %s: %s", k, text)
		}
	}
}
