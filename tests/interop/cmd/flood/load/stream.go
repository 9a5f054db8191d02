package load

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Streams are pairs of clients in which one sends to the other. The receiver hands the credit back inside this process, so
// nothing but the packets goes through the server.
type Streams struct {
	pairs  []*stream
	window int
	every  time.Duration // between two packets of a pair; 0: as fast as the window lets it
}

type stream struct {
	packets
	from, to *Peer
	next     uint64
}

// NewStreams logs 2*pairs clients in. perSecond is of all pairs together; 0 is
// as fast as the window lets them.
func NewStreams(t Target, pairs, window, size, perSecond int) (*Streams, error) {
	s := &Streams{window: window}
	if perSecond > 0 {
		s.every = time.Second * time.Duration(pairs) / time.Duration(perSecond)
	}
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
		s.run(p, &wg, errs, &delivered, d)
	}
	wg.Wait()
	close(errs)
	return delivered.Load(), <-errs
}

func (s *Streams) run(p *stream, wg *sync.WaitGroup, errs chan<- error, delivered *atomic.Uint64, d time.Duration) {
	due := time.Now()
	end := due.Add(d)
	p.from.SetDeadline(end.Add(Wait))
	p.to.SetDeadline(end.Add(Wait))
	// The numbers of the packets under way but the first, for which the receiver
	// waits. When there is no room for one more there is no credit.
	underWay := make(chan uint64, s.window-1)
	gaveUp := make(chan struct{}) // by the receiver
	wg.Go(func() {
		defer close(underWay)
		frame := p.frame(p.to.Pub)
		for time.Now().Before(end) {
			if s.every > 0 {
				time.Sleep(time.Until(due))
				due = due.Add(s.every)
			}
			select {
			case underWay <- p.next:
			case <-gaveUp:
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
		defer close(gaveUp)
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
