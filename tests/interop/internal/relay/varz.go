package relay

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Varz reads /debug/varz.
func (s *Server) Varz() (map[string]float64, error) {
	text, err := s.VarzText()
	if err != nil {
		return nil, err
	}
	return ParseVarz(text)
}

// ParseVarz reads metrics: "name{labels}" to value. Comment lines are left out.
func ParseVarz(text string) (map[string]float64, error) {
	values := make(map[string]float64)
	sc := bufio.NewScanner(strings.NewReader(text))
	for sc.Scan() {
		line := sc.Text()
		if line == "" || line[0] == '#' {
			continue
		}
		at := strings.LastIndexByte(line, ' ')
		if at < 0 {
			return nil, fmt.Errorf("varz line without value: %q", line)
		}
		v, err := strconv.ParseFloat(line[at+1:], 64)
		if err != nil {
			return nil, fmt.Errorf("varz line %q: %v", line, err)
		}
		values[line[:at]] = v
	}
	return values, sc.Err()
}

// VarzText is the page as served.
func (s *Server) VarzText() (string, error) {
	resp, err := s.HTTPClient().Get(s.URL("/debug/varz"))
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != 200 {
		err = fmt.Errorf("/debug/varz: %s: %.200s", resp.Status, body)
	}
	return string(body), err
}
