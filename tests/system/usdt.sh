#!/usr/bin/env bash
# usdt.sh RINGRELAYD RINGRELAY
# The probes: each is in the program, in one place, with as many arguments as docs/probes.md says; the reasons have the
# numbers it says; and, where bpftrace is there and allowed to, a login, its packets and its end are seen from outside.
# With RINGRELAY_USDT=OFF (a build without sys/sdt.h) there has to be none.
set -euo pipefail

# shellcheck source=tests/system/lib.bash
. "$(dirname "$0")/lib.bash"
root=$(cd "$(dirname "$0")/../.." && pwd)
page="$root/docs/probes.md"

# probes_of_program: "name arguments" for each place.
probes_of_program() {
    readelf -nW "$daemon" 2>/dev/null | awk '
        /Provider:/ { ours = $NF == "ringrelay" }
        ours && /Name:/ { name = $2 }
        ours && /Arguments:/ { print name, NF - 1 }' | sort
}

# probes_of_page: the same of the rows "| `name` | `a` number | ... |" of the page: its arguments are in backquotes.
probes_of_page() {
    sed -n '/^## Probes/,/^## Reasons/p' "$page" | awk -F'|' '
        $2 ~ /^ `[a-z]+` $/ { name = $2; gsub(/[ `]/, "", name); print name, gsub(/`/, "", $3) / 2 }' | sort
}

# reasons_of_source DROP_REASONS: "number label", in the order of relay/reason.h.
reasons_of_source() {
    sed -n "/^#define $1(X)/,/[^\\\\]\$/p" "$root/relay/reason.h" |
        sed -n 's/^ *X([A-Z0-9_]*, "\([a-z0-9_]*\)",.*/\1/p' | awk '{ print NR - 1, $1 }'
}

# reasons_of_page drop: of the rows "| 0 | `a` | `b` | `c` |": its columns are drop, close, refuse.
reasons_of_page() {
    sed -n '/^## Reasons/,$p' "$page" | awk -F'|' -v column="$1" '
        $2 ~ /^ [0-9]+ $/ { gsub(/[ `]/, ""); if ($column != "") print $2, $column }'
}

# same WHAT WANTED GOT
same() {
    [ "$2" = "$3" ] || die "$1 (< docs/probes.md, > source or program): $(diff <(printf '%s' "$2") <(printf '%s' "$3"))"
    [ -n "$2" ] || die "$1: nothing found"
}

command -v readelf >/dev/null || die "needs readelf (binutils)"
column=3
for reasons in DROP_REASONS CLOSE_REASONS REFUSE_REASONS; do
    same "$reasons" "$(reasons_of_page $column)" "$(reasons_of_source $reasons)"
    column=$((column + 1))
done
if [ "${RINGRELAY_USDT:-ON}" = OFF ]; then
    [ -z "$(probes_of_program)" ] || die "there are probes in a build without"
    printf 'ok: built without probes\n'
    exit 0
fi
same probes "$(probes_of_page)" "$(probes_of_program)"
printf 'ok: %d probes, each in one place, with the arguments of docs/probes.md\n' "$(probes_of_program | wc -l)"

if ! command -v bpftrace >/dev/null || [ "$(id -u)" != 0 ]; then
    printf 'not run: watching them (needs bpftrace and root)\n'
    exit 0
fi
# shellcheck disable=SC2119
start
cat >"$dir/watch.bt" <<EOT
usdt:$daemon:ringrelay:accept { printf("%s accept fd=%d\n", comm, arg0); }
usdt:$daemon:ringrelay:refuse { printf("%s refuse fd=%d reason=%d\n", comm, arg0, arg1); }
usdt:$daemon:ringrelay:login { printf("%s login id=%d fd=%d\n", comm, arg0, arg2); }
usdt:$daemon:ringrelay:enqueue { printf("%s enqueue id=%d waiting=%d\n", comm, arg0, arg4); }
usdt:$daemon:ringrelay:send { printf("%s send id=%d bytes=%d\n", comm, arg0, arg2); }
usdt:$daemon:ringrelay:close { printf("%s close id=%d reason=%d received=%d\n", comm, arg0, arg2, arg3); }
EOT
bpftrace -p "$pid" "$dir/watch.bt" >"$dir/seen" 2>"$dir/err" &
watcher=$!
wanted=("front accept fd=[1-9]" "front refuse fd=[1-9]" "worker-[0-9]* login id=[1-9][0-9]* fd=[1-9]"
    "worker-[0-9]* enqueue id=[1-9][0-9]* waiting=[1-9]" "worker-[0-9]* send id=[1-9][0-9]* bytes=[1-9]"
    "worker-[0-9]* close id=[1-9][0-9]* reason=0 received=[1-9]")
# unseen: the first event wanted that bpftrace has not printed.
unseen() {
    local event
    for event in "${wanted[@]}"; do
        grep -q "^$event" "$dir/seen" || {
            printf '%s' "$event"
            return
        }
    done
}
# bpftrace attaches its probes one after the other, and until then events pass unseen: so all are made again until each
# is seen.
deadline=$((SECONDS + 20))
while [ -n "$(unseen)" ]; do
    if ! kill -0 "$watcher" 2>/dev/null; then
        printf 'not run: watching them (%s)\n' "$(tail -n 1 "$dir/err")"
        stop
        exit 0
    fi
    [ $SECONDS -lt $deadline ] || die "bpftrace has not seen $(unseen): $(tail -n 3 "$dir/seen" "$dir/err")"
    expect 0 "$tool" probe "http://$address/derp"
    expect 0 curl -s -o "$dir/page" -H "Connection: close" "http://$address/generate_204"
done
kill -INT "$watcher"
wait "$watcher" || true
printf 'ok: bpftrace sees %d events\n' "$(grep -c = "$dir/seen")"
stop
