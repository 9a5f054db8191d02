#!/usr/bin/env bash
# features.sh RINGRELAYD RINGRELAY
# The ring features of older kernels: each mask leaves exactly what it says in the log, and packets go through with it.
set -euo pipefail

daemon=$1 tool=$2
dir=$(mktemp -d)
pid=

cleanup() {
    if [ -n "$pid" ]; then kill -KILL "$pid" 2>/dev/null || true; fi
    rm -rf "$dir"
}
trap cleanup EXIT

die() {
    printf 'FAILED: %s\n' "$*" >&2
    if [ -s "$dir/log" ]; then sed 's/^/    /' "$dir/log" >&2; fi
    exit 1
}

# start FLAG...: runs the daemon on a port of the kernel's choice and waits until it listens; sets pid and address.
start() {
    local deadline=$((SECONDS + 10))
    : >"$dir/log" # here and not in the child: the lines of the one before must not be read
    "$daemon" -dev -a 127.0.0.1:0 "$@" >"$dir/log" 2>&1 &
    pid=$!
    until address=$(sed -n 's/.* listening on \([^ ]*\) .*/\1/p' "$dir/log") && [ -n "$address" ]; do
        kill -0 "$pid" 2>/dev/null || die "did not start with: $*"
        [ $SECONDS -lt $deadline ] || die "does not listen with: $*"
        sleep 0.02
    done
}

stop() {
    local rc=0
    kill -TERM "$pid"
    wait "$pid" || rc=$?
    pid=
    [ $rc = 0 ] || die "exit status $rc after SIGTERM"
}

# features_in_use: what the log names, as one line.
features_in_use() { sed -n 's/.* io_uring: //p' "$dir/log"; }

# check WANTED FLAG...: "any" is not compared, for kernels that have less than the newest.
check() {
    local wanted=$1 got
    shift
    start "$@"
    got=$(features_in_use)
    if [ "$wanted" != any ] && [ "$got" != "$wanted" ]; then die "with '$*': '$got' instead of '$wanted'"; fi
    "$tool" probe "http://$address/derp" >"$dir/probe" 2>&1 || die "with '$*': $(cat "$dir/probe")"
    grep -q '^good:' "$dir/probe" || die "with '$*': the probe says nothing good"
    stop
    printf 'ok: %-36s %s\n' "${*:-(all)}" "$got"
}

# defer-taskrun and coop-taskrun exclude each other, and defer-taskrun needs single-issuer.
newest="multishot-accept single-issuer multishot-receive defer-taskrun restrictions"
without_defer="multishot-accept coop-taskrun single-issuer multishot-receive restrictions"

start
has=$(features_in_use)
stop
all=(multishot-accept coop-taskrun single-issuer multishot-receive defer-taskrun restrictions)
if [ "$has" != "$newest" ]; then
    printf 'this kernel has only: %s\n' "$has"
    for flags in "" -ring-kernel=5.19 -ring-kernel=6.0 -ring-kernel=6.1 "${all[@]/#/-ring-disable=}"; do
        check any ${flags:+"$flags"}
    done
    exit 0
fi

check "$newest"
check "multishot-accept coop-taskrun restrictions" -ring-kernel=5.19
check "$without_defer" -ring-kernel=6.0
check "$newest" -ring-kernel=6.1
check "single-issuer multishot-receive defer-taskrun restrictions" -ring-disable=multishot-accept
check "$newest" -ring-disable=coop-taskrun
check "multishot-accept coop-taskrun multishot-receive restrictions" -ring-disable=single-issuer
check "multishot-accept single-issuer defer-taskrun restrictions" -ring-disable=multishot-receive
check "$without_defer" -ring-disable=defer-taskrun
check "multishot-accept single-issuer multishot-receive defer-taskrun" -ring-disable=restrictions
check "" "-ring-disable=$(IFS=, && printf '%s' "${all[*]}")"
