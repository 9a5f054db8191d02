#!/usr/bin/env bash
# features.sh RINGRELAYD RINGRELAY
# The ring features of older kernels: each mask leaves exactly what it says in the log, and packets go through with it.
set -euo pipefail

# shellcheck source=tests/system/lib.bash
. "$(dirname "$0")/lib.bash"

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
