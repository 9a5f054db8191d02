package interop

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"tailscale.com/disco"
	"tailscale.com/types/key"
)

// Order on one 5-tuple. A client sends its Answer and at once a Ping to its peer, and repeats neither: a relay that
// looked at the Ping first would leave the two without a path for half a minute.

// TestUDPRelayAnswerThenPing: with the other leg bound, the first Ping behind an Answer arrives. No second try.
func TestUDPRelayAnswerThenPing(t *testing.T) {
	t.Parallel()
	u := startUDPRelay(t, "127.0.0.1", "::1")
	hosts := []string{"127.0.0.1", "::1"}
	for i := range 100 {
		a, b := newPair(t, u, hosts[i%2], hosts[i/2%2])
		b.mustBind(t)
		ping := a.toPeer(&disco.Ping{TxID: [12]byte{byte(i)}})
		answer := a.answer(1, a.ask(t, 1))
		a.mustSend(t, answer, ping)
		b.mustGet(t, ping)
		b.mustPass(t, a, "and back")
	}
}

// TestUDPRelaySetUps: pairs who do as Tailscale's clients do, all at once. Everything is sent once; each pair must
// have a path.
func TestUDPRelaySetUps(t *testing.T) {
	t.Parallel()
	u := startUDPRelay(t, "127.0.0.1", "::1")
	hosts := []string{"127.0.0.1", "::1"}
	var running sync.WaitGroup
	for i := range 100 {
		a, b := newPair(t, u, hosts[i%2], hosts[i/2%2])
		var found atomic.Int32
		for _, l := range []*relayLeg{a, b} {
			l.SetReadDeadline(time.Now().Add(wait))
			running.Go(func() {
				err := l.findPath(func() bool { return found.Load() == 2 }, func() {
					if found.Add(1) == 2 { // neither needs the other any more
						a.SetReadDeadline(time.Now())
						b.SetReadDeadline(time.Now())
					}
				})
				if err != nil {
					t.Errorf("pair %d: %v", i, err)
				}
			})
		}
	}
	running.Wait()
}

// findPath is a client from its Bind to the Pong of its peer, and until both have that: the challenge makes it send its
// Answer and a Ping back to back, and whoever hears a Ping answers it and pings, too.
func (l *relayLeg) findPath(isOver func() bool, foundOne func()) error {
	const pingsMost = 10
	var (
		answered, found bool
		pings           int
		buf             [1 << 11]byte
	)
	ping := func() []byte {
		pings++
		return l.toPeer(&disco.Ping{TxID: [12]byte{byte(pings)}})
	}
	out := [][]byte{l.bind(1)}
	for !isOver() {
		for _, d := range out {
			if _, err := l.Write(d); err != nil {
				return err
			}
		}
		out = nil
		n, err := l.Read(buf[:])
		if isOver() {
			return nil
		}
		if err != nil {
			return fmt.Errorf("answered: %v, pings: %d, path: %v: %w", answered, pings, found, err)
		}
		m, _, _, err := l.openDisco(buf[:n])
		if err != nil {
			return err
		}
		switch m := m.(type) {
		case *disco.BindUDPRelayEndpointChallenge:
			if answered {
				return errors.New("a second challenge")
			}
			answered = true
			out = append(out, l.answer(1, m.Challenge), ping())
		case *disco.Ping:
			out = append(out, l.toPeer(&disco.Pong{TxID: m.TxID, Src: l.endpoint.AddrPorts[0]}))
			if answered && !found && pings < pingsMost {
				out = append(out, ping())
			}
		case *disco.Pong:
			if !found {
				found = true
				foundOne()
			}
		default:
			return fmt.Errorf("got %T", m)
		}
	}
	return nil
}

// sendRun sends one run of segments, which the kernel may hand on as one piece: all have the size of the first, but
// the last may be shorter.
func (l *relayLeg) sendRun(t *testing.T, datagrams ...[]byte) {
	t.Helper()
	raw, err := l.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	set := func(size int) {
		var failed error
		err := raw.Control(func(fd uintptr) {
			failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_SEGMENT, size)
		})
		if err = errors.Join(err, failed); err != nil {
			t.Fatalf("UDP_SEGMENT: %v", err)
		}
	}
	for i, d := range datagrams {
		if last := i == len(datagrams)-1; len(d) != len(datagrams[0]) && !last || len(d) > len(datagrams[0]) {
			t.Fatalf("segment %d has %d bytes, the first %d", i, len(d), len(datagrams[0]))
		}
	}
	set(len(datagrams[0]))
	l.mustSend(t, slices.Concat(datagrams...))
	set(0)
}

// TestUDPRelayRuns: segments of one piece, for one peer and for several, with control messages among them. Each peer
// gets its own, in order and bit by bit.
func TestUDPRelayRuns(t *testing.T) {
	t.Parallel()
	u := startUDPRelay(t, "127.0.0.1", "::1")
	for _, host := range []string{"127.0.0.1", "::1"} {
		t.Run(host, func(t *testing.T) {
			a, peers := star(t, u, host, 5)
			for name, r := range map[string]struct {
				count, size int
				last        int // size of the last
				peer        func(i int) int
			}{
				"one peer":              {40, 1280, 1280, func(int) int { return 0 }},
				"one peer, shorter end": {40, 1280, 9, func(int) int { return 0 }},
				"alternating":           {40, 1000, 1000, func(i int) int { return i % 2 }},
				"in turn":               {45, 1200, 300, func(i int) int { return i % 5 }},
				"in runs":               {64, 500, 20, func(i int) int { return i / 10 % 5 }},
				"one astray":            {50, 700, 700, func(i int) int { return map[bool]int{true: 1}[i == 25] }},
				"unknown VNI in between": {50, 600, 100, func(i int) int {
					return map[bool]int{true: -1, false: i / 25}[i%7 == 3]
				}},
				"headers alone": {64, 8, 8, func(i int) int { return i % 3 }},
				"small":         {64, 24, 17, func(i int) int { return i / 3 % 4 }},
			} {
				t.Run(name, func(t *testing.T) {
					var run [][]byte
					due := make([][][]byte, len(peers))
					for i := range r.count {
						size := r.size
						if i == r.count-1 {
							size = r.last
						}
						d := pattern(size, uint64(i))
						to := r.peer(i)
						vni := uint32(0)
						if to >= 0 {
							vni = peers[to].endpoint.VNI
							due[to] = append(due[to], d)
						}
						copy(d, header(vni, false, 0x7a12))
						run = append(run, d)
					}
					for range 3 {
						a.sendRun(t, run...)
					}
					for i, p := range peers {
						for range 3 {
							p.mustGet(t, due[i]...)
						}
						// Nothing has come that was for others.
						mark := append(header(p.endpoint.VNI, false, 0x7a12), "mark"...)
						a.mustSend(t, mark)
						p.mustGet(t, mark)
					}
				})
			}
		})
	}
	t.Run("control among data", func(t *testing.T) {
		a, b := newPair(t, u, "127.0.0.1", "127.0.0.1")
		b.mustBind(t)
		sized := func(i int) []byte { return a.data(string(pattern(handshakeSize-8, uint64(i)))) }
		first := a.ask(t, 1)
		early, late := sized(1), sized(2)
		a.sendRun(t, early, early, a.answer(1, first), late, a.bind(2), late, a.data("end"))
		b.mustGet(t, late, late, a.data("end"))
		second := a.readChallenge(t, a.next(t, "a challenge"), 2)

		// To a new socket, all in one piece: what is behind the Answer comes from where a is bound.
		a2 := a.moved(t)
		a2.sendRun(t, early, a2.bind(3), early)
		third := a2.readChallenge(t, a2.next(t, "a challenge"), 3)
		a.sendRun(t, late, a.answer(2, second), late) // too late: 3 is under way
		b.mustGet(t, late, late)
		a2.sendRun(t, early, a2.answer(3, third), late, late)
		b.mustGet(t, late, late)
		b.mustPass(t, a2, "there")
	})
	t.Run("of one byte", func(t *testing.T) { // some senders end a run with such a datagram
		a, b := boundPair(t, u, "::1", "::1")
		d := a.data(string(pattern(992, 5)))
		for range 10 {
			a.sendRun(t, d, d, d, []byte{7})
			a.sendRun(t, slices.Repeat([][]byte{{7}}, 64)...)
			a.sendRun(t, slices.Repeat([][]byte{d[:7]}, 64)...)
			b.mustGet(t, d, d, d)
		}
		a.settle(t)
		a.mustPass(t, b, "none of them was sent on")
	})
}

// star is a client with one socket and several endpoints, all bound; of those, the other legs. The last ones are of
// the other family.
func star(t *testing.T, u *udpRelay, host string, count int) (centre *relayLeg, peers []*relayLeg) {
	t.Helper()
	private := key.NewDisco()
	other := map[string]string{"127.0.0.1": "::1", "::1": "127.0.0.1"}[host]
	for i := range count {
		p := key.NewDisco()
		e := u.mustAllocate(t, private.Public(), p.Public())
		if centre == nil {
			centre = newLeg(t, e, u.at(host), private, p.Public())
		}
		at := map[bool]string{true: other, false: host}[i >= 3]
		peer := newLeg(t, e, u.at(at), p, private.Public())
		(&relayLeg{UDPConn: centre.UDPConn, endpoint: e, private: private, remote: p.Public()}).mustBind(t)
		peer.mustBind(t)
		peers = append(peers, peer)
	}
	return centre, peers
}

// TestUDPRelayStreams: many pairs send for a while, both ways, in bursts of runs and of single datagrams. What arrives
// is whole and in order, and with a window that buffers hold nothing is lost.
func TestUDPRelayStreams(t *testing.T) {
	t.Parallel()
	u := startUDPRelay(t, "127.0.0.1", "::1")
	hosts := []string{"127.0.0.1", "::1"}
	var running sync.WaitGroup
	for i := range 8 {
		a, b := boundPair(t, u, hosts[i%2], hosts[i/2%2])
		for _, way := range [][2]*relayLeg{{a, b}, {b, a}} {
			running.Go(func() { streamThrough(t, way[0], way[1], i) })
		}
	}
	running.Wait()
}

func streamThrough(t *testing.T, from, to *relayLeg, seed int) {
	const bursts, burst = 50, 20
	n := uint64(0)
	var buf [1 << 16]byte
	for round := range bursts {
		size := 40 + (round*131+seed*17)%1200
		var run [][]byte
		for range burst {
			d := from.data(string(binary.BigEndian.AppendUint64(pattern(size, n), n)))
			run = append(run, d)
			n++
		}
		if round%2 == 0 {
			from.sendRun(t, run...)
		} else {
			from.mustSend(t, run...)
		}
		to.SetReadDeadline(time.Now().Add(wait))
		for i, want := range run {
			got, err := to.Read(buf[:])
			if err != nil || string(buf[:got]) != string(want) {
				t.Errorf("burst %d, datagram %d: %d bytes instead of %d, or others: %v", round, i, got, len(want), err)
				return
			}
		}
	}
}
