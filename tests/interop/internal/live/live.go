// Package live is the traffic that must not notice: pairs of well-behaved
// clients that talk to each other while a test mistreats their server.
package live

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ringrelay.test/interop/internal/relay"
	"ringrelay.test/interop/internal/wire"
	"tailscale.com/derp"
	"tailscale.com/types/key"
)

// Wait bounds every single step.
const Wait = 10 * time.Second

// window is how many packets of a pair may be under way: below the 32 that
// derper queues for one client.
const window = 16

// Traffic is N pairs. In each, one client sends packets of mixed sizes at a
// pace; the other verifies them and answers each with one of another size.
type Traffic struct {
	t     testing.TB
	pairs []*pair
	stop  chan struct{}
	once  sync.Once
	wg    sync.WaitGroup
	count atomic.Int64 // of answers

	mu     sync.Mutex
	failed error
	rtts   []time.Duration
	held   int
}

// Result is what happened until Stop.
type Result struct {
	Packets       int64 // there and back
	HeldBack      int   // waited for the window; the waiting is in their round trip
	P50, P99, Max time.Duration
}

func (r Result) String() string {
	return fmt.Sprintf("%d packets there and back, round trip p50 %v, p99 %v, max %v; %d held back",
		r.Packets, r.P50.Round(time.Microsecond), r.P99.Round(time.Microsecond), r.Max.Round(time.Microsecond), r.HeldBack)
}

type pair struct {
	a, b     *client
	there    Content
	back     Content
	underWay chan time.Time // when each was due
	stopping atomic.Bool    // from then on connections may end
	ended    chan struct{}  // nothing is received any more
	expired  atomic.Bool
}

// client is the reference implementation's, without what connects it again.
type client struct {
	*derp.Client
	nc  net.Conn
	pub key.NodePublic
}

// Start logs pairs in and lets each send perSecond packets a second.
func Start(t testing.TB, s *relay.Server, pairs, perSecond int) *Traffic {
	t.Helper()
	l := &Traffic{t: t, stop: make(chan struct{})}
	t.Cleanup(func() { l.finish() })
	for i := range pairs {
		p := &pair{
			there:    Content{ID: uint32(2 * i)},
			back:     Content{ID: uint32(2*i + 1)},
			underWay: make(chan time.Time, window-1), // the one that is waited for has left it
			ended:    make(chan struct{}),
		}
		var err error
		if p.a, err = login(s); err == nil {
			if p.b, err = login(s); err != nil {
				p.a.nc.Close()
			}
		}
		if err != nil {
			t.Fatalf("live pair %d: %v", i, err)
		}
		l.pairs = append(l.pairs, p)
	}
	for i, p := range l.pairs {
		l.run(i, p, time.Second/time.Duration(perSecond))
	}
	return l
}

// Clients is how many are logged in.
func (l *Traffic) Clients() int { return 2 * len(l.pairs) }

// Packets is how many went there and came back so far.
func (l *Traffic) Packets() int64 { return l.count.Load() }

// Err is the first thing that went wrong so far.
func (l *Traffic) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failed
}

// Stop lets what is under way arrive, logs all clients out, and fails the test
// if anything was lost, altered or reordered, or any connection ended.
func (l *Traffic) Stop() Result {
	l.t.Helper()
	l.finish()
	if err := l.Err(); err != nil {
		l.t.Errorf("live traffic: %v", err)
	}
	slices.Sort(l.rtts)
	r := Result{Packets: l.count.Load(), HeldBack: l.held}
	if n := len(l.rtts); n > 0 {
		r.P50, r.P99, r.Max = l.rtts[n/2], l.rtts[n*99/100], l.rtts[n-1]
	}
	return r
}

func (l *Traffic) finish() {
	l.once.Do(func() { close(l.stop) })
	l.wg.Wait()
}

func (l *Traffic) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed == nil {
		l.failed = err
	}
}

func (l *Traffic) run(i int, p *pair, every time.Duration) {
	part := func(what string, f func() error, finally func()) {
		l.wg.Go(func() {
			defer finally()
			if err := f(); err != nil {
				if p.expired.Load() {
					err = fmt.Errorf("nothing within %v (%w)", Wait, err)
				}
				if !p.stopping.Swap(true) { // what follows is only its consequence
					l.fail(fmt.Errorf("pair %d: %s: %w", i, what, err))
				}
			}
		})
	}
	part("sending", func() error { return l.send(p, every) }, func() { close(p.underWay) })
	part("answering", p.answer, p.hangUp)
	part("receiving", func() error { return l.receive(p) }, p.close)
}

func (p *pair) close() {
	p.stopping.Store(true)
	close(p.ended)
	p.hangUp()
}

// hangUp ends what waits for either.
func (p *pair) hangUp() {
	p.a.nc.Close()
	p.b.nc.Close()
}

func (l *Traffic) send(p *pair, every time.Duration) error {
	buf := make([]byte, 65536)
	due := time.Now()
	for n := uint64(0); ; n++ {
		select {
		case <-l.stop:
			return nil
		case <-time.After(time.Until(due)):
		}
		select {
		case p.underWay <- due:
		default:
			l.mu.Lock()
			l.held++
			l.mu.Unlock()
			select {
			case p.underWay <- due:
			case <-p.ended:
				return errors.New("nobody receives any more")
			}
		}
		payload := buf[:MixedSize(n)]
		p.there.Fill(payload, n)
		if err := p.a.Send(p.b.pub, payload); err != nil {
			return fmt.Errorf("packet %d: %w", n, err)
		}
		if due = due.Add(every); due.Before(time.Now().Add(-time.Second)) {
			due = time.Now() // no burst to make up for what was held back
		}
	}
}

func (p *pair) answer() error {
	buf := make([]byte, 65536)
	for n := uint64(0); ; n++ {
		if err := p.b.receive(p.a.pub, p.there, n); err != nil {
			return err
		}
		payload := buf[:MixedSize(n+1<<32)]
		p.back.Fill(payload, n)
		if err := p.b.Send(p.a.pub, payload); err != nil {
			return fmt.Errorf("packet %d: %w", n, err)
		}
	}
}

func (l *Traffic) receive(p *pair) error {
	watchdog := time.AfterFunc(time.Hour, func() {
		p.expired.Store(true)
		p.hangUp()
	})
	defer watchdog.Stop()
	var rtts []time.Duration
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.rtts = append(l.rtts, rtts...)
	}()
	n := uint64(0)
	for due := range p.underWay {
		watchdog.Reset(Wait)
		if err := p.a.receive(p.b.pub, p.back, n); err != nil {
			return err
		}
		watchdog.Stop()
		rtts = append(rtts, time.Since(due))
		l.count.Add(1)
		n++
	}
	return nil
}

func (c *client) receive(src key.NodePublic, want Content, n uint64) error {
	for {
		m, err := c.Recv()
		if err != nil {
			return fmt.Errorf("waiting for packet %d: %w", n, err)
		}
		switch m := m.(type) {
		case derp.KeepAliveMessage, derp.ServerInfoMessage:
		case derp.ReceivedPacket:
			got, err := want.Verify(m.Data)
			if err == nil && (got != n || m.Source != src) {
				err = fmt.Errorf("packet %d from %v", got, m.Source.ShortString())
			}
			if err != nil {
				return fmt.Errorf("waiting for packet %d: %w", n, err)
			}
			return nil
		default:
			return fmt.Errorf("waiting for packet %d: got %#v", n, m)
		}
	}
}

func login(s *relay.Server) (*client, error) {
	nc, err := net.DialTimeout("tcp", s.Addr, Wait)
	if err != nil {
		return nil, err
	}
	nc.SetDeadline(time.Now().Add(Wait))
	c, err := loginOver(nc, s)
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("login: %w", err)
	}
	c.nc.SetDeadline(time.Time{})
	return c, nil
}

func loginOver(nc net.Conn, s *relay.Server) (*client, error) {
	if s.TLS != nil {
		nc = tls.Client(nc, s.TLSConfig())
	}
	if _, err := nc.Write(wire.Request(s.Addr, "DERP", wire.FastStart)); err != nil {
		return nil, err
	}
	priv := key.NewNode()
	brw := bufio.NewReadWriter(bufio.NewReader(nc), bufio.NewWriter(nc))
	c, err := derp.NewClient(priv, nc, brw, func(string, ...any) {})
	if err != nil {
		return nil, err
	}
	if m, err := c.Recv(); err != nil || m != (derp.ServerInfoMessage{}) {
		return nil, fmt.Errorf("got %#v (%v), want ServerInfo", m, err)
	}
	return &client{Client: c, nc: nc, pub: priv.Public()}, nil
}
