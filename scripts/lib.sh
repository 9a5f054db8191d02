# shellcheck shell=bash disable=SC2034
# Shared by the scripts of this folder: where the tree is, how to say things, how to become root, which Go to use.
# Sourced, never run. Nothing here needs .git or a particular working directory.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
LOGS="$ROOT/build/logs"
CACHE="${RINGRELAY_CACHE:-$ROOT/.cache}"
# Other majors of clang-format break lines elsewhere, so it is pinned; every supported distribution has this one.
CLANG_FORMAT_MAJOR=19
# The oldest Go that fetches, by itself, the toolchain that a go.mod names.
GO_MINOR_MIN=21

say() { printf '%s\n' "$*"; }
warn() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
die() {
    warn "$@"
    exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }

# usage: prints the comment block at the top of the calling script.
usage() { awk 'NR == 1 { next } !/^#/ { exit } { sub(/^# ?/, ""); print }' "$0"; }

# as_root COMMAND...: directly as root, else by sudo, else an error that says so.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif have sudo; then
        sudo -- "$@"
    else
        die "needs root for: $*   (run as root, or install sudo)"
    fi
}

# c_files: every C file of the tree, relative to the working directory.
c_files() {
    local dir
    for dir in core proto relay mesh tests perf; do
        [ -d "$dir" ] && find "$dir" -type f -name '*.[ch]' -not -path '*/build/*'
    done | LC_ALL=C sort
}

# go_wanted: the toolchain that tests/interop/go.mod names, as 1.27.3; nothing if there is no such file.
go_wanted() {
    local mod="$ROOT/tests/interop/go.mod"
    [ -f "$mod" ] || return 0
    awk '$1 == "go" && !v { v = $2 } $1 == "toolchain" { v = $2; sub(/^go/, "", v) }
         END { if (split(v, part, ".") == 2) v = v ".0"; print v }' "$mod"
}

go_arch() {
    case "$(uname -m)" in
    x86_64) say amd64 ;;
    aarch64) say arm64 ;;
    riscv64) say riscv64 ;;
    *) uname -m ;;
    esac
}

# go_is_able GO: can this go command switch toolchains by itself?
go_is_able() {
    local version minor
    version=$(cd / && GOTOOLCHAIN=local "$1" version 2>/dev/null) || return 1
    minor=${version#go version go1.}
    minor=${minor%%[!0-9]*}
    [ -n "$minor" ] && [ "$minor" -ge "$GO_MINOR_MIN" ]
}

# go_find: path of a Go command that switches toolchains; fails if there is none.
# Order: $RINGRELAY_GO, then PATH, then the usual places, then what scripts/setup put in the cache.
go_find() {
    local go
    for go in "${RINGRELAY_GO:-}" "$(command -v go || true)" /usr/local/go/bin/go /usr/lib/go-1.*/bin/go \
        "$CACHE"/gomod/golang.org/toolchain@*/bin/go; do
        if [ -n "$go" ] && [ -x "$go" ] && go_is_able "$go"; then
            say "$go"
            return 0
        fi
    done
    return 1
}
