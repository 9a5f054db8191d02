#!/usr/bin/env bash
# signals.sh RINGRELAYD RINGRELAY
# Ending: SIGTERM and SIGINT with live connections, SIGHUP without, and a successor on the same port at once.
set -euo pipefail

# shellcheck source=tests/system/lib.bash
. "$(dirname "$0")/lib.bash"

# The key pair of tests/golden: a login recorded for it opens on every start with this key. It protects nothing.
printf '{"PrivateKey": "privkey:%s"}' 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e5f >"$dir/key"
login=$(sed '/^#/d' "$(dirname "$0")/../golden/clientinfo.hex" | tr -d '\n' | sed 's/../\\x&/g')

# metric NAME: its value.
metric() {
    exec 9<>"/dev/tcp/127.0.0.1/$port"
    printf 'GET /debug/varz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n' >&9
    sed -n "s/^$1 \([0-9]*\).*/\1/p" <&9
    exec 9>&-
}

# wait_for_metric NAME VALUE
wait_for_metric() {
    local deadline=$((SECONDS + 10)) value
    until value=$(metric "$1") && [ "$value" = "$2" ]; do
        [ $SECONDS -lt $deadline ] || die "$1 is '$value', not $2"
        sleep 0.02
    done
}

# Two clients that have logged in, one socket in the middle of its login, one that has said nothing: fds 3 to 6.
connect_all() {
    exec 3<>"/dev/tcp/127.0.0.1/$port" 4<>"/dev/tcp/127.0.0.1/$port" 5<>"/dev/tcp/127.0.0.1/$port" \
        6<>"/dev/tcp/127.0.0.1/$port"
    local request='GET /derp HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: DERP\r\n\r\n'
    printf '%b' "$request$login" >&3
    printf '%b' "$request$login" >&4
    printf '%b' "$request" >&5
    wait_for_metric derp_current_connections 2
}

disconnect_all() { exec 3>&- 4>&- 5>&- 6>&-; }

# Whether the child is no more than a status to be waited for.
has_ended() {
    local stat
    { read -r stat <"/proc/$pid/stat"; } 2>/dev/null || return 0
    [[ $stat == *") Z "* ]]
}

# expect_end SIGNAL: within 2 s, with status 0.
expect_end() {
    local rc=0 begun_us=${EPOCHREALTIME//[!0-9]/} took_us
    kill "-$1" "$pid"
    until has_ended; do
        took_us=$((${EPOCHREALTIME//[!0-9]/} - begun_us))
        [ $took_us -lt 2000000 ] || die "still there 2 s after SIG$1"
        sleep 0.01
    done
    wait "$pid" || rc=$?
    pid=
    [ $rc = 0 ] || die "exit status $rc after SIG$1"
    grep -q "SIG$1: stopping" "$dir/log" || die "the log does not name SIG$1"
    if grep -qiE 'sanitizer|CHECK failed' "$dir/log"; then die "not a clean end after SIG$1"; fi
    printf 'ok: SIG%s with live connections\n' "$1"
}

probe() { "$tool" probe "http://127.0.0.1:$port/derp" >"$dir/probe" 2>&1 || die "$1: $(cat "$dir/probe")"; }

start -a 127.0.0.1:0 -c "$dir/key"
connect_all
expect_end TERM

# The connections above are still open on our side, so the port has sockets of the first instance in TIME_WAIT or
# FIN_WAIT; the successor may not care.
start -a "127.0.0.1:$port" -c "$dir/key"
probe "successor"
printf 'ok: a successor on the same port at once\n'
disconnect_all

connect_all
kill -HUP "$pid"
deadline=$((SECONDS + 10))
until grep -q 'SIGHUP' "$dir/log"; do
    if has_ended; then die "SIGHUP ended it"; fi
    [ $SECONDS -lt $deadline ] || die "the log does not name SIGHUP"
    sleep 0.02
done
probe "after SIGHUP"
wait_for_metric derp_current_connections 2
printf 'ok: SIGHUP does not end it\n'
expect_end INT
disconnect_all

# With nobody there, and again on the port.
start -a "127.0.0.1:$port" -c "$dir/key"
expect_end INT
