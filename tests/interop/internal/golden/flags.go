package golden

import (
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Flag is one flag of a program as its -h shows it.
type Flag struct {
	Name    string
	IsBool  bool
	Default string // "" for none, or false; durations as Go writes them
}

// String is a line of derper-flags.txt.
func (f Flag) String() string {
	kind := "value"
	if f.IsBool {
		kind = "bool"
	}
	return strings.TrimSpace(fmt.Sprintf("-%s %s %s", f.Name, kind, f.Default))
}

var (
	flagLine    = regexp.MustCompile(`^  -(\S+)( [^\s].*)?$`)
	flagDefault = regexp.MustCompile(`\(default (.*)\)$`)
)

// Flags asks a program for its flags, in the order of its -h. The home folder
// in defaults is that of a user who does not exist.
func Flags(program string) ([]Flag, error) {
	cmd := exec.Command(program, "-h")
	cmd.Env = []string{"HOME=/home/golden"}
	usage, err := cmd.CombinedOutput()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		return nil, err
	}
	var flags []Flag
	for line := range strings.Lines(string(usage)) {
		line = strings.TrimRight(line, "\n")
		if m := flagLine.FindStringSubmatch(line); m != nil {
			flags = append(flags, Flag{Name: m[1], IsBool: m[2] == ""})
		} else if m := flagDefault.FindStringSubmatch(line); m != nil && len(flags) > 0 {
			flags[len(flags)-1].Default = normalDefault(m[1])
		}
	}
	if len(flags) == 0 {
		return nil, fmt.Errorf("%s -h shows no flags:\n%s", program, usage)
	}
	return flags, nil
}

func normalDefault(text string) string {
	if plain, err := strconv.Unquote(text); err == nil {
		return plain
	}
	if d, err := time.ParseDuration(text); err == nil && text != "0" {
		return d.String()
	}
	return text
}

// FlagLines are the lines of derper-flags.txt, sorted.
func FlagLines(flags []Flag) []byte {
	var lines []string
	for _, f := range flags {
		lines = append(lines, f.String())
	}
	return joinSorted(lines)
}
