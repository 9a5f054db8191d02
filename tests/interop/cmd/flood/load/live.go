package load

import (
	"errors"
	"fmt"
	"time"
)

const liveWindow = 16 // below the 32 packets that derper queues for one client

// Live is a pair of clients: a sends, b sends back, both verify every byte.
// It keeps a pace instead of sending when an answer came, so that a slow
// moment is seen as often as it lasts, and holds back only at liveWindow
// packets under way, from where on a server may drop.
type Live struct {
	a, b *Peer
	packets
	next uint64 // number of the next packet
}

// LiveResult is one run of a Live.
type LiveResult struct {
	Packets  int
	HeldBack int // waited for the window; the waiting is in their round trip
	RTT      []time.Duration
}

// NewLive logs both in.
func NewLive(t Target, size int) (*Live, error) {
	a, err := t.Login()
	if err != nil {
		return nil, err
	}
	b, err := t.Login()
	if err != nil {
		a.Close()
		return nil, err
	}
	return &Live{a: a, b: b, packets: packets{size}}, nil
}

func (l *Live) Close() {
	l.a.Close()
	l.b.Close()
}

// Run sends for d, perSecond packets each second, and returns once the last of
// them came back. After an error the pair is of no use any more.
func (l *Live) Run(d time.Duration, perSecond int) (LiveResult, error) {
	count := int(d.Seconds() * float64(perSecond))
	deadline := time.Now().Add(d + Wait)
	l.a.SetDeadline(deadline)
	l.b.SetDeadline(deadline)
	res := LiveResult{Packets: count, RTT: make([]time.Duration, 0, count)}
	var due [liveWindow]time.Time
	window := make(chan struct{}, liveWindow) // orders the uses of due as well

	errs := make(chan error, 3)
	part := func(what string, f func() error) {
		go func() {
			err := f()
			if err != nil {
				err = fmt.Errorf("%s: %w", what, err)
				l.Close() // ends the others
			}
			errs <- err
		}()
	}
	part("sending", func() error {
		frame := l.frame(l.b.Pub)
		start := time.Now()
		for i := range count {
			time.Sleep(time.Until(start.Add(time.Duration(i) * time.Second / time.Duration(perSecond))))
			now := time.Now()
			select {
			case window <- struct{}{}:
			default:
				res.HeldBack++
				select {
				case window <- struct{}{}:
				case <-time.After(time.Until(deadline)):
					return errors.New("nothing came back any more")
				}
			}
			due[i%liveWindow] = now
			l.fill(frame, l.next+uint64(i))
			if _, err := l.a.Write(frame); err != nil {
				return err
			}
		}
		return nil
	})
	part("sending back", func() error {
		frame := l.frame(l.a.Pub)
		for i := range count {
			payload, err := l.b.receive(l.a.Pub)
			if err == nil {
				err = l.verify(payload, l.next+uint64(i))
			}
			if err == nil {
				l.fill(frame, l.next+uint64(i))
				_, err = l.b.Write(frame)
			}
			if err != nil {
				return fmt.Errorf("packet %d of %d: %w", i, count, err)
			}
		}
		return nil
	})
	part("receiving", func() error {
		for i := range count {
			payload, err := l.a.receive(l.b.Pub)
			if err == nil {
				err = l.verify(payload, l.next+uint64(i))
			}
			if err != nil {
				return fmt.Errorf("packet %d of %d: %w", i, count, err)
			}
			res.RTT = append(res.RTT, time.Since(due[i%liveWindow]))
			<-window
		}
		return nil
	})
	var first error
	for range 3 {
		if err := <-errs; first == nil {
			first = err
		}
	}
	l.next += uint64(count)
	return res, first
}
