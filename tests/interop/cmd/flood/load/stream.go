package load

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Streams are pairs of clients in which one sends to the other as fast as the
// window lets it. The receiver hands the credit back inside this process, so
// nothing but the packets goes through the server.
type Streams struct {
	pairs  []*stream
	window int
}

type stream struct {
	packets
	from, to *Peer
	next     uint64
}

// NewStreams logs 2*pairs clients in.
func NewStreams(t Target, pairs, window, size int) (*Streams, error) {
	s := &Streams{window: window}
	for range pairs {
		l, err := NewLive(t, size)
		if err != nil {
			s.Close()
			return nil, err
		}
		s.pairs = append(s.pairs, &stream{packets: l.packets, from: l.a, to: l.b})
	}
	return s, nil
}

func (s *Streams) Close() {
	for _, p := range s.pairs {
		p.close()
	}
}

// Suite is the cipher suite of the connections, which must all have the same.
func (s *Streams) Suite() (uint16, error) {
	suite := s.pairs[0].from.State.CipherSuite
	for _, p := range s.pairs {
		if p.from.State.CipherSuite != suite || p.to.State.CipherSuite != suite {
			return 0, errors.New("connections with different cipher suites")
		}
	}
	return suite, nil
}

// Run sends for d and returns how many packets were delivered and verified:
// all that were sent, or there is an error.
func (s *Streams) Run(d time.Duration) (uint64, error) {
	var delivered atomic.Uint64
	var wg sync.WaitGroup
	errs := make(chan error, 2*len(s.pairs))
	for _, p := range s.pairs {
		p.run(&wg, errs, &delivered, d, s.window)
	}
	wg.Wait()
	close(errs)
	return delivered.Load(), <-errs
}

func (p *stream) run(wg *sync.WaitGroup, errs chan<- error, delivered *atomic.Uint64, d time.Duration, window int) {
	end := time.Now().Add(d)
	p.from.SetDeadline(end.Add(Wait))
	p.to.SetDeadline(end.Add(Wait))
	underWay := make(chan uint64, window) // numbers, in order; full: no credit
	taken := make(chan struct{})          // the receiver gave up
	wg.Go(func() {
		defer close(underWay)
		frame := p.frame(p.to.Pub)
		for time.Now().Before(end) {
			select {
			case underWay <- p.next:
			case <-taken:
				return
			}
			p.fill(frame, p.next)
			p.next++
			if _, err := p.from.Write(frame); err != nil {
				errs <- fmt.Errorf("sending packet %d: %w", p.next-1, err)
				p.close()
				return
			}
		}
	})
	wg.Go(func() {
		defer close(taken)
		// A number stays in underWay until its packet is here, hence one less
		// than the window is queued while one is awaited.
		for n := range underWay {
			payload, err := p.to.receive(p.from.Pub)
			if err == nil {
				err = p.verify(payload, n)
			}
			if err != nil {
				errs <- fmt.Errorf("receiving packet %d: %w", n, err)
				p.close()
				return
			}
			delivered.Add(1)
		}
	})
}

func (p *stream) close() {
	p.from.Close()
	p.to.Close()
}
