package interop

import (
	"fmt"
	"strings"
	"testing"

	"ringrelay.test/interop/internal/wire"
	"tailscale.com/derp"
	"tailscale.com/types/key"
)

var (
	hex64 = strings.Repeat("0123456789abcdef", 4)
	zero  = strings.Repeat("0", 64)
)

// accepted JSON documents: the corners of the reference's parser.
var accepted = map[string]string{
	"empty object":           `{}`,
	"null":                   `null`,
	"spaces around":          " \t\r\n{ } \n\t\r ",
	"plain":                  wire.DefaultInfo,
	"capitals":               `{"Version":2,"CANACKPINGS":true,"isprober":true}`,
	"version zero":           `{"version":0}`,
	"version negative":       `{"version":-1}`,
	"version of the future":  `{"version":99}`,
	"version null":           `{"version":null}`,
	"version largest":        `{"version":9223372036854775807}`,
	"CanAckPings null":       `{"CanAckPings":null}`,
	"IsProber":               `{"IsProber":true}`,
	"duplicate keys":         `{"version":1,"version":2}`,
	"duplicate, other case":  `{"version":1,"Version":2,"VERSION":3}`,
	"unknown members":        `{"x":{"y":[1,2.5e3,null,true,{"z":"\u00e9\ud83d\ude00"}]},"":0}`,
	"unknown, huge number":   `{"x":1e999}`,
	"unknown, deep":          `{"x":` + strings.Repeat("[", 500) + strings.Repeat("]", 500) + `}`,
	"invalid UTF-8 in value": "{\"x\":\"\xff\xfe\xc0\x80\"}",
	"invalid UTF-8 in name":  "{\"\xff\":1}",
	"lone surrogate":         `{"x":"\ud83d"}`,
	"escaped NUL":            `{"x":"\u0000","y\u0000z":1}`,
	"escaped name":           `{"\u0076ersion":2}`,
	"wrong mesh key":         `{"meshKey":"` + hex64 + `"}`,
	"mesh key in capitals":   `{"MeshKey":"` + strings.ToUpper(hex64) + `"}`,
	"zero mesh key":          `{"meshKey":"` + zero + `"}`,
	"AppName":                `{"AppName":"some app/1.0"}`,
	"AppName empty":          `{"AppName":""}`,
	"AppName longest":        `{"AppName":"` + strings.Repeat("~", derp.MaxAppNameLen) + `"}`,
}

var rejected = map[string]string{
	"empty":                  ``,
	"spaces only":            ` `,
	"array":                  `[]`,
	"string":                 `"{}"`,
	"number":                 `2`,
	"true":                   `true`,
	"open object":            `{`,
	"trailing comma":         `{"version":2,}`,
	"single quotes":          `{'version':2}`,
	"comment":                `{}/**/`,
	"byte order mark":        "\ufeff{}",
	"trailing text":          `{} x`,
	"two objects":            `{}{}`,
	"trailing NUL":           "{}\x00",
	"raw newline in string":  "{\"x\":\"\n\"}",
	"bad escape":             `{"x":"\q"}`,
	"leading zero":           `{"version":02}`,
	"plus sign":              `{"version":+2}`,
	"version string":         `{"version":"2"}`,
	"version fraction":       `{"version":2.0}`,
	"version exponent":       `{"version":2e0}`,
	"version overflow":       `{"version":99999999999999999999}`,
	"version bool":           `{"version":true}`,
	"CanAckPings number":     `{"CanAckPings":1}`,
	"IsProber number":        `{"IsProber":1}`,
	"IsProber, other case":   `{"ISPROBER":"yes"}`,
	"first duplicate wrong":  `{"version":"2","version":2}`,
	"mesh key null":          `{"meshKey":null}`,
	"mesh key empty":         `{"meshKey":""}`,
	"mesh key number":        `{"meshKey":5}`,
	"mesh key short":         `{"meshKey":"` + hex64[1:] + `"}`,
	"mesh key long":          `{"meshKey":"` + hex64 + `0"}`,
	"mesh key not hex":       `{"meshKey":"` + hex64[1:] + `g"}`,
	"mesh key, other case":   `{"MESHKEY":""}`,
	"AppName number":         `{"AppName":5}`,
	"AppName too long":       `{"AppName":"` + strings.Repeat("a", derp.MaxAppNameLen+1) + `"}`,
	"AppName with control":   `{"AppName":"a\tb"}`,
	"AppName not ASCII":      `{"AppName":"é"}`,
	"unknown, bad content":   `{"x":nul}`,
	"unknown, bad nesting":   `{"x":[}]}`,
	"unknown, bad number":    `{"x":1.}`,
	"unterminated string":    `{"x":"`,
	"nesting beyond parsers": `{"x":` + strings.Repeat("[", 10001) + strings.Repeat("]", 10001) + `}`,
}

func TestClientInfoJSON(t *testing.T) {
	for name, json := range accepted {
		t.Run("accepted/"+name, func(t *testing.T) {
			p := fastStart(t, shared)
			p.mustSend(t, p.clientInfo(json))
			p.awaitServerInfo(t)
			p.mustLive(t)
		})
	}
	for name, json := range rejected {
		t.Run("rejected/"+name, func(t *testing.T) {
			p := fastStart(t, shared)
			p.mustSend(t, p.clientInfo(json))
			p.mustClose(t)
		})
	}
}

// infoOfFrameSize is a ClientInfo whose frame is exactly n bytes long.
func infoOfFrameSize(p *rawPeer, n int) []byte {
	const fixed = wire.KeyLen + derp.NonceLen + wire.BoxOverhead
	head, tail := `{"version":2,"padding":"`, `"}`
	pad := n - fixed - len(head) - len(tail)
	return p.clientInfo(head + strings.Repeat("x", pad) + tail)
}

func TestClientInfoSize(t *testing.T) {
	const most = 256 << 10
	p := fastStart(t, shared)
	p.mustSend(t, infoOfFrameSize(p, most))
	p.awaitServerInfo(t)
	p.mustLive(t)

	p = fastStart(t, shared)
	p.trySend(infoOfFrameSize(p, most+1))
	p.mustClose(t)

	for _, n := range []uint32{most + 1, 0xffffffff} {
		p = fastStart(t, shared)
		p.trySend(wire.Header(derp.FrameClientInfo, n)) // the header is enough
		p.mustClose(t)
	}
}

func TestBadFirstFrame(t *testing.T) {
	good := func(p *rawPeer) []byte { return p.clientInfo(wire.DefaultInfo) }
	retyped := func(typ derp.FrameType) func(*rawPeer) []byte {
		return func(p *rawPeer) []byte {
			b := good(p)
			b[0] = byte(typ)
			return b
		}
	}
	flipped := func(at int) func(*rawPeer) []byte {
		return func(p *rawPeer) []byte {
			b := good(p)
			b[at] ^= 1
			return b
		}
	}
	body := func(n int) func(*rawPeer) []byte {
		return func(p *rawPeer) []byte { return wire.Encode(derp.FrameClientInfo, pattern(n, 8)) }
	}
	cases := map[string]func(*rawPeer) []byte{
		"other key":       flipped(wire.HeaderLen),
		"other nonce":     flipped(wire.HeaderLen + wire.KeyLen),
		"other tag":       flipped(wire.HeaderLen + wire.KeyLen + derp.NonceLen),
		"other text":      flipped(wire.HeaderLen + wire.KeyLen + derp.NonceLen + wire.BoxOverhead),
		"body of 0":       body(0),
		"body of 55":      body(55),
		"body of 56":      body(56),
		"body of 71":      body(71),
		"body of 72":      body(72),
		"Ping first":      func(*rawPeer) []byte { return wire.Encode(derp.FramePing, []byte("12345678")) },
		"KeepAlive first": func(*rawPeer) []byte { return wire.Encode(derp.FrameKeepAlive) },
		"unknown first":   func(*rawPeer) []byte { return wire.Encode(derp.FrameType(0xee), []byte{1}) },
		"as ServerInfo":   retyped(derp.FrameServerInfo),
		"as SendPacket":   retyped(derp.FrameSendPacket),
		"for another server": func(p *rawPeer) []byte {
			return wire.ClientInfo(p.priv, key.NewNode().Public(), wire.DefaultInfo)
		},
		"zero client key": func(p *rawPeer) []byte {
			b := good(p)
			clear(b[wire.HeaderLen : wire.HeaderLen+wire.KeyLen])
			return b
		},
		"not DERP": func(*rawPeer) []byte { return []byte("GET /derp HTTP/1.1\r\n\r\n") },
	}
	for name, build := range cases {
		t.Run(name, func(t *testing.T) {
			p := fastStart(t, shared)
			p.trySend(build(p))
			p.mustClose(t)
		})
	}
	login(t, shared).mustLive(t) // whatever that was, the server survived it
}

// TestSecondClientInfo: once logged in it is an unknown frame like any other,
// and changes nothing about who we are.
func TestSecondClientInfo(t *testing.T) {
	p := login(t, shared)
	other := key.NewNode()
	p.mustSend(t, wire.ClientInfo(other, p.server, wire.DefaultInfo))
	p.mustSend(t, wire.SendPacket(p.pub, []byte("still me")))
	p.mustReceive(t, p.pub, []byte("still me"))
	nobody := other.Public()
	p.mustSend(t, wire.SendPacket(nobody, discoLike()))
	if got := p.fence(t); len(got) != 1 || got[0].Type != derp.FramePeerGone {
		t.Fatalf("the second key: got %s, want one PeerGone", fmt.Sprint(got))
	}
}
