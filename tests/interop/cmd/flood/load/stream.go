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
	from, to end
	next     uint64
}

// NewStreams logs 2*pairs clients in. perSecond is of all pairs together; 0 is
// as fast as the window lets them. With tailscale they are Tailscale's own
// clients (derphttp), else raw frames.
func NewStreams(t Target, pairs, window, size, perSecond int, tailscale bool) (*Streams, error) {
	s := &Streams{window: window}
	if perSecond > 0 {
		s.every = time.Second * time.Duration(pairs) / time.Duration(perSecond)
	}
	for range pairs {
		p := &stream{packets: packets{size}}
		var err error
		for _, e := range []*end{&p.from, &p.to} {
			if err == nil {
				*e, err = t.end(tailscale)
			}
		}
		if err != nil {
			p.close()
			s.Close()
			return nil, err
		}
		s.pairs = append(s.pairs, p)
	}
	return s, nil
}

func (t Target) end(tailscale bool) (end, error) {
	var e end
	var err error
	if tailscale {
		e, err = t.tailscaleClient()
	} else {
		e, err = t.Login()
	}
	if err != nil {
		return nil, err // and not an end that holds a nil pointer
	}
	return e, nil
}

func (s *Streams) Close() {
	for _, p := range s.pairs {
		p.close()
	}
}

// Suite is the cipher suite of the connections, which must all have the same.
func (s *Streams) Suite() (uint16, error) {
	suite, _ := s.pairs[0].from.suite()
	for _, p := range s.pairs {
		for _, e := range []end{p.from, p.to} {
			if id, known := e.suite(); !known || id != suite {
				return 0, errors.New("connections with different cipher suites, or unknown ones")
			}
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
		frame := p.frame(p.to.pub())
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
			if err := p.from.sendFrame(p.to.pub(), frame); err != nil {
				errs <- fmt.Errorf("sending packet %d: %w", p.next-1, err)
				p.close()
				return
			}
		}
	})
	wg.Go(func() {
		defer close(gaveUp)
		for n := range underWay {
			payload, err := p.to.receive(p.from.pub())
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
	for _, e := range []end{p.from, p.to} {
		if e != nil {
			e.Close()
		}
	}
}
