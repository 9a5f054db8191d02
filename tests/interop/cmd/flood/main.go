// Flood compares ringrelayd and derper on one machine: handshakes and what
// they cost a pair of clients that talks meanwhile, or (-what relay-cost) the
// processor time of relaying. perf/flood and perf/relay-cost build and run it.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"time"

	"ringrelay.test/interop/cmd/flood/load"
	"ringrelay.test/interop/internal/relay"
)

type options struct {
	what, ringrelayd, derper, cpu string
	rounds, rate                  int
	duration                      time.Duration
	json, tailscale               bool

	child, addr, dir string // a flood of this kind, for the process that measures
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("flood: ")
	var o options
	flag.StringVar(&o.what, "what", "flood", "flood or relay-cost")
	flag.StringVar(&o.ringrelayd, "ringrelayd", "", "path of ringrelayd")
	flag.StringVar(&o.derper, "derper", "", "path of derper")
	flag.StringVar(&o.cpu, "server-cpu", "0", "CPU for the servers; this process is where its caller put it")
	flag.IntVar(&o.rounds, "rounds", 5, "rounds")
	flag.IntVar(&o.rate, "rate", 0, "relay-cost: packets per second in all; 0: as fast as they go")
	flag.BoolVar(&o.tailscale, "derphttp", false, "relay-cost: Tailscale's own clients instead of raw frames")
	seconds := flag.Float64("seconds", 3, "seconds of each measurement")
	flag.BoolVar(&o.json, "json", false, "print JSON")
	flag.StringVar(&o.child, "child", "", "for itself")
	flag.StringVar(&o.addr, "addr", "", "for itself")
	flag.StringVar(&o.dir, "dir", "", "for itself")
	flag.Parse()
	o.duration = time.Duration(*seconds * float64(time.Second))
	if err := run(o); err != nil {
		log.Fatal(err)
	}
}

func (o options) clients() string {
	if o.tailscale {
		return "Tailscale's derphttp clients"
	}
	return "raw frames"
}

func run(o options) error {
	if o.child != "" {
		return runChild(o)
	}
	if o.ringrelayd == "" || o.derper == "" || o.rounds < 1 || o.duration <= 0 {
		return errors.New("-ringrelayd and -derper are needed, and something to do")
	}
	if average, err := os.ReadFile("/proc/loadavg"); err == nil {
		log.Printf("load average before: %s", average[:bytes.IndexByte(average, ' ')])
	}
	var err error
	if o.dir, err = os.MkdirTemp("", "flood"); err != nil {
		return err
	}
	defer os.RemoveAll(o.dir)
	var both []*load.Server
	defer func() {
		for _, s := range both {
			if err := s.Stop(); err != nil {
				log.Print(err)
			}
		}
	}()
	for _, p := range []struct {
		kind relay.Kind
		path string
	}{{relay.Ringrelay, o.ringrelayd}, {relay.Derper, o.derper}} {
		s, err := load.StartServer(p.kind, p.path, o.cpu, o.dir)
		if err != nil {
			return err
		}
		both = append(both, s)
	}
	switch o.what {
	case "flood":
		return compareFloods(o, both)
	case "relay-cost":
		return compareRelaying(o, both)
	}
	return fmt.Errorf("-what %s: flood or relay-cost", o.what)
}

// inTurn calls f for both servers in each round, every other round in the
// other order: what the machine does by itself shall hit both.
func inTurn(rounds int, both []*load.Server, f func(round, which int) error) error {
	for round := range rounds {
		for i := range both {
			which := i
			if round%2 == 1 {
				which = len(both) - 1 - i
			}
			if err := f(round, which); err != nil {
				return fmt.Errorf("round %d, %s: %w; its log ends with:\n%s", round+1, both[which].Name, err, tail(both[which].Log()))
			}
		}
	}
	return nil
}

func tail(text string) string { return text[max(0, len(text)-2000):] }

func printJSON(v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err == nil {
		fmt.Println(string(text))
	}
	return err
}

// column is the median over all rounds.
func column[T any](rounds []T, f func(T) float64) float64 {
	var all []float64
	for _, r := range rounds {
		all = append(all, f(r))
	}
	return load.Median(all)
}
