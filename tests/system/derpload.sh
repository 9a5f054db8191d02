#!/usr/bin/env bash
# derpload.sh RINGRELAYD RINGRELAY
# The load generator (beside RINGRELAY) against the daemon: every command, in the clear and through TLS, with figures
# that cannot be true by chance; and against a proxy that changes, repeats or swallows bytes: it has to notice.
set -euo pipefail

# shellcheck source=tests/system/lib.bash
. "$(dirname "$0")/lib.bash"

load="$(dirname "$tool")/derpload"
short=(--warmup 0.1 --seconds 0.3 --json)


# run ARGUMENT...: has to succeed.
run() { expect 0 "$load" "$@"; }

# ---- usage ----

expect 2 "$load"
says out "usage: derpload"
for word in help --help -h; do
    expect 0 "$load" $word
    for command in relay rtt login idle echo; do says out "^  $command "; done
done
for command in relay rtt login idle echo; do
    expect 0 "$load" $command --help
    says out "^usage: derpload $command"
done
expect 0 "$load" version
"$daemon" -version | cmp - "$dir/out" || die "daemon and derpload are of different versions"
expect 2 "$load" nonsense
expect 2 "$load" relay
says err "needs a URL"
expect 2 "$load" relay http://127.0.0.1:1 --rate 5 --flood
says err "one of them"
expect 2 "$load" rtt http://127.0.0.1:1 --pairs 5
says err "has no use for --pairs"
expect 1 "$load" relay http://127.0.0.1:1
says err "connecting to 127.0.0.1:1: Connection refused"
[ ! -s "$dir/out" ] || die "a result without a server"
printf 'ok: usage\n'

# ---- every command ----

right='.tool == "derpload" and .verified > 0 and .lost == 0 and .reordered == 0 and .loss == 0 and .seconds > 0.2 and
    .client_cpu_s > 0 and .packets_per_second > 0 and .server.cpu_s > 0 and .server.cpu_us_per_packet > 0'

# relay ARGUMENT...: packets go through, all of them, and the server's time is seen.
relay() {
    run relay "$url" "${trust[@]}" --server-pid "$pid" "${short[@]}" "$@"
    judge "$right"
}

# commands: against $url.
commands() {
    relay
    judge '.mode == "window" and .window == 32 and .pairs == 10 and .size == 1400 and .connections == 20 and
        .records_per_write == 8 and .frames_per_record == 1 and .sent > 320 and .fairness.min_share > 0'
    relay --rate 5000
    judge '.mode == "rate" and .rate == 5000 and .packets_per_second > 500 and .packets_per_second < 20000'
    relay --size 32 --frames-per-record 16
    relay --size 65536 --window 4 --pairs 2
    relay --size 20000 --window 4 --pairs 3 --write-size 16384
    relay --pattern fan-in --pairs 4
    relay --pattern fan-out --pairs 4
    relay --pattern all --pairs 4
    judge '.connections == 4'
    relay --connections 100 --pairs 4
    judge '.connections == 100 and .pattern == "spread"'
    relay --connections 100 --gather 1 --rate 5000
    run relay "$url" "${trust[@]}" "${short[@]}" --flood # packets may be lost here
    judge '.mode == "flood" and .verified > 0 and .server == null'
    run relay "$url" "${trust[@]}" --warmup 0.1 --seconds 0.3 --progress
    says out "^verified "
    run rtt "$url" "${trust[@]}" --rate 200 --server-pid "$pid" "${short[@]}"
    judge '.samples > 10 and .lost == 0 and .rtt_us.min > 1 and .rtt_us.min <= .rtt_us.p50 and
        .rtt_us.p50 <= .rtt_us.p99 and .rtt_us.p99 <= .rtt_us.max and .server.cpu_s > 0'
    run login "$url" "${trust[@]}" --count 40 --at-once 8 --json --server-pid "$pid"
    judge '.logins == 40 and .failed == 0 and .logins_per_second > 0 and .login_ms.p50 > 0 and
        .server.cpu_ms_per_login > 0'
    run login "$url" "${trust[@]}" --seconds 0.3 --json
    judge '.logins > 0 and .failed == 0'
    run idle "$url" "${trust[@]}" --connections 50 --seconds 0.1 --json --server-pid "$pid"
    judge '.connections == 50 and .server.rss_before_kib > 0 and
        .server.rss_after_kib >= .server.rss_before_kib and .server.cpu_share_idle >= 0'
}

start
trust=() url="http://$address/derp"
commands
printf 'ok: in the clear\n'
stop

start -certmode manual -certdir "$dir/certs" -hostname 127.0.0.1
trust=(--pin "$dir/certs/127.0.0.1.crt") url="https://$address/derp"
commands
relay
judge '.tls and .suite == "TLS_AES_128_GCM_SHA256"'
expect 1 "$load" relay "$url" "${short[@]}" # a self-signed certificate leads to no root
says err "certificate is not the one we trust"
trust=(--trust any)
relay
stop
printf 'ok: TLS\n'

run echo --rate 200 "${short[@]}"
judge '.samples > 10 and .lost == 0 and .late >= 0 and .rtt_us.p50 > 1'
printf 'ok: echo\n'

# ---- a server that ends in the middle ----

start
"$load" relay "http://$address" --seconds 30 --progress >"$dir/out" 2>"$dir/err" &
load_pid=$!
deadline=$((SECONDS + 20))
until grep -q "packets/s" "$dir/err"; do
    [ $SECONDS -lt $deadline ] || die "derpload makes no progress"
    sleep 0.05
done
stop
rc=0
wait $load_pid || rc=$?
[ $rc = 1 ] || die "exit status $rc after the end of the server"
says err "^derpload: client .* closed the connection\|^derpload: client .* reset"
printf 'ok: the server ends\n'

# ---- a relay that is not to be trusted ----

if ! command -v python3 >/dev/null; then
    printf 'skipped: no python3 for a proxy that lies\n'
    exit 0
fi
cat >"$dir/liar.py" <<'PYTHON'
# A TCP proxy that tampers with packets (RecvPacket, type 5) on their way to clients, each at its 50th.
import socket, sys, threading

target, deed = int(sys.argv[1]), sys.argv[2]

def tamper(frame, count, last):
    if frame[0] != 5 or count != 50:
        return frame
    if deed == "body":
        return frame[:-1] + bytes([frame[-1] ^ 1])
    if deed == "stamp":
        return frame[:45] + bytes([frame[45] ^ 0x80]) + frame[46:]
    if deed == "source":
        return frame[:5] + bytes(32) + frame[37:]
    if deed == "length":
        return frame[:4] + bytes([frame[4] ^ 4]) + frame[5:]
    if deed == "twice":
        return frame + frame
    if deed == "old":
        return frame + last
    return frame

def relay(a, b):
    while data := a.recv(65536):
        b.sendall(data)
    b.shutdown(socket.SHUT_WR)

def to_client(server, client):
    data, count, last = b"", 0, b""
    while more := server.recv(65536):
        data += more
        while len(data) >= 5 and len(data) >= 5 + int.from_bytes(data[1:5], "big"):
            size = 5 + int.from_bytes(data[1:5], "big")
            frame, data = data[:size], data[size:]
            count += frame[0] == 5
            client.sendall(b"" if deed == "loss" and frame[0] == 5 and count == 50 else tamper(frame, count, last))
            last = frame
    client.shutdown(socket.SHUT_WR)

listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
while True:
    client, _ = listener.accept()
    server = socket.create_connection(("127.0.0.1", target))
    threading.Thread(target=relay, args=(client, server), daemon=True).start()
    threading.Thread(target=to_client, args=(server, client), daemon=True).start()
PYTHON

liar_pid=
end_liar() {
    if [ -n "$liar_pid" ]; then kill -KILL "$liar_pid" 2>/dev/null || true; fi
    cleanup
}
trap end_liar EXIT

# behind_liar DEED STATUS: derpload against the daemon behind a proxy with that habit.
behind_liar() {
    local deadline=$((SECONDS + 20))
    : >"$dir/liar"
    python3 "$dir/liar.py" "$port" "$1" >"$dir/liar" 2>"$dir/liar.err" &
    liar_pid=$!
    until [ -s "$dir/liar" ]; do
        [ $SECONDS -lt $deadline ] || die "the proxy does not start: $(cat "$dir/liar.err")"
        sleep 0.02
    done
    expect "$2" "$load" relay "http://127.0.0.1:$(cat "$dir/liar")" --pairs 2 --warmup 0 --seconds 0.5 --json
    kill -KILL "$liar_pid"
    wait "$liar_pid" 2>/dev/null || true
    liar_pid=
}

start
behind_liar nothing 0
judge '.verified > 100 and .lost == 0'
behind_liar loss 0
judge '.verified > 100 and .lost == 2' # one of each pair
behind_liar body 1
says err "got a wrong packet: its bytes were changed"
behind_liar stamp 1
says err "got a wrong packet: its first bytes were changed"
behind_liar source 1
says err "got a wrong packet: it names another source"
behind_liar twice 1
says err "got a wrong packet: it came before"
behind_liar old 1
says err "got a wrong packet: it came before"
behind_liar length 1
stop
printf 'ok: a liar is caught\n'
