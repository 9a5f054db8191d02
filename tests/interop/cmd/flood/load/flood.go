package load

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"time"
)

// Kind is what a flood does.
type Kind string

const (
	Handshakes Kind = "handshakes" // full TLS handshake, then close
	Silent     Kind = "silent"     // ClientHello, the answer's first byte, then nothing; Hold of them stay open
	Garbage    Kind = "garbage"    // 64 bytes that are neither TLS nor HTTP, until the server hangs up
)

// Kinds are all of them.
var Kinds = []Kind{Handshakes, Silent, Garbage}

// Flood is what to do, with how many at a time.
type Flood struct {
	Kind    Kind
	Workers int
	Hold    int // Silent: connections that each worker keeps open
}

// FloodResult counts connections.
type FloodResult struct {
	Done    int     `json:"done"`
	Failed  int     `json:"failed"` // did not get as far as the kind says
	Seconds float64 `json:"seconds"`
	First   string  `json:"first_failure,omitempty"`
}

// Run floods for d.
func (f Flood) Run(t Target, d time.Duration) (FloodResult, error) {
	hello, err := clientHello(t.TLS)
	if err != nil {
		return FloodResult{}, err
	}
	var mu sync.Mutex
	var sum FloodResult
	var wg sync.WaitGroup
	start := time.Now()
	for range f.Workers {
		wg.Go(func() {
			w := floodWorker{Flood: f, target: t, hello: hello}
			defer w.closeAll()
			var done, failed int
			var first error
			for time.Since(start) < d {
				if err := w.once(); err == nil {
					done++
				} else if failed++; first == nil {
					first = err
				}
			}
			mu.Lock()
			defer mu.Unlock()
			sum.Done += done
			sum.Failed += failed
			if first != nil && sum.First == "" {
				sum.First = first.Error()
			}
		})
	}
	wg.Wait()
	sum.Seconds = time.Since(start).Seconds()
	return sum, nil
}

type floodWorker struct {
	Flood
	target Target
	hello  []byte
	held   []net.Conn // oldest first
}

func (w *floodWorker) closeAll() {
	for _, nc := range w.held {
		nc.Close()
	}
}

func (w *floodWorker) once() error {
	if w.Kind == Handshakes {
		c, err := w.target.Handshake()
		if err != nil {
			return err
		}
		c.Close() // what it says of bytes unread is of no interest
		return nil
	}
	nc, err := net.DialTimeout("tcp", w.target.Addr, Wait)
	if err != nil {
		return err
	}
	nc.SetDeadline(time.Now().Add(Wait))
	switch w.Kind {
	case Silent:
		err = w.silent(nc)
	case Garbage:
		err = garbage(nc)
		nc.Close()
	default:
		nc.Close()
		err = fmt.Errorf("no such flood: %q", w.Kind)
	}
	return err
}

func (w *floodWorker) silent(nc net.Conn) error {
	_, err := nc.Write(w.hello)
	if err == nil {
		_, err = io.ReadFull(nc, make([]byte, 1))
	}
	if err != nil {
		nc.Close()
		return fmt.Errorf("ClientHello: %w", err)
	}
	w.held = append(w.held, nc)
	if len(w.held) > w.Hold {
		w.held[0].Close()
		w.held = w.held[1:]
	}
	return nil
}

// garbage succeeds when the server hangs up, whatever it says before.
func garbage(nc net.Conn) error {
	b := make([]byte, 64)
	for i := 0; i < len(b); i += 8 {
		binary.BigEndian.PutUint64(b[i:], rand.Uint64())
	}
	b[0] |= 0x80 // neither a type of record nor a letter
	if _, err := nc.Write(b); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, nc)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("garbage: %w", err)
	}
	return nil // closed, or reset since the server left bytes unread
}

// clientHello is the first record a client sends.
func clientHello(config *tls.Config) ([]byte, error) {
	ours, theirs := net.Pipe()
	defer ours.Close()
	go tls.Client(theirs, config).Handshake() // ends when the pipe does
	ours.SetReadDeadline(time.Now().Add(Wait))
	record := make([]byte, 5)
	if _, err := io.ReadFull(ours, record); err != nil {
		return nil, err
	}
	record = append(record, make([]byte, binary.BigEndian.Uint16(record[3:]))...)
	_, err := io.ReadFull(ours, record[5:])
	return record, err
}
