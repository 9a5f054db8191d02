#!/usr/bin/env bash
# refusal.sh RINGRELAYD RINGRELAY [DENY_URING]
# Starts that cannot be: cause and remedy in words; exit status 1 when the host is at fault, 2 for the command line.
# DENY_URING (tests/unit/deny_uring.c) runs a command with io_uring forbidden; it is looked for beside the daemon.
set -euo pipefail

# shellcheck source=tests/system/lib.bash
. "$(dirname "$0")/lib.bash"

deny=${3:-$(dirname "$1")/deny_uring}

says() { grep -qF -- "$1" "$dir/err" || die "'$1' is missing on standard error"; }
dev() { expect "$1" "$daemon" -dev -stun=false -a 127.0.0.1:0 "${@:2}"; }

# ---- the command line ----

wrong() {
    local text=$1
    shift
    expect 2 "$daemon" "$@"
    says "ringrelayd: "
    says "$text"
    says "-h"
    is_silent out
}
wrong "not defined: -nothing" -dev -nothing
wrong "needs an argument: -a" -dev -a
wrong "unexpected argument: x" -dev x
wrong "-a: " -dev -a nowhere
wrong "-dev" -a 127.0.0.1:0
wrong "-plain" -a 127.0.0.1:0
wrong "derper would serve plain HTTP here" -a 127.0.0.1:0 -certmode letsencrypt
wrong "exclude each other" -plain -certmode manual
wrong "clients expect TLS" -plain
wrong "-seccomp=maybe" -dev -seccomp=maybe
wrong "not supported yet: -mesh-with=a.example" -dev -mesh-with=a.example
wrong "-ring-kernel=2.4" -dev -ring-kernel=2.4
wrong "nothing" -dev -ring-disable=nothing
expect 0 "$daemon" -h
says "Usage of ringrelayd"
says "-stun-port"
expect 0 "$daemon" -version
[[ $(cat "$dir/out") =~ ^[0-9]+\.[0-9]+\.[0-9]+$ ]] || die "no version"
expect 0 "$daemon" -budget
grep -q '^sum ' "$dir/out" || die "the budget has no sum"
printf 'ok: command lines\n'

# ---- limits ----

dev 1 -max-connections=1048576 -packet-memory=1m
says "-packet-memory"
(ulimit -n 1200 && dev 1 -max-connections=1000)
says "-max-connections 1000"
says "ulimit -n"
(ulimit -n 1200 && expect 1 "$daemon" -budget -max-connections=1000)
says "LimitNOFILE"
printf 'ok: limits\n'

# ---- the port ----

# shellcheck disable=SC2119
start
expect 1 "$daemon" -dev -stun=false -a "$address"
says "$address"
says "in use"
is_silent out
"$tool" probe "http://$address/derp" >/dev/null || die "the first one has suffered"
stop
expect 1 "$daemon" -dev -stun=false -a 192.0.2.1:0 # an address of documentation, nobody's
says "192.0.2.1"
start -stun -stun-port 0
stun=$(sed -n 's/.* STUN on //p' "$dir/log")
expect 1 "$daemon" -dev -a 127.0.0.1:0 -stun-port "${stun##*:}"
says "STUN cannot have UDP $stun: another process has it"
says "-stun=false"
stop
printf 'ok: ports\n'

# ---- the key file ----

printf 'x' >"$dir/file"
dev 1 -c "$dir/file/derper.key"
says "$dir/file/derper.key"
dev 1 -c "$dir"
says "$dir"
dev 1 -c "$dir/file"
says "key file $dir/file"
dev 1 -c /proc/nobody-can-make-this/derper.key
says "/proc/nobody-can-make-this/derper.key"
says "-c"
[ "$(cat "$dir/file")" = x ] || die "a wrong key file was overwritten"
printf 'ok: key files\n'

# ---- io_uring forbidden ----

[ -x "$deny" ] || die "there is no $deny: build the target deny_uring"
if [ "$(cat /proc/sys/kernel/io_uring_disabled 2>/dev/null || echo 0)" != 0 ]; then
    printf 'skipped: io_uring is disabled by sysctl here\n'
    exit 0
fi
expect 1 "$deny" EPERM "$daemon" -dev -stun=false -a 127.0.0.1:0
says "seccomp"
says "io_uring_setup"
says "--security-opt"
says "SystemCallFilter"
is_silent out
expect 1 "$deny" ENOSYS "$daemon" -dev -stun=false -a 127.0.0.1:0
says "ENOSYS"
says "seccomp"
expect 0 "$deny" EPERM "$daemon" -version # what needs no ring works
expect 2 "$deny" EPERM "$daemon" -nothing
printf 'ok: io_uring forbidden\n'
