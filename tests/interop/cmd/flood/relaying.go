package main

import (
	"crypto/tls"
	"fmt"
	"log"
	"time"

	"ringrelay.test/interop/cmd/flood/load"
)

const (
	pairs  = 10
	window = 32 // packets under way per pair: what derper queues for one client
)

type relayRound struct {
	Packets   uint64  `json:"packets"` // delivered, every byte verified
	Rate      float64 `json:"per_second"`
	CPUMicros float64 `json:"server_cpu_us_per_packet"`
	Busy      float64 `json:"server_busy_percent"`
}

func compareRelaying(o options, both []*load.Server) error {
	results := make([][]relayRound, len(both))
	err := inTurn(o.rounds, both, func(round, which int) error {
		r, err := relayOnce(o, both[which])
		if err != nil {
			return err
		}
		results[which] = append(results[which], r)
		log.Printf("round %d of %d: %s: %.2f µs", round+1, o.rounds, both[which].Name, r.CPUMicros)
		return nil
	})
	if err != nil {
		return err
	}
	if o.json {
		return printJSON(map[string][]relayRound{both[0].Name: results[0], both[1].Name: results[1]})
	}
	printRelaying(o, results[0], results[1])
	return nil
}

func relayOnce(o options, s *load.Server) (r relayRound, err error) {
	streams, err := load.NewStreams(s.Target(), pairs, window, payload, o.rate, o.tailscale)
	if err != nil {
		return r, err
	}
	defer streams.Close()
	if suite, err := streams.Suite(); err != nil || suite != tls.TLS_AES_128_GCM_SHA256 {
		return r, fmt.Errorf("cipher suite %s (%v), want AES-128-GCM for both", tls.CipherSuiteName(suite), err)
	}
	if _, err := streams.Run(o.duration / 10); err != nil { // to warm up
		return r, err
	}
	before, err := s.CPU()
	if err != nil {
		return r, err
	}
	start := time.Now()
	if r.Packets, err = streams.Run(o.duration); err != nil {
		return r, err
	}
	took := time.Since(start).Seconds()
	after, err := s.CPU()
	cpu := (after - before).Seconds()
	r.Rate = float64(r.Packets) / took
	r.CPUMicros = cpu * 1e6 / float64(r.Packets)
	r.Busy = 100 * cpu / took
	return r, err
}

func printRelaying(o options, ours, theirs []relayRound) {
	fmt.Printf("%d pairs, %d bytes, %d packets under way per pair, %s, AES-128-GCM, %v each; servers on CPU %s\n\n",
		pairs, payload, window, o.clients(), o.duration, o.cpu)
	const format = "%-8s %26s %26s %18s\n"
	const cells = "%8.2f µs %7.0f/s %3.0f %%"
	fmt.Printf(format, "", "ringrelayd: CPU each", "derper: CPU each", "derper/ringrelayd")
	var ratios []float64
	for i := range ours {
		ratios = append(ratios, theirs[i].CPUMicros/ours[i].CPUMicros)
		fmt.Printf(format, fmt.Sprint("round ", i+1),
			fmt.Sprintf(cells, ours[i].CPUMicros, ours[i].Rate, ours[i].Busy),
			fmt.Sprintf(cells, theirs[i].CPUMicros, theirs[i].Rate, theirs[i].Busy),
			fmt.Sprintf("%.2f", ratios[i]))
	}
	median := func(rounds []relayRound) string {
		return fmt.Sprintf(cells, column(rounds, func(r relayRound) float64 { return r.CPUMicros }),
			column(rounds, func(r relayRound) float64 { return r.Rate }),
			column(rounds, func(r relayRound) float64 { return r.Busy }))
	}
	fmt.Printf(format, "median", median(ours), median(theirs), fmt.Sprintf("%.2f", load.Median(ratios)))
	fmt.Println("\n% is how busy the server kept its CPU. Far below 100, the load is what limits the rate.")
	fmt.Println("Smoke, not a benchmark: two cores, perhaps shared with strangers, and clients that wait for credit.")
}
