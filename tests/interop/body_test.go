package interop

import (
	"bytes"
	"io"
	"net/http"
	"testing"
	"time"
)

// TestAnswerToABody: whoever sends a body that nobody wants still gets to read
// the answer. A close with bytes unread would reset the connection first.
func TestAnswerToABody(t *testing.T) {
	oursOnly(t, "it closes at once, and its answer is lost more often than not")
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for i := range 20 {
		resp, err := client.Post("http://"+shared.Addr+"/derp/probe", "text/plain", bytes.NewReader(make([]byte, 60000)))
		if err != nil {
			t.Fatalf("request %d: %v", i, err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusMethodNotAllowed {
			t.Fatalf("request %d: status %d, body %q, %v; want 405", i, resp.StatusCode, body, err)
		}
	}
}
