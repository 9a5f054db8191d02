package interop

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"os"
	"reflect"
	"regexp"
	"testing"
	"time"

	"go4.org/mem"
	"tailscale.com/disco"
	"tailscale.com/net/packet"
	"tailscale.com/types/key"
)

var (
	discoVector = regexp.MustCompile(`#define DISCO_VECTOR_(\w+)((?:[^\n]*\\\n)*[^\n]*)`)
	discoDigits = regexp.MustCompile(`"([0-9a-f]*)"`)
)

// loadDiscoVectors reads the C header that the unit tests include.
func loadDiscoVectors(t *testing.T) map[string][]byte {
	t.Helper()
	text, err := os.ReadFile(goldenDir + "/disco_vectors.h")
	if err != nil {
		t.Fatal(err)
	}
	vectors := map[string][]byte{}
	for _, m := range discoVector.FindAllSubmatch(text, -1) {
		var digits []byte
		for _, part := range discoDigits.FindAllSubmatch(m[2], -1) {
			digits = append(digits, part[1]...)
		}
		b, err := hex.DecodeString(string(digits))
		if err != nil || len(b) == 0 {
			t.Fatalf("%s: %q: %v", m[1], digits, err)
		}
		vectors[string(m[1])] = b
	}
	return vectors
}

// TestDiscoVectors holds Tailscale's packages against tests/golden/disco_vectors.h, as tests/unit/test_disco.c does
// with ours. It needs no server. Boxes are compared by opening them: the nonce is theirs, and all else follows.
func TestDiscoVectors(t *testing.T) {
	vectors := loadDiscoVectors(t)
	private := func(seed byte) key.DiscoPrivate {
		return key.DiscoPrivateFromRaw32(mem.B(bytes.Repeat([]byte{seed}, 32)))
	}
	s, a, b := private(0x11), private(0x22), private(0x33)
	compared := 0
	compare := func(name string, got []byte) {
		t.Helper()
		compared++
		if !bytes.Equal(got, vectors[name]) {
			t.Errorf("%s:\ngot  %x\nwant %x", name, got, vectors[name])
		}
	}
	compare("S_PUBLIC", s.Public().AppendTo(nil))
	compare("A_PUBLIC", a.Public().AppendTo(nil))
	compare("B_PUBLIC", b.Public().AppendTo(nil))

	bind := disco.BindUDPRelayEndpointCommon{VNI: 0x010203, Generation: 7, RemoteKey: b.Public()}
	answer := bind
	copy(answer.Challenge[:], vectors["CHALLENGE_MAC"])
	compare("BIND_PLAIN", (&disco.BindUDPRelayEndpoint{BindUDPRelayEndpointCommon: bind}).AppendMarshal(nil))
	endpoint := disco.UDPRelayEndpoint{
		ServerDisco:         s.Public(),
		ClientDisco:         key.NewSortedPairOfDiscoPublic(b.Public(), a.Public()).Get(),
		LamportID:           1,
		VNI:                 0x010203,
		BindLifetime:        30 * time.Second,
		SteadyStateLifetime: 5 * time.Minute,
		AddrPorts:           []netip.AddrPort{netip.MustParseAddrPort("192.0.2.9:3478")},
	}
	request := &disco.AllocateUDPRelayEndpointRequest{ClientDisco: endpoint.ClientDisco, Generation: 9}
	response := &disco.AllocateUDPRelayEndpointResponse{Generation: 9, UDPRelayEndpoint: endpoint}
	compare("REQUEST_PLAIN", request.AppendMarshal(nil))
	compare("RESPONSE_PLAIN", response.AppendMarshal(nil))
	compare("VIA_PLAIN", (&disco.CallMeMaybeVia{UDPRelayEndpoint: endpoint}).AppendMarshal(nil))

	nonce := make([]byte, disco.NonceLen)
	for i := range nonce {
		nonce[i] = byte(i)
	}
	ping := &disco.Ping{
		TxID:    [12]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12},
		NodeKey: key.NodePublicFromRaw32(mem.B(bytes.Repeat([]byte{0x55}, 32))),
	}
	pong := &disco.Pong{TxID: ping.TxID, Src: netip.MustParseAddrPort("192.0.2.1:41641")}
	for _, d := range []struct {
		name     string
		control  bool
		from, to key.DiscoPrivate
		message  disco.Message
	}{
		{"BIND", true, a, s, &disco.BindUDPRelayEndpoint{BindUDPRelayEndpointCommon: bind}},
		{"CHALLENGE", true, s, a, &disco.BindUDPRelayEndpointChallenge{BindUDPRelayEndpointCommon: answer}},
		{"ANSWER", true, a, s, &disco.BindUDPRelayEndpointAnswer{BindUDPRelayEndpointCommon: answer}},
		{"PING", false, a, b, ping},
		{"PONG", false, b, a, pong},
	} {
		header := packet.GeneveHeader{Protocol: packet.GeneveProtocolDisco, Control: d.control}
		header.VNI.Set(0x010203)
		head := make([]byte, packet.GeneveFixedHeaderLength)
		if err := header.Encode(head); err != nil {
			t.Fatal(err)
		}
		head = append(append(head, disco.Magic...), d.from.Public().AppendTo(nil)...)
		want := vectors[d.name]
		if len(want) < len(head) {
			t.Fatalf("%s: %d bytes", d.name, len(want))
		}
		plain, ok := d.to.Shared(d.from.Public()).Open(want[len(head):])
		if !ok {
			t.Errorf("%s does not open", d.name)
			continue
		}
		compare(d.name, append(append(head, nonce...), want[len(head)+len(nonce):]...))
		if due := d.message.AppendMarshal(nil); !bytes.Equal(plain, due) {
			t.Errorf("%s, inside:\ngot  %x\nwant %x", d.name, plain, due)
		}
		if parsed, err := disco.Parse(plain); err != nil || !reflect.DeepEqual(parsed, d.message) {
			t.Errorf("%s: parsed as %+v, %v", d.name, parsed, err)
		}
	}
	// Not among them: the shared keys, which Go keeps to itself, and the challenge, which is inside two of them.
	if compared != len(vectors)-4 {
		t.Errorf("%d vectors compared of %d", compared, len(vectors))
	}
}
