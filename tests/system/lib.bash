# shellcheck shell=bash disable=SC2034
# Sourced by the tests of this folder: the programs under test, a folder that goes away, a daemon that is ended.
# Sets daemon, tool and dir; start sets pid, address and port, and heeds dev (flags in front) and wrap (a command that
# runs the daemon by exec).

daemon=$1 tool=$2
dir=$(mktemp -d)
pid=
dev=(-dev) wrap=()

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

# start FLAG...: runs the daemon with -dev (see dev above), on a port of the kernel's choice unless -a says otherwise, and
# waits until it listens. Without STUN and port 80, which are one for all, unless FLAGs ask for them.
start() {
    local deadline=$((SECONDS + 10)) where=(-a 127.0.0.1:0)
    case " $* " in *" -a "*) where=() ;; esac
    : >"$dir/log" # here and not in the child: the lines of the one before must not be read
    "${wrap[@]}" "$daemon" "${dev[@]}" -stun=false -http-port=-1 "${where[@]}" "$@" >"$dir/log" 2>&1 &
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

# enter_namespaces ARGUMENT...: as root, begins the calling script again with a network and mounts of its own, so that
# all ports are free and files of /etc can be exchanged. Sets is_apart to yes there, to no where that is not allowed.
enter_namespaces() {
    is_apart=no
    if [ "${RINGRELAY_TEST_APART:-}" = yes ]; then
        ip link set lo up
        is_apart=yes
    elif [ "$(id -u)" = 0 ] && unshare --net --mount true 2>/dev/null && command -v ip >/dev/null; then
        rm -rf "$dir"
        RINGRELAY_TEST_APART=yes exec unshare --net --mount -- "$0" "$@"
    fi
}

# expect STATUS COMMAND...: it has to end by itself; output in $dir/out and $dir/err.
expect() {
    local wanted=$1 rc=0
    shift
    timeout -k 1 10 "$@" >"$dir/out" 2>"$dir/err" </dev/null || rc=$?
    [ $rc = "$wanted" ] || die "$*: exit status $rc instead of $wanted"
    if grep -qiE 'sanitizer|CHECK failed' "$dir/err"; then die "$*: not a clean end"; fi
}

# Of a file in $dir: out and err of what was expected, or log. Some tests have their own.
says() { grep -q -- "$2" "$dir/$1" || die "'$2' is missing in $1"; }
is_silent() { [ ! -s "$dir/$1" ] || die "there is something in $1"; }

# await PATTERN: in the daemon's log, within 15 s.
await() {
    local deadline=$((SECONDS + 15))
    until grep -q -- "$1" "$dir/log"; do
        kill -0 "$pid" 2>/dev/null || die "ended before it said: $1"
        [ $SECONDS -lt $deadline ] || die "the log does not say: $1"
        sleep 0.02
    done
}

# judge FILTER: of the JSON in $dir/out.
judge() { jq -e "$1" "$dir/out" >/dev/null || die "not true of $(jq -c . "$dir/out"): $1"; }
