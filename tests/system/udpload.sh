#!/usr/bin/env bash
# udpload.sh RINGRELAYD RINGRELAY
# The load generator for UDP relays (beside RINGRELAY) against the daemon: every command, with figures that cannot be
# true by chance; and against a proxy that changes, repeats, swallows or misdirects datagrams: it has to notice.
# RINGRELAY_UDPRELAY=PROGRAM: against that one, Tailscale's (tests/interop/cmd/udprelay), instead of the daemon.
set -euo pipefail

# shellcheck source=tests/system/lib.bash
. "$(dirname "$0")/lib.bash"

load="$(dirname "$tool")/udpload"
short=(--warmup 0.1 --seconds 0.3 --json)

# run ARGUMENT...: has to succeed.
run() { expect 0 "$load" "$@"; }

# ---- usage ----

expect 2 "$load"
says out "usage: udpload"
for word in help --help -h; do
    expect 0 "$load" $word
    for command in relay rtt bind idle; do says out "^  $command "; done
done
for command in relay rtt bind idle; do
    expect 0 "$load" $command --help
    says out "^usage: udpload $command"
done
expect 0 "$load" version
"$daemon" -version | cmp - "$dir/out" || die "daemon and udpload are of different versions"
expect 2 "$load" nonsense
expect 2 "$load" relay
says err "needs --allocate"
expect 2 "$load" relay --allocate unix:/x --rate 5 --flood
says err "one of them"
expect 1 "$load" relay --allocate "unix:$dir/nobody"
says err "connecting to $dir/nobody: "
expect 1 "$load" relay --allocate http://127.0.0.1:1
says err "Connection refused"
expect 1 "$load" relay --allocate unix:/x --token-file "$dir/nothing"
says err "nothing: No such file"
[ ! -s "$dir/out" ] || die "a result without a server"
printf 'ok: usage\n'

if ! command -v python3 >/dev/null; then
    printf 'skipped: no python3 for free UDP ports and for a proxy that lies\n'
    exit 0
fi

# ---- a relay ----

free_port() {
    python3 -c 'import socket
s = socket.socket(type=socket.SOCK_DGRAM)
s.bind(("127.0.0.1", 0))
print(s.getsockname()[1])'
}

# start_relay PORT: clients are told 127.0.0.1:PORT, or the relay's own port without. Sets allocate, relay_port and pid.
start_relay() {
    relay_port=$(free_port)
    local static=127.0.0.1:${1:-$relay_port} deadline=$((SECONDS + 10))
    allocate=unix:$dir/relay.sock
    if [ -n "${RINGRELAY_UDPRELAY:-}" ]; then
        : >"$dir/log"
        "$RINGRELAY_UDPRELAY" -a "$allocate" -relay-port "$relay_port" -relay-static-endpoints "$static" \
            >"$dir/log" 2>&1 &
        pid=$!
        until grep -q "listening on" "$dir/log"; do
            kill -0 "$pid" 2>/dev/null || die "the relay did not start"
            [ $SECONDS -lt $deadline ] || die "the relay does not listen"
            sleep 0.02
        done
    else
        start -admin-socket "$dir/relay.sock" -relay-port "$relay_port" -relay-static-endpoints "$static" \
            -relay-no-discovery -relay-rate 0
    fi
}

# The daemon ends with 0, Go's program as well.
start_relay

right='.tool == "udpload" and .verified > 0 and .lost == 0 and .reordered == 0 and .loss == 0 and .seconds > 0.2 and
    .client_cpu_s > 0 and .packets_per_second > 0 and .server.cpu_s > 0 and .server.cpu_us_per_packet > 0'

# relay ARGUMENT...: packets go through, all of them, and the server's time is seen.
relay() {
    run relay --allocate "$allocate" --server-pid "$pid" "${short[@]}" "$@"
    judge "$right"
}

relay
judge '.mode == "window" and .window == 256 and .pairs == 10 and .flows == 10 and .size == 1280 and .segments == 32 and
    .burst == 1 and .gro and .sent > 320 and .fairness.min_share > 0 and (.relay | startswith("127.0.0.1:"))'
relay --segments 1
relay --segments 1 --burst 8 --flows 64
judge '.flows == 64 and .pairs == null and .pattern == "spread"'
relay --segments 64 --size 32 --pairs 3 --no-gro
relay --size 9000 --pairs 2
judge '.segments == 7'
relay --segments 1 --size 60000 --pairs 1 --window 8
relay --no-rest --pairs 2
relay --rate 5000 --segments 1
judge '.mode == "rate" and .rate == 5000 and .packets_per_second > 500 and .packets_per_second < 20000'
run relay --allocate "$allocate" "${short[@]}" --flood # packets may be lost here
judge '.mode == "flood" and .verified > 0 and .server == null'
run relay --allocate "$allocate" --warmup 0.1 --seconds 0.3 --progress
says out "^verified "
run rtt --allocate "$allocate" --rate 200 --server-pid "$pid" "${short[@]}"
judge '.samples > 10 and .lost == 0 and .rtt_us.min > 1 and .rtt_us.min <= .rtt_us.p50 and
    .rtt_us.p50 <= .rtt_us.p99 and .rtt_us.p99 <= .rtt_us.max and .server.cpu_s > 0'
run bind --allocate "$allocate" --count 100 --at-once 8 --json --server-pid "$pid"
judge '.binds == 100 and .failed == 0 and .failure == null and .binds_per_second > 0 and .bind_ms.p50 > 0 and
    .server.cpu_ms_per_bind > 0'
run bind --allocate "$allocate" --seconds 0.3 --json
judge '.binds > 0 and .failed == 0'
run idle --allocate "$allocate" --endpoints 100 --seconds 0.1 --json --server-pid "$pid"
judge '.endpoints == 100 and .active == 0 and .server.rss_before_kib > 0 and
    .server.rss_after_kib > 0 and .server.cpu_share_idle >= 0'
run idle --allocate "$allocate" --endpoints 100 --active 10 --server-pid "$pid" "${short[@]}"
judge "$right and .flows == 10 and .endpoints == 100"
expect 1 "$load" relay --allocate "$allocate" --family ipv6
says err "has no address of that --family"
stop
printf 'ok: every command\n'

# ---- a token, by HTTPS ----

if [ -z "${RINGRELAY_UDPRELAY:-}" ]; then
    relay_port=$(free_port)
    (umask 077 && head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n' >"$dir/token")
    start -certmode manual -certdir "$dir/certs" -hostname 127.0.0.1 -relay-port "$relay_port" \
        -relay-static-endpoints "127.0.0.1:$relay_port" -relay-no-discovery -relay-rate 0 -relay-token-file "$dir/token"
    allocate=https://$address
    relay --trust "pin:$dir/certs/127.0.0.1.crt" --token-file "$dir/token"
    run bind --allocate "$allocate" --trust any --token-file "$dir/token" --count 50 --json
    judge '.binds == 50 and .failed == 0'
    expect 1 "$load" relay --allocate "$allocate" --trust any
    says err "no endpoint: status 401"
    expect 1 "$load" relay --allocate "$allocate" --token-file "$dir/token"
    says err "certificate is not the one we trust"
    stop
    printf 'ok: a token, by HTTPS\n'
fi

# ---- a relay that ends in the middle ----

start_relay
"$load" relay --allocate "$allocate" --seconds 30 --progress >"$dir/out" 2>"$dir/err" &
load_pid=$!
deadline=$((SECONDS + 20))
until grep -q "packets/s" "$dir/err"; do
    [ $SECONDS -lt $deadline ] || die "udpload makes no progress"
    sleep 0.05
done
stop
rc=0
wait $load_pid || rc=$?
[ $rc = 1 ] || die "exit status $rc after the end of the relay"
says err "^udpload: nobody listens on the relay's UDP port"
printf 'ok: the relay ends\n'

# ---- a relay that is not to be trusted ----

cat >"$dir/liar.py" <<'PYTHON'
# A UDP proxy before a relay: each client gets a socket of its own to the relay. It tampers with data packets (O = 0) on
# their way to clients, each client's 50th, so that handshakes and trying packets pass.
import select, socket, sys

target, deed = ("127.0.0.1", int(sys.argv[2])), sys.argv[3]
listener = socket.socket(type=socket.SOCK_DGRAM)
listener.bind(("127.0.0.1", int(sys.argv[1])))
listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
print("ready", flush=True)
ways, clients, counts, last = {}, {}, {}, {}

def flip(data, at):
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1:]

def tamper(data, client):
    if deed == "body":
        return [(flip(data, len(data) - 1), client)]
    if deed == "stamp":
        return [(flip(data, 8), client)]
    if deed == "header":
        return [(flip(data, 7), client)]
    if deed == "vni":
        return [(flip(data, 6), client)]
    if deed == "length":
        return [(data[:-1], client)]
    if deed == "twice":
        return [(data, client)] * 2
    if deed == "old":
        return [(data, client), (last[client], client)]
    if deed == "astray":
        return [(data, next(c for c in counts if c != client))]
    if deed == "loss":
        return []
    return [(data, client)]

while True:
    for s in select.select([listener, *clients], [], [])[0]:
        data, source = s.recvfrom(65536)
        if s is listener:
            if source not in ways:
                ways[source] = socket.socket(type=socket.SOCK_DGRAM)
                clients[ways[source]] = source
            ways[source].sendto(data, target)
            continue
        client, is_data = clients[s], not data[1] & 0x80
        if is_data:
            counts[client] = counts.get(client, 0) + 1
        changed = tamper(data, client) if is_data and counts[client] == 50 else [(data, client)]
        for datagram, to in changed:
            listener.sendto(datagram, to)
        if is_data:
            last[client] = data
PYTHON

liar_pid=
end_liar() {
    if [ -n "$liar_pid" ]; then kill -KILL "$liar_pid" 2>/dev/null || true; fi
    cleanup
}
trap end_liar EXIT

# behind_liar DEED STATUS: udpload against a relay behind a proxy with that habit.
behind_liar() {
    local deadline=$((SECONDS + 20)) liar_port
    liar_port=$(free_port)
    start_relay "$liar_port"
    : >"$dir/liar"
    python3 "$dir/liar.py" "$liar_port" "$relay_port" "$1" >"$dir/liar" 2>"$dir/liar.err" &
    liar_pid=$!
    until [ -s "$dir/liar" ]; do
        [ $SECONDS -lt $deadline ] || die "the proxy does not start: $(cat "$dir/liar.err")"
        sleep 0.02
    done
    expect "$2" "$load" relay --allocate "$allocate" --pairs 2 --segments 1 --window 16 --warmup 0 --seconds 0.5 --json
    kill -KILL "$liar_pid"
    wait "$liar_pid" 2>/dev/null || true
    liar_pid=
    stop
}

behind_liar nothing 0
judge '.verified > 100 and .lost == 0'
behind_liar loss 0
judge '.verified > 100 and .lost == 2' # one of each pair
behind_liar body 1
says err "got a wrong packet: its bytes were changed"
behind_liar stamp 1
says err "got a wrong packet: its first bytes were changed"
behind_liar header 1
says err "got a .*datagram\|got a wrong packet"
behind_liar vni 1
says err "got a wrong packet: its Geneve header was changed"
behind_liar length 1
says err "got a wrong packet: it has another size"
behind_liar twice 1
says err "got a wrong packet: it came before"
behind_liar old 1
says err "got a wrong packet: it came before"
behind_liar astray 1
says err "got a wrong packet: it is another client's"
printf 'ok: a liar is caught\n'
