package interop

import (
	"fmt"
	"net"
	"net/netip"
	"testing"

	"tailscale.com/net/udprelay/status"
)

// addrOf is the address a leg sends from.
func addrOf(l *relayLeg) netip.AddrPort {
	own := l.LocalAddr().(*net.UDPAddr).AddrPort()
	return netip.AddrPortFrom(own.Addr().Unmap(), own.Port())
}

func mustSession(t *testing.T, u *udpRelay, vni uint32) status.ServerSession {
	t.Helper()
	all, err := u.sessions()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		if s.VNI == vni {
			return s
		}
	}
	t.Fatalf("VNI %d is not among %d sessions", vni, len(all))
	return status.ServerSession{}
}

// TestUDPRelayStatus: endpoints, addresses and counters, to the packet, in the list and in the metrics.
func TestUDPRelayStatus(t *testing.T) {
	t.Parallel()
	u := startUDPRelay(t, "127.0.0.1", "::1")
	forwarded := func(unit, in, out string) string {
		return fmt.Sprintf(`tailscaled_peer_relay_forwarded_%s_total{transport_in=%q,transport_out=%q}`, unit, in, out)
	}
	const connecting = `tailscaled_peer_relay_endpoints{state="connecting"}`
	const open = `tailscaled_peer_relay_endpoints{state="open"}`
	want := map[string]float64{connecting: 0, open: 0}
	for _, in := range []string{"udp4", "udp6"} {
		for _, out := range []string{"udp4", "udp6"} {
			want[forwarded("packets", in, out)], want[forwarded("bytes", in, out)] = 0, 0
		}
	}
	check := func(when string) {
		t.Helper()
		eventually(t, func() string {
			got, err := u.metrics()
			if err != nil {
				return err.Error()
			}
			for name, value := range want {
				if v, ok := got[name]; !ok || v != value {
					return fmt.Sprintf("%s: %s is %v (exposed: %v), want %v", when, name, v, ok, value)
				}
			}
			return ""
		})
	}
	check("at the start")
	if all, err := u.sessions(); err != nil || len(all) != 0 {
		t.Errorf("at the start: %+v, %v", all, err)
	}

	hosts := [][2]string{{"127.0.0.1", "127.0.0.1"}, {"127.0.0.1", "::1"}, {"::1", "::1"}}
	family := map[string]string{"127.0.0.1": "udp4", "::1": "udp6"}
	var pairs [][2]*relayLeg
	for _, h := range hosts {
		a, b := newPair(t, u, h[0], h[1])
		pairs = append(pairs, [2]*relayLeg{a, b})
	}
	idle, _ := newPair(t, u, "127.0.0.1", "127.0.0.1") // never binds
	want[connecting] = 4
	check("allocated")
	for i, p := range pairs {
		p[0].mustBind(t)
		check("one leg is bound")
		p[1].mustBind(t)
		want[connecting], want[open] = float64(3-i), float64(i+1)
		check("both are")
	}
	p := pairs[0]
	p[0].mustBind(t) // once more, which changes nothing
	check("bound again")

	for i, p := range pairs {
		a, b := family[hosts[i][0]], family[hosts[i][1]]
		for n := range 10 + i {
			p[0].mustPass(t, p[1], string(pattern(100*n, 1)))
			want[forwarded("packets", a, b)]++
			want[forwarded("bytes", a, b)] += float64(8 + 100*n)
		}
		for range 3 {
			p[1].mustPass(t, p[0], "")
			want[forwarded("packets", b, a)]++
			want[forwarded("bytes", b, a)] += 8
		}
		stranger := p[0].moved(t)
		stranger.mustSend(t, stranger.data("not counted"), p[0].data("")[:7])
		stranger.settle(t)
	}
	check("after packets")

	expect := map[uint32][2]status.ClientInfo{}
	for i, p := range pairs {
		packets, bytes := uint64(10+i), uint64(0)
		for n := range packets {
			bytes += 8 + 100*n
		}
		a := status.ClientInfo{Endpoint: addrOf(p[0]), ShortDisco: p[0].private.Public().ShortString(),
			PacketsTx: packets, BytesTx: bytes}
		b := status.ClientInfo{Endpoint: addrOf(p[1]), ShortDisco: p[1].private.Public().ShortString(),
			PacketsTx: 3, BytesTx: 24}
		expect[p[0].endpoint.VNI] = [2]status.ClientInfo{a, b}
	}
	expect[idle.endpoint.VNI] = [2]status.ClientInfo{
		{ShortDisco: idle.private.Public().ShortString()}, {ShortDisco: idle.remote.ShortString()}}
	sorted := map[uint32][2]string{}
	for _, l := range []*relayLeg{pairs[0][0], pairs[1][0], pairs[2][0], idle} {
		sorted[l.endpoint.VNI] = [2]string{l.endpoint.ClientDisco[0].ShortString(), l.endpoint.ClientDisco[1].ShortString()}
	}
	eventually(t, func() string {
		all, err := u.sessions()
		if err != nil || len(all) != len(expect) {
			return fmt.Sprintf("%d sessions, %v", len(all), err)
		}
		for _, s := range all {
			e := expect[s.VNI]
			if e[0].ShortDisco != sorted[s.VNI][0] {
				e[0], e[1] = e[1], e[0]
			}
			if s.Client1 != e[0] || s.Client2 != e[1] {
				return fmt.Sprintf("VNI %d: got %+v, want %+v", s.VNI, s, e)
			}
		}
		return ""
	})

	moved := pairs[0][0].moved(t)
	moved.mustBind(t)
	s := mustSession(t, u, moved.endpoint.VNI)
	if s.Client1.Endpoint != addrOf(moved) && s.Client2.Endpoint != addrOf(moved) {
		t.Errorf("after a move to %v: %+v", addrOf(moved), s)
	}
	check("after a move")
}
