package main

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"

	"tailscale.com/net/udprelay"
	"tailscale.com/types/key"
)

// allocate answers with an endpoint for two disco keys, by the rules that
// tailscaled had when it took such requests: 400, 500, and 503 with
// Retry-After. Whoever asks may.
func allocate(relay *udprelay.Server, w http.ResponseWriter, r *http.Request) {
	var request struct{ DiscoKeys []key.DiscoPublic }
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, requestSize))
	if err == nil {
		err = json.Unmarshal(body, &request)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if len(request.DiscoKeys) != 2 {
		http.Error(w, "DiscoKeys are two", http.StatusBadRequest)
		return
	}
	endpoint, err := relay.AllocateEndpoint(request.DiscoKeys[0], request.DiscoKeys[1])
	var notReady udprelay.ErrServerNotReady
	if errors.As(err, &notReady) {
		w.Header().Set("Retry-After", strconv.Itoa(int(notReady.RetryAfter.Seconds())))
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(&endpoint)
}
