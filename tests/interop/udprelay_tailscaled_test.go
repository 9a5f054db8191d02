package interop

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"ringrelay.test/interop/internal/relay"
	"tailscale.com/tailcfg"
	"tailscale.com/types/key"
)

// TestUDPRelayTailscaled is tstest/integration.TestPeerRelayPing: real tailscaled, which may not send to each other
// directly, find the relay in what the control server tells them, ask it over DERP for an endpoint, and talk by it. The
// control server grants everybody everything about relays, as it does there. Not in short runs: it takes some seconds.
func TestUDPRelayTailscaled(t *testing.T) {
	further(t)
	t.Parallel()
	allowed := newAllowList(t)
	var node *tailcfg.DERPNode
	u := startUDPRelayOn(t, []string{"127.0.0.1", "::1"}, func(args ...string) (s *relay.Server) {
		if program.Kind == relay.Ringrelay {
			args = append(args, allowed.args(t)...)
		}
		s, node = wholeRelayWith(t, 30*day, relay.Options{Args: args})
		return s
	})
	v := u.node(t, allowed)
	control := fakeControl(t, derpMap(node))
	machines := []*machine{startMachine(t, "a"), startMachine(t, "b"), startMachine(t, "c")}
	join(t, control, machines...)
	var keys []key.NodePublic
	for _, n := range control.AllNodes() {
		keys = append(keys, n.Key)
	}
	allowed.reload(t, u, keys...)
	address := netip.MustParsePrefix("100.100.1.1/32")
	control.UpdateNode(&tailcfg.Node{
		ID: 9000, StableID: "relay", Name: "relay", User: 9000, Key: v.node, DiscoKey: v.disco,
		Machine: key.NewMachine().Public(), MachineAuthorized: true, Cap: 121,
		Addresses: []netip.Prefix{address}, AllowedIPs: []netip.Prefix{address},
		HomeDERP: node.RegionID, Hostinfo: (&tailcfg.Hostinfo{Hostname: "relay"}).View(),
	})
	for _, m := range machines {
		m.awaitPeer(t)
	}
	for _, from := range machines {
		for _, to := range machines {
			if from != to {
				from.pingByRelay(t, u, to)
			}
		}
	}
	a, b := machines[0], machines[1]
	a.pingInside(t, b)
	before := u.forwardedBytes(t)
	a.stream(t, b, pattern(1_000_000, 81))
	if bytes := u.forwardedBytes(t) - before; bytes < 2_000_000 {
		t.Errorf("the relay forwarded %v bytes for a stream of 1000000 there and back", bytes)
	}
	sessions, err := u.sessions()
	if err != nil {
		t.Fatal(err)
	}
	open := 0
	for _, s := range sessions {
		if s.Client1.PacketsTx > 0 && s.Client2.PacketsTx > 0 {
			open++
		}
	}
	if open != 3 {
		t.Errorf("%d sessions in use, want one for each pair: %+v", open, sessions)
	}
}

// forwardedBytes is of all families together: each client takes the address that answers first.
func (u *udpRelay) forwardedBytes(t *testing.T) (sum float64) {
	t.Helper()
	all, err := u.metrics()
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range all {
		if strings.HasPrefix(name, "tailscaled_peer_relay_forwarded_bytes_total{") {
			sum += value
		}
	}
	return sum
}

// pingByRelay pings until the answer comes by the UDP relay. Between two looks for a path a node lets half a minute go
// by, so that it may take that long when the peer was not ready for the first.
func (m *machine) pingByRelay(t *testing.T, u *udpRelay, to *machine) {
	t.Helper()
	byRelay := regexp.MustCompile(fmt.Sprintf(
		`^pong from \S+ \([0-9.]+\) via peer-relay\((127\.0\.0\.1|\[::1\]):%d:vni:\d+\) in `, u.port))
	out := ""
	for deadline := time.Now().Add(6 * wait); time.Now().Before(deadline); {
		out = m.run(t, "ping", "--c=1", "--timeout=20s", "--until-direct=false", to.ip)
		if byRelay.MatchString(out) {
			t.Logf("%s to %s: %s", m.name, to.name, out)
			return
		}
	}
	t.Fatalf("%s: ping of %s: %q, want an answer via the peer relay", m.name, to.name, out)
}
