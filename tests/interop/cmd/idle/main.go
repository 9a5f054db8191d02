// Idle measures what idle connections cost ringrelayd and derper: memory, and
// processor time while nothing happens. perf/idle builds and runs it.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"sync"
	"time"

	"ringrelay.test/interop/cmd/flood/load"
	"ringrelay.test/interop/internal/relay"
)

const (
	atATime  = 8   // logins
	warmUp   = 600 // of them before anything is measured
	settling = 2 * time.Second
	deadline = 60 * time.Second
	gauge    = "derp_current_connections"
)

type options struct {
	connections int
	idle        time.Duration
	limit       float64
	json        bool
	dir         string
}

// Result is one server's.
type Result struct {
	Connections   int         `json:"connections"`
	Start         load.Memory `json:"at_start"`
	Before        load.Memory `json:"after_warm_up"`
	With          load.Memory `json:"with_connections"`
	After         load.Memory `json:"after_closing"`
	EachRSS       float64     `json:"rss_kib_each"`
	EachAnon      float64     `json:"pss_anon_kib_each"`
	EachFromStart float64     `json:"rss_kib_each_since_start"` // one-time costs included
	IdleSeconds   float64     `json:"idle_seconds"`
	IdleCPUMillis float64     `json:"idle_cpu_ms"`
	LoginCPU      float64     `json:"cpu_ms_per_login"`
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("idle: ")
	var o options
	ringrelayd := flag.String("ringrelayd", "", "path of ringrelayd")
	derper := flag.String("derper", "", "path of derper")
	flag.IntVar(&o.connections, "n", 2000, "idle connections")
	flag.DurationVar(&o.idle, "idle", 20*time.Second, "how long to watch the processor time")
	flag.Float64Var(&o.limit, "limit", 8, "most KiB of RSS per connection of ringrelayd")
	flag.BoolVar(&o.json, "json", false, "print JSON")
	flag.Parse()
	ok, err := run(o, *ringrelayd, *derper)
	if err != nil {
		log.Fatal(err)
	}
	if !ok {
		os.Exit(1)
	}
}

func run(o options, ringrelayd, derper string) (bool, error) {
	if ringrelayd == "" || derper == "" || o.connections < 1 {
		return false, errors.New("-ringrelayd and -derper are needed, and a connection")
	}
	var err error
	if o.dir, err = os.MkdirTemp("", "idle"); err != nil {
		return false, err
	}
	defer os.RemoveAll(o.dir)
	ours, err := measure(o, relay.Ringrelay, ringrelayd)
	if err != nil {
		return false, err
	}
	theirs, err := measure(o, relay.Derper, derper)
	if err != nil {
		return false, err
	}
	if o.json {
		text, err := json.MarshalIndent(map[string]Result{"ringrelayd": ours, "derper": theirs}, "", "  ")
		if err != nil {
			return false, err
		}
		fmt.Println(string(text))
	} else {
		show(o, ours, theirs)
	}
	if ours.EachRSS > o.limit {
		log.Printf("ringrelayd takes %.2f KiB of RSS per connection, more than %.2f", ours.EachRSS, o.limit)
		return false, nil
	}
	return true, nil
}

func measure(o options, kind relay.Kind, path string) (r Result, err error) {
	s, err := load.StartServer(kind, path, "", o.dir)
	if err != nil {
		return r, err
	}
	defer func() {
		if stopErr := s.Stop(); err == nil {
			err = stopErr
		}
		if err != nil {
			err = fmt.Errorf("%s: %w", s.Name, err)
		}
	}()
	log.Printf("%s: warming up", s.Name)
	r.Connections = o.connections
	if r.Start, err = settled(s, 0); err != nil {
		return r, err
	}
	if err := warm(s); err != nil {
		return r, err
	}
	if r.Before, err = settled(s, 0); err != nil {
		return r, err
	}

	log.Printf("%s: %d connections", s.Name, o.connections)
	cpu, err := s.CPU()
	if err != nil {
		return r, err
	}
	peers, err := logins(s, o.connections, true)
	defer func() { closeAll(peers) }()
	if err != nil {
		return r, err
	}
	loggedIn, err := s.CPU()
	if err != nil {
		return r, err
	}
	r.LoginCPU = (loggedIn - cpu).Seconds() * 1000 / float64(o.connections)
	if r.With, err = settled(s, o.connections); err != nil {
		return r, err
	}
	if r.IdleSeconds, r.IdleCPUMillis, err = watch(s, o.idle); err != nil {
		return r, err
	}
	// All of them were there all the time, or the figures are of fewer.
	if err := connected(s, o.connections); err != nil {
		return r, err
	}

	closeAll(peers)
	peers = nil
	if r.After, err = settled(s, 0); err != nil {
		return r, err
	}
	each := func(with, without int) float64 { return float64(with-without) / float64(o.connections) }
	r.EachRSS = each(r.With.RSS, r.Before.RSS)
	r.EachAnon = each(r.With.Anon, r.Before.Anon)
	r.EachFromStart = each(r.With.RSS, r.Start.RSS)
	return r, nil
}

// warm touches what logins need once: buffers before login, code, heaps. No
// more than atATime are there at one time, so that memory of connections that
// stay is not touched ahead of them.
func warm(s *load.Server) error {
	_, err := logins(s, warmUp, false)
	return err
}

// logins makes n of them, atATime in parallel, and keeps them or closes each.
func logins(s *load.Server, n int, keep bool) ([]*load.Peer, error) {
	var mu sync.Mutex
	var peers []*load.Peer
	var first error
	var wg sync.WaitGroup
	left := make(chan struct{}, n)
	for range n {
		left <- struct{}{}
	}
	close(left)
	target := s.Target()
	for range atATime {
		wg.Go(func() {
			for range left {
				p, err := target.Login()
				mu.Lock()
				switch {
				case err != nil:
					first = errors.Join(first, err)
				case keep:
					peers = append(peers, p)
				default:
					p.Close()
				}
				stop := first != nil
				mu.Unlock()
				if stop {
					return
				}
			}
		})
	}
	wg.Wait()
	return peers, first
}

func closeAll(peers []*load.Peer) {
	for _, p := range peers {
		p.Close()
	}
}

func connected(s *load.Server, want int) error {
	values, err := s.Varz()
	if err == nil && values[gauge] != float64(want) {
		err = fmt.Errorf("%s is %v, want %d", gauge, values[gauge], want)
	}
	return err
}

// settled waits until the server knows of that many clients, and a moment
// longer for what it does behind that, and asks for its memory.
func settled(s *load.Server, clients int) (load.Memory, error) {
	end := time.Now().Add(deadline)
	for {
		err := connected(s, clients)
		if err == nil {
			break
		}
		if time.Now().After(end) {
			return load.Memory{}, err
		}
		time.Sleep(50 * time.Millisecond)
	}
	time.Sleep(settling)
	return s.Memory()
}

func watch(s *load.Server, d time.Duration) (seconds, cpuMillis float64, err error) {
	before, err := s.CPU()
	if err != nil {
		return 0, 0, err
	}
	start := time.Now()
	time.Sleep(d)
	after, err := s.CPU()
	return time.Since(start).Seconds(), (after - before).Seconds() * 1000, err
}

func show(o options, ours, theirs Result) {
	fmt.Printf("%d idle TLS connections, after %d short logins to warm up, %d at a time\n\n", o.connections, warmUp, atATime)
	const format = "%-44s %12s %12s\n"
	fmt.Printf(format, "", "ringrelayd", "derper")
	whole := func(what string, f func(Result) int) {
		fmt.Printf(format, what, fmt.Sprint(f(ours)), fmt.Sprint(f(theirs)))
	}
	part := func(what string, f func(Result) float64) {
		fmt.Printf(format, what, fmt.Sprintf("%.2f", f(ours)), fmt.Sprintf("%.2f", f(theirs)))
	}
	for _, m := range []struct {
		what string
		f    func(Result) load.Memory
	}{
		{"at the start", func(r Result) load.Memory { return r.Start }},
		{"warmed up, no connection", func(r Result) load.Memory { return r.Before }},
		{"with them", func(r Result) load.Memory { return r.With }},
		{"after closing them", func(r Result) load.Memory { return r.After }},
	} {
		whole("RSS, KiB: "+m.what, func(r Result) int { return m.f(r).RSS })
	}
	whole("Pss_Anon, KiB: warmed up, no connection", func(r Result) int { return r.Before.Anon })
	whole("Pss_Anon, KiB: with them", func(r Result) int { return r.With.Anon })
	part("RSS per connection, KiB", func(r Result) float64 { return r.EachRSS })
	part("Pss_Anon per connection, KiB", func(r Result) float64 { return r.EachAnon })
	part("RSS per connection with one-time costs, KiB", func(r Result) float64 { return r.EachFromStart })
	part("CPU per login, ms", func(r Result) float64 { return r.LoginCPU })
	part("CPU while idle, ms per second", func(r Result) float64 { return r.IdleCPUMillis / r.IdleSeconds })
	fmt.Println("\nWhat the kernel keeps per socket is in neither.")
}
