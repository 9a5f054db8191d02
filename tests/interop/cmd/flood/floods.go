package main

import (
	"encoding/json"
	"fmt"
	"log"
	"os"
	"os/exec"
	"time"

	"ringrelay.test/interop/cmd/flood/load"
)

const (
	workers = 16
	hold    = 16  // 256 silent connections in all: half of what ringrelayd holds before login
	pace    = 500 // packets per second of the live pair, each way
	payload = 1400
)

// microseconds of a round trip
type roundTrip struct {
	P50      float64 `json:"p50_us"`
	P99      float64 `json:"p99_us"`
	HeldBack int     `json:"held_back"`
}

type floodRound struct {
	load.FloodResult
	Rate      float64   `json:"per_second"`
	CPUMillis float64   `json:"server_cpu_ms_each"` // what the live pair costs is taken off
	Busy      float64   `json:"server_busy_percent"`
	RTT       roundTrip `json:"live"`
}

type serverRounds struct {
	Quiet  []roundTrip                `json:"live_without_flood"`
	Floods map[load.Kind][]floodRound `json:"floods"`
}

// runChild floods and prints what came of it. It is a process of its own, at
// the lowest priority: what the live pair waits for shall be the server.
func runChild(o options) error {
	s, err := load.Attach(o.addr, o.dir)
	if err != nil {
		return err
	}
	r, err := load.Flood{Kind: load.Kind(o.child), Workers: workers, Hold: hold}.Run(s.Target(), o.duration)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

func startChild(o options, s *load.Server, kind load.Kind) func() (load.FloodResult, error) {
	self, err := os.Executable()
	if err != nil {
		return func() (load.FloodResult, error) { return load.FloodResult{}, err }
	}
	cmd := exec.Command("nice", "-n", "19", self, "-child", string(kind), "-addr", s.Addr, "-dir", o.dir,
		"-seconds", fmt.Sprint(o.duration.Seconds()))
	cmd.Stderr = os.Stderr
	type output struct {
		text []byte
		err  error
	}
	done := make(chan output, 1)
	go func() {
		text, err := cmd.Output()
		done <- output{text, err}
	}()
	return func() (r load.FloodResult, err error) {
		out := <-done
		if out.err != nil {
			return r, fmt.Errorf("flood of %s: %w", kind, out.err)
		}
		return r, json.Unmarshal(out.text, &r)
	}
}

func compareFloods(o options, both []*load.Server) error {
	results := make([]serverRounds, len(both))
	err := inTurn(o.rounds, both, func(round, which int) error {
		log.Printf("round %d of %d: %s", round+1, o.rounds, both[which].Name)
		return floodOnce(o, both[which], &results[which])
	})
	if err != nil {
		return err
	}
	if o.json {
		return printJSON(map[string]serverRounds{both[0].Name: results[0], both[1].Name: results[1]})
	}
	printFloods(o, results)
	return nil
}

func floodOnce(o options, s *load.Server, res *serverRounds) error {
	live, err := load.NewLive(s.Target(), payload)
	if err != nil {
		return err
	}
	defer live.Close()
	if _, err := live.Run(o.duration/4, pace); err != nil { // to warm up
		return err
	}
	quiet, quietCPU, quietTook, err := talk(s, live, o.duration)
	if err != nil {
		return err
	}
	res.Quiet = append(res.Quiet, quiet)
	if res.Floods == nil {
		res.Floods = make(map[load.Kind][]floodRound)
	}
	for _, kind := range load.Kinds {
		before, err := s.CPU()
		if err != nil {
			return err
		}
		start := time.Now()
		await := startChild(o, s, kind)
		rtt, _, _, err := talk(s, live, o.duration)
		r, childErr := await()
		if err != nil {
			return fmt.Errorf("live pair during %s: %w", kind, err)
		}
		if childErr != nil {
			return childErr
		}
		// The two do not end at the same moment; until both did, it counts.
		after, err := s.CPU()
		if err != nil {
			return err
		}
		took := time.Since(start)
		cpu := after - before - time.Duration(float64(quietCPU)*float64(o.duration)/float64(quietTook))
		res.Floods[kind] = append(res.Floods[kind], floodRound{
			FloodResult: r,
			Rate:        float64(r.Done) / r.Seconds,
			CPUMillis:   cpu.Seconds() * 1000 / float64(r.Done+r.Failed),
			Busy:        100 * (after - before).Seconds() / took.Seconds(),
			RTT:         rtt,
		})
	}
	return nil
}

func talk(s *load.Server, live *load.Live, d time.Duration) (rtt roundTrip, cpu, took time.Duration, err error) {
	before, err := s.CPU()
	if err != nil {
		return
	}
	start := time.Now()
	r, err := live.Run(d, pace)
	if err != nil {
		return
	}
	took = time.Since(start)
	after, err := s.CPU()
	us := func(p float64) float64 { return float64(load.Percentile(r.RTT, p).Nanoseconds()) / 1000 }
	return roundTrip{P50: us(50), P99: us(99), HeldBack: r.HeldBack}, after - before, took, err
}

func printFloods(o options, results []serverRounds) {
	fmt.Printf("medians of %d rounds, %v each; servers on CPU %s; %d connections at a time; live pair: %d packets/s\n\n",
		o.rounds, o.duration, o.cpu, workers, pace)
	const format = "%-34s %12s %12s %14s\n"
	row := func(what string, digits int, ours, theirs float64) {
		cell := func(v float64) string { return fmt.Sprintf("%.*f", digits, v) }
		fmt.Printf(format, what, cell(ours), cell(theirs), fmt.Sprintf("%.2f", ours/theirs))
	}
	fmt.Printf(format, "", "ringrelayd", "derper", "ringrelayd/derper")
	ours, theirs := results[0], results[1]
	p50 := func(r roundTrip) float64 { return r.P50 }
	p99 := func(r roundTrip) float64 { return r.P99 }
	row("no flood: live round trip p50, µs", 0, column(ours.Quiet, p50), column(theirs.Quiet, p50))
	row("          live round trip p99, µs", 0, column(ours.Quiet, p99), column(theirs.Quiet, p99))
	for _, kind := range load.Kinds {
		for _, c := range []struct {
			what   string
			digits int
			f      func(floodRound) float64
		}{
			{"per second", 0, func(r floodRound) float64 { return r.Rate }},
			{"server CPU each, ms", 3, func(r floodRound) float64 { return r.CPUMillis }},
			{"server CPU, %", 0, func(r floodRound) float64 { return r.Busy }},
			{"live round trip p50, µs", 0, func(r floodRound) float64 { return r.RTT.P50 }},
			{"live round trip p99, µs", 0, func(r floodRound) float64 { return r.RTT.P99 }},
		} {
			row(fmt.Sprintf("%s: %s", kind, c.what), c.digits, column(ours.Floods[kind], c.f), column(theirs.Floods[kind], c.f))
		}
		for _, s := range []struct {
			name   string
			rounds []floodRound
		}{{"ringrelayd", ours.Floods[kind]}, {"derper", theirs.Floods[kind]}} {
			for _, r := range s.rounds {
				if r.Failed > 0 {
					fmt.Printf("%s: %s: %d failed, first: %s\n", kind, s.name, r.Failed, r.First)
				}
			}
		}
	}
}
