# shellcheck shell=bash disable=SC2034
# Sourced by the tests of this folder: the programs under test, a folder that goes away, a daemon that is ended.
# Sets daemon, tool and dir; start sets pid, address and port.

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
    local file
    for file in log out err; do
        if [ -s "$dir/$file" ]; then sed "s/^/    $file: /" "$dir/$file" >&2; fi
    done
    exit 1
}

# start FLAG...: runs the daemon with -dev, on a port of the kernel's choice unless -a says otherwise, and waits until
# it listens. Without STUN, whose port is one for all, unless FLAGs ask for it.
start() {
    local deadline=$((SECONDS + 10)) where=(-a 127.0.0.1:0)
    case " $* " in *" -a "*) where=() ;; esac
    : >"$dir/log" # here and not in the child: the lines of the one before must not be read
    "$daemon" -dev -stun=false "${where[@]}" "$@" >"$dir/log" 2>&1 &
    pid=$!
    until address=$(sed -n 's/.* listening on \([^ ]*\) .*/\1/p' "$dir/log") && [ -n "$address" ]; do
        kill -0 "$pid" 2>/dev/null || die "did not start with: $*"
        [ $SECONDS -lt $deadline ] || die "does not listen with: $*"
        sleep 0.02
    done
    port=${address##*:}
}

stop() {
    local rc=0
    kill -TERM "$pid"
    wait "$pid" || rc=$?
    pid=
    [ $rc = 0 ] || die "exit status $rc after SIGTERM"
}
