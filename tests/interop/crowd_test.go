package interop

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"ringrelay.test/interop/internal/pki"
	"ringrelay.test/interop/internal/relay"
	"ringrelay.test/interop/internal/wire"
	"tailscale.com/derp"
	"tailscale.com/types/key"
)

// Many clients at once.

const (
	crowdHelpers = 16 // who log in, leave and come back at the same time
	crowdPairs   = 4  // who talk all the while
	crowdSpare   = 300
)

// notShort is for what takes seconds of work.
func notShort(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("thousands of connections; not in -short")
	}
}

// member is one of the crowd. It reads only when it is told to.
type member struct {
	*wire.Conn
	pub       key.NodePublic
	preferred bool // told the server that this is its home
	notIdeal  bool
}

// enter logs in by a fast start; every third is at home, every fifth would
// rather be elsewhere.
func enter(s *relay.Server, config *tls.Config, n int) (*member, error) {
	return enterAs(s, config, n, key.NewNode())
}

func enterAs(s *relay.Server, config *tls.Config, n int, priv key.NodePrivate) (*member, error) {
	c, err := wire.Dial(s.Addr, wait, 0)
	if err != nil {
		return nil, err
	}
	m := &member{Conn: c, preferred: n%3 == 0, notIdeal: n%5 == 0}
	if err := m.login(s, config, priv); err != nil {
		c.Close()
		return nil, fmt.Errorf("login: %w", err)
	}
	return m, nil
}

func (m *member) login(s *relay.Server, config *tls.Config, priv key.NodePrivate) error {
	if config != nil {
		c, err := tryHandshake(m.Conn.Conn, config)
		if err != nil {
			return err
		}
		m.Conn = wire.New(c, wait)
	}
	headers := []string{wire.FastStart}
	if m.notIdeal {
		headers = append(headers, derp.IdealNodeHeader+": node-1a")
	}
	if err := m.Send(wire.Request(s.Addr, "DERP", headers...)); err != nil {
		return err
	}
	server, err := m.ReadServerKey()
	if err != nil {
		return err
	}
	m.pub = priv.Public()
	if err := m.Send(wire.ClientInfo(priv, server, wire.DefaultInfo)); err != nil {
		return err
	}
	f, err := m.ReadFrame()
	if err != nil {
		return err
	}
	if _, ok := priv.OpenFrom(server, f.Body); f.Type != derp.FrameServerInfo || !ok {
		return fmt.Errorf("got %v, want a ServerInfo that opens", f)
	}
	if !m.preferred {
		return nil
	}
	return m.Send(wire.Encode(derp.FrameNotePreferred, []byte{1}))
}

func (m *member) leave(rst bool) {
	if rst {
		reset(m.Conn.Conn)
	} else {
		m.Close()
	}
}

// receive requires the next frame to be a labelled packet with this number.
func (m *member) receive(src key.NodePublic, number uint64) error {
	for {
		f, err := m.ReadFrame()
		if err != nil {
			return err
		}
		if f.Type == derp.FrameKeepAlive {
			continue
		}
		n, err := numberOf(f, src, m.pub)
		if err == nil && n != number {
			err = fmt.Errorf("packet %d, want %d", n, number)
		}
		return err
	}
}

// crowd is many members; each helper has its own share of them.
type crowd struct {
	s       *relay.Server
	config  *tls.Config
	members []*member
	privs   []key.NodePrivate // nil: new ones each time
	entered atomic.Int64
}

// each calls f for all members, from several goroutines.
func (c *crowd) each(f func(i int, r *rand.Rand) error) error {
	errs := make([]error, crowdHelpers)
	var wg sync.WaitGroup
	for h := range crowdHelpers {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(h), 9))
			for i := h; i < len(c.members) && errs[h] == nil; i += crowdHelpers {
				if err := f(i, r); err != nil {
					errs[h] = fmt.Errorf("member %d: %w", i, err)
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (c *crowd) enter(i int) error {
	priv := key.NewNode()
	if c.privs != nil {
		priv = c.privs[i]
	}
	m, err := enterAs(c.s, c.config, int(c.entered.Add(1)), priv)
	c.members[i] = m
	return err
}

func (c *crowd) fill() error {
	return c.each(func(i int, _ *rand.Rand) error { return c.enter(i) })
}

// churn lets each member leave and another one come in its place.
func (c *crowd) churn() error {
	return c.each(func(i int, r *rand.Rand) error {
		c.members[i].leave(r.IntN(2) == 0)
		return c.enter(i)
	})
}

func (c *crowd) leave() error {
	return c.each(func(i int, r *rand.Rand) error {
		c.members[i].leave(r.IntN(2) == 0)
		c.members[i] = nil
		return nil
	})
}

// reach sends a packet to every member, many in one write, and lets all of
// them read it: they are alive and were sent nothing else.
func (c *crowd) reach(from *rawPeer, number uint64, each int) error {
	sent := make(chan error, 1)
	go func() {
		var out []byte
		for i, m := range c.members {
			out = append(out, wire.SendPacket(m.pub, labelled(from.pub, m.pub, number, 100+i%1300))...)
			if (i+1)%each == 0 || i+1 == len(c.members) {
				if err := from.Send(out); err != nil {
					sent <- err
					return
				}
				out = out[:0]
			}
		}
		sent <- nil
	}()
	err := c.each(func(i int, _ *rand.Rand) error { return c.members[i].receive(from.pub, number) })
	return errors.Join(err, <-sent)
}

// gauges is what the server must show with so many other connections.
func (c *crowd) gauges(others int) map[string]float64 {
	want := map[string]float64{metricHome: 0, "derp_current_notideal_connections": 0, metricDupKeys: 0, metricDupConns: 0}
	n := float64(others)
	for _, m := range c.members {
		if m == nil {
			continue
		}
		n++
		if m.preferred {
			want[metricHome]++
		}
		if m.notIdeal {
			want["derp_current_notideal_connections"]++
		}
	}
	want[metricConnections], want[metricKeys], want["derp_clients_total"] = n, n, n
	return want
}

// TestCrowdBurst: one client sends to 1000 others in one write, five times.
func TestCrowdBurst(t *testing.T) {
	notShort(t)
	const n = 1000
	s := privateServer(t, relay.Options{})
	needFiles(t, s, n)
	from := login(t, s)
	c := &crowd{s: s, members: make([]*member, n)}
	t.Cleanup(func() { c.close() })
	if err := c.fill(); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	for round := range 5 {
		if err := c.reach(from, uint64(round), n); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
	}
	t.Logf("5 rounds in %v", time.Since(start).Round(time.Millisecond))
	from.mustLive(t)
	awaitVarz(t, s, map[string]float64{metricReceived: 5 * n, metricSent: 5 * n})
	if dropped := sum(t, varz(t, s), metricDropped); dropped != 0 {
		t.Errorf("%v packets dropped", dropped)
	}
}

// TestCrowdGone: a client that has sent to thousands leaves. Each of them is
// told, once, and those who have nothing to do with it lose nothing.
func TestCrowdGone(t *testing.T) {
	notShort(t)
	const n, rounds = 10_000, 10
	s := privateServer(t, relay.Options{})
	needFiles(t, s, n)
	c := &crowd{s: s, members: make([]*member, n)}
	t.Cleanup(func() { c.close() })
	if err := c.fill(); err != nil {
		t.Fatal(err)
	}
	pairs := newPairs(t, s, 4*crowdPairs, 0)
	pairs.start(t)
	for round := range rounds {
		from := login(t, s)
		if err := c.reach(from, uint64(round), 100); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		from.leave(round%2 == 1)
		gone := wire.Encode(derp.FramePeerGone, wire.Raw(from.pub), []byte{byte(derp.PeerGoneReasonDisconnected)})
		if err := c.each(func(i int, _ *rand.Rand) error { return c.members[i].read(gone) }); err != nil {
			t.Fatalf("round %d: %v; dropped: %v", round, err, drops(varz(t, s)))
		}
		t.Logf("%d told in %v", n, time.Since(start).Round(time.Millisecond))
	}
	pairs.mustEnd(t)
	if lost := drops(varz(t, s)); len(lost) != 0 {
		t.Errorf("dropped: %v", lost)
	}
	awaitVarz(t, s, map[string]float64{metricGone: rounds * n})
}

// read requires the next frame to be this one.
func (m *member) read(want []byte) error {
	for {
		f, err := m.ReadFrame()
		if err != nil {
			return err
		}
		if f.Type == derp.FrameKeepAlive {
			continue
		}
		if !bytes.Equal(wire.Encode(f.Type, f.Body), want) {
			return fmt.Errorf("got %v, want %x", f, want)
		}
		return nil
	}
}

func (c *crowd) close() {
	for _, m := range c.members {
		if m != nil {
			m.Close()
		}
	}
}

// TestCrowd: thousands of connections, all of which leave and are replaced
// while some clients talk; then nothing of them is left.
func TestCrowd(t *testing.T) {
	notShort(t)
	t.Run("plain", func(t *testing.T) {
		testCrowd(t, privateServer(t, relay.Options{}), 10_000)
	})
	t.Run("TLS", func(t *testing.T) {
		testCrowd(t, privateServer(t, relay.Options{TLS: withCA(t, pki.ECDSA, tlsName)}), 2000)
	})
}

func testCrowd(t *testing.T, s *relay.Server, n int) {
	needFiles(t, s, n)
	c := &crowd{s: s, members: make([]*member, n)}
	t.Cleanup(func() { c.close() })
	if s.TLS != nil {
		c.config = s.TLSConfig()
		c.config.CurvePreferences = []tls.CurveID{tls.X25519} // cheaper than Go's first choice
	}
	pairs := newPairs(t, s, crowdPairs, crowdPace)
	others := 2 * crowdPairs
	awaitVarz(t, s, c.gauges(others))
	files, memory := openFiles(t, s), residentKiB(t, s)
	pairs.start(t)

	timed := func(what string, f func() error) {
		t.Helper()
		start := time.Now()
		if err := f(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		t.Logf("%s: %v", what, time.Since(start).Round(time.Millisecond))
	}
	timed("all come", c.fill)
	awaitVarz(t, s, c.gauges(others))
	full := residentKiB(t, s)
	t.Logf("%.2f KiB resident for each of %d connections", float64(full-memory)/float64(n), n)

	watched := make(chan string, 1)
	churned := make(chan struct{})
	go func() { watched <- steady(s, n+others, churned) }()
	timed("all are replaced", c.churn)
	first := residentKiB(t, s)
	timed("and again", c.churn)
	close(churned)
	if complaint := <-watched; complaint != "" {
		t.Error(complaint)
	}
	awaitVarz(t, s, c.gauges(others))
	twice := residentKiB(t, s)

	sender := login(t, s)
	timed("a packet for each", func() error { return c.reach(sender, 1, 100) })
	sender.mustLive(t)

	timed("all leave", c.leave)
	awaitVarz(t, s, c.gauges(others+1))
	sender.Close()
	awaitVarz(t, s, c.gauges(others))
	eventually(t, func() string {
		if now := openFiles(t, s); now > files+crowdHelpers {
			return fmt.Sprintf("%d files are open, %d were at the start", now, files)
		}
		return ""
	})
	pairs.mustEnd(t)
	t.Logf("resident KiB: %d at the start, %d full, %d and %d after all were replaced, %d at the end",
		memory, full, first, twice, residentKiB(t, s))
	// Our memory is one piece from the start, of which pages once used stay
	// resident: there is a first time for each, and no more.
	if s.Kind == relay.Ringrelay && twice > first+first/10 {
		t.Errorf("%d KiB resident after all were replaced, %d when they were again", first, twice)
	}
	if lost := drops(varz(t, s)); len(lost) != 0 {
		t.Errorf("dropped: %v", lost)
	}
	a, b := login(t, s), login(t, s)
	a.mustSend(t, wire.SendPacket(b.pub, []byte("are we through?")))
	b.mustReceive(t, a.pub, []byte("are we through?"))
}

// pairs talk while other things go on, and lose nothing.
type pairs struct {
	pace  time.Duration
	peers []*rawPeer
	talks []int
	errs  []error
	stop  chan struct{}
	once  sync.Once
	wg    sync.WaitGroup
}

// crowdPace, between two packets of a pair, leaves the machine time for logins.
const crowdPace = 2 * time.Millisecond

func newPairs(t *testing.T, s *relay.Server, count int, pace time.Duration) *pairs {
	t.Helper()
	p := &pairs{pace: pace, talks: make([]int, count), errs: make([]error, count), stop: make(chan struct{})}
	for range 2 * count {
		p.peers = append(p.peers, login(t, s))
	}
	return p
}

func (p *pairs) start(t *testing.T) {
	for i := range p.talks {
		p.wg.Go(func() { p.errs[i] = talk(p.peers[2*i], p.peers[2*i+1], p.pace, p.stop, &p.talks[i]) })
	}
	t.Cleanup(p.end)
}

func (p *pairs) end() {
	p.once.Do(func() { close(p.stop) })
	p.wg.Wait()
}

func (p *pairs) mustEnd(t *testing.T) {
	t.Helper()
	p.end()
	for i, err := range p.errs {
		if err != nil || p.talks[i] == 0 {
			t.Errorf("pair %d, after %d packets there and back: %v", i, p.talks[i], err)
		}
	}
	if t.Failed() {
		return
	}
	for _, peer := range p.peers {
		peer.mustLive(t)
	}
	t.Logf("the pairs sent %v packets there and back", p.talks)
}

// steady watches how many connections there are: never fewer than n but for
// those that the helpers are about to replace, and hardly more.
func steady(s *relay.Server, n int, stop <-chan struct{}) string {
	least, most := n, n
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		v, err := s.Varz()
		if err != nil {
			return err.Error()
		}
		now := int(v[metricConnections])
		least, most = min(least, now), max(most, now)
		select {
		case <-stop:
			if least < n-crowdHelpers || most > n+n/4 {
				return fmt.Sprintf("between %d and %d connections, want about %d", least, most, n)
			}
			return ""
		case <-tick.C:
		}
	}
}

// needFiles skips what the limit of open files, here or in the server, does
// not allow.
func needFiles(t *testing.T, s *relay.Server, connections int) {
	t.Helper()
	need := uint64(connections + crowdSpare)
	var here syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &here); err != nil {
		t.Fatal(err)
	}
	there := uint64(0)
	for line := range strings.Lines(proc(t, s, "limits")) {
		if rest, ok := strings.CutPrefix(line, "Max open files"); ok {
			there, _ = strconv.ParseUint(strings.Fields(rest)[0], 10, 64)
		}
	}
	if here.Cur < need || there < need {
		t.Skipf("needs %d open files; the limit is %d for the test and %d for the server: raise it with ulimit -n", need, here.Cur, there)
	}
}

// proc is a file of /proc about the server.
func proc(t *testing.T, s *relay.Server, name string) string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", s.PID(), name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func residentKiB(t *testing.T, s *relay.Server) int {
	t.Helper()
	for line := range strings.Lines(proc(t, s, "status")) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			n, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatal("no VmRSS")
	return 0
}

func openFiles(t *testing.T, s *relay.Server) int {
	t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.PID()))
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
