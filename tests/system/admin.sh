#!/usr/bin/env bash
# admin.sh RINGRELAYD RINGRELAY
# The admin socket and the commands that ask it: whose it is, what they print, what they say when it does not work.
set -euo pipefail

# shellcheck source=tests/system/lib.bash
. "$(dirname "$0")/lib.bash"

socket=$dir/admin.sock

# The key pair of tests/golden: a login recorded for it opens on every start with this key. It protects nothing.
printf '{"PrivateKey": "privkey:%s"}' 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e5f >"$dir/key"
login=$(sed '/^#/d' "$(dirname "$0")/../golden/clientinfo.hex" | tr -d '\n' | sed 's/../\\x&/g')

is_narrow() { awk 'length > 80 { exit 1 }' "$dir/out" || die "a line of more than 80 columns"; }

# refused WORDS FLAG...: the daemon does not start, with status 1, and says why.
refused() {
    local words=$1 rc=0
    shift
    "$daemon" -dev -a 127.0.0.1:0 "$@" >"$dir/out" 2>&1 || rc=$?
    [ $rc = 1 ] || die "exit status $rc of a daemon with: $*"
    says out "$words"
}

# ---- without a relay ----

for command in status clients; do
    expect 1 "$tool" $command --socket "$socket"
    says err "no relay answers at $socket"
    is_silent out
    expect 2 "$tool" $command --nonsense
    says err "$command takes"
    expect 0 "$tool" $command --help
    says out "usage: ringrelay $command"
    is_silent err
done
expect 2 "$tool" clients --limit x --socket "$socket"
expect 2 "$tool" clients --limit -1 --socket "$socket"
expect 1 "$tool" status --socket "$dir/$(printf 'x%.0s' {1..120})"
says err "cannot connect"
printf 'ok: without a relay\n'

# ---- whose socket ----

start -c "$dir/key" -admin-socket "$socket"
[ "$(stat -c %a "$socket")" = 600 ] || die "mode $(stat -c %a "$socket")"
expect 0 "$tool" status --socket "$socket"
refused "somebody answers at $socket" -admin-socket "$socket"
expect 0 "$tool" status --socket "$socket"
stop
[ ! -e "$socket" ] || die "the socket is still there"

start -admin-socket "$socket"
kill -KILL "$pid"
wait "$pid" 2>/dev/null || true
pid=
[ -S "$socket" ] || die "a killed relay took its socket along"
start -admin-socket "$socket" # at once: the kernel may still be clearing up behind the one that was killed
expect 0 "$tool" status --socket "$socket"
stop

: >"$dir/file"
refused "is no socket" -admin-socket "$dir/file"
refused "its folder" -admin-socket "$dir/none/admin.sock"
for off in off ""; do
    start -admin-socket="$off"
    ! grep -q 'admin socket' "$dir/log" || die "there is one with '$off'"
    stop
done
printf 'ok: whose socket\n'

# ---- what they print ----

start -c "$dir/key" -admin-socket "$socket" -workers 2
exec 3<>"/dev/tcp/127.0.0.1/$port" 4<>"/dev/tcp/127.0.0.1/$port"
request='GET /derp HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: DERP\r\n\r\n'
printf '%b' "$request$login" >&3
printf '%b' "$request$login" >&4
deadline=$((SECONDS + 10))
until expect 0 "$tool" clients --socket "$socket" --json && grep -q '"connections": 2' "$dir/out"; do
    [ $SECONDS -lt $deadline ] || die "two clients do not show"
done
key=$(sed -n 's/.*"key": "nodekey:\([0-9a-f]*\)".*/\1/p' "$dir/out" | head -n 1)
[ ${#key} = 64 ] || die "'$key' is no key"

expect 0 "$tool" status --socket "$socket"
for words in "^ringrelayd .*process $pid" "listens  127.0.0.1:$port" "plain HTTP" "2 of 1 keys" "^worker-1 " \
    "^office " "^stun " "dropped  nothing" "^stun     off"; do
    says out "$words"
done
is_narrow
expect 0 "$tool" status --socket="$socket" --json
says out "\"pid\": $pid"

expect 0 "$tool" clients --socket "$socket"
[ "$(grep -c "^${key:0:12} .*127.0.0.1:" "$dir/out")" = 2 ] || die "not two connections"
says out "^2 shown, 2 matching, 2 connections in all"
says out " Dc  *127"
says out " dc  *127"
is_narrow
expect 0 "$tool" clients --socket "$socket" --limit 1 --sort since
says out "^1 shown, 2 matching"
expect 0 "$tool" clients --socket "$socket" --key "nodekey:${key:0:5}" --address 127.0.0.0/8
says out "^2 shown"
expect 0 "$tool" clients --socket "$socket" --key "0${key:1:20}" --address 127.0.0.1
expect 0 "$tool" clients --socket "$socket" --address 10.0.0.0/8
says out "^0 shown, 0 matching, 2"
expect 1 "$tool" clients --socket "$socket" --sort size
says err 'says: sort "size": it takes bytes'
expect 1 "$tool" clients --socket "$socket" --address 1.2.3
says err "a network such as"
is_silent out
exec 3>&- 4>&-
deadline=$((SECONDS + 10))
until expect 0 "$tool" clients --socket "$socket" && grep -q '0 connections' "$dir/out"; do
    [ $SECONDS -lt $deadline ] || die "clients that are gone still show"
done
stop
printf 'ok: what they print\n'

# ---- what changes ----

limit() { printf '{"PerClientRateLimitBytesPerSec": %s, "PerClientRateBurstBytes": 100000}' "$1" >"$dir/rate"; }

limit 20000
start -admin-socket "$socket" -rate-config "$dir/rate"
expect 0 "$tool" status --socket "$socket"
says out "^rate     19.5KB/s from each client"
limit 40000
kill -HUP "$pid"
deadline=$((SECONDS + 10))
until expect 0 "$tool" status --socket "$socket" --json && grep -q '"bytes_per_s": 40000' "$dir/out"; do
    [ $SECONDS -lt $deadline ] || die "the new limit does not show"
done
stop
dev=(-dev -certmode manual -certdir "$dir/certs" -hostname 127.0.0.1)
start -admin-socket "$socket" -stun -stun-port 0 -http-port 0
expect 0 "$tool" status --socket "$socket"
says out "^listens  127.0.0.1:$port\$"
plain=$(sed -n 's/.*plain HTTP on \([^ ]*\): .*/\1/p' "$dir/log")
says out "^  *$plain\$"
stun=$(sed -n 's/.* STUN on \(.*\)$/\1/p' "$dir/log")
if [ -z "$plain" ] || [ -z "$stun" ]; then die "no second listener, or no STUN"; fi
says out "^stun     $stun\$"
stop
printf 'ok: what changes, and where it listens\n'
