#!/usr/bin/env bash
# compare.sh RINGRELAYD RINGRELAY
# The tools of perf/ run: the floor relays packets of a real client, and perf/compare starts servers, loads them and
# says what came of it. Figures are not judged.
set -euo pipefail

# shellcheck source=tests/system/lib.bash
. "$(dirname "$0")/lib.bash"

root=$(cd "$(dirname "$0")/../.." && pwd)
build=$(cd "$(dirname "$daemon")" && pwd)

# compare STATUS ARGUMENT...: perf/compare with the programs under test.
compare() {
    local wanted=$1
    shift
    local rc=0
    timeout -k 1 90 "$root/perf/compare" --no-build --build "$build" --repeats 0 --out "$dir/perf" "$@" \
        >"$dir/out" 2>"$dir/err" </dev/null || rc=$?
    [ $rc = "$wanted" ] || die "compare $*: exit status $rc instead of $wanted"
    if [ "$wanted" != 0 ] && grep -q Traceback "$dir/err"; then die "compare $*: not a sentence"; fi
}

# ---- the floor ----

"$build/perf_floor" >"$dir/log" 2>&1 &
pid=$!
deadline=$((SECONDS + 10))
until address=$(sed -n 's/.* listening on //p' "$dir/log") && [ -n "$address" ]; do
    kill -0 "$pid" 2>/dev/null || die "the floor did not start"
    [ $SECONDS -lt $deadline ] || die "the floor does not listen"
    sleep 0.02
done
expect 0 "$tool" probe "http://$address/derp"
kill "$pid"
wait "$pid" || true
pid=
expect 2 "$build/perf_floor" -a nonsense
expect 2 "$build/perf_floor" nonsense
printf 'ok: the floor\n'

# ---- what needs no load ----

compare 0 --help
compare 2
compare 2 nonsense
compare 2 --nonsense relay
compare 2 --rounds 0 relay
compare 2 --beside nonsense relay
compare 2 --servers ringrelayd-udp login
compare 1 --servers nonsense relay
compare 1 --servers ringrelayd,ringrelayd-udp relay
compare 1 --server-cpu 9999 relay
compare 1 --derpload "$dir/nonsense" --servers ringrelayd relay
printf 'ok: sentences\n'

# ---- a comparison ----

# The load may be missing in a tree that was cut down; in one that has its source it has been built.
if [ ! -d "$root/perf/derpload" ]; then
    printf 'skipped: no source of derpload\n'
    exit 0
fi
short=(relay --seconds 0.3 --warmup 0.1 --pairs 2)
compare 0 --servers ringrelayd,floor --rounds 1 --json "${short[@]}"
jq -e '.tool == "compare" and (.rounds | length) == 1
    and (.rounds[0].ringrelayd | .load.verified > 0 and .load.tls and .load.server.cpu_us_per_packet > 0
        and .foreign_cpu >= 0 and (.noisy | type) == "boolean")
    and (.rounds[0].floor.load | .verified > 0 and .tls == false)
    and .metrics["server.cpu_us_per_packet"].ratios.floor.median > 0
    and .metrics.packets_per_second.servers.ringrelayd.median > 0' "$dir/out" >/dev/null ||
    die "the JSON is not as described"
jq -e '.rounds[0].floor.server == "floor"' "$dir/perf/relay.json" >/dev/null || die "no raw JSON was kept"
printf 'ok: JSON\n'

compare 0 --servers ringrelayd --rounds 2 --beside "relay --rate 1000" rtt --seconds 0.3 --warmup 0.1
grep -q '^round 2 ' "$dir/out" || die "no table of rounds"
jq -e '[.rounds[].ringrelayd | .beside.verified > 0 and .load.samples > 0] == [true, true]' "$dir/perf/rtt.json" \
    >/dev/null || die "the load beside is missing"
compare 1 --servers ringrelayd --rounds 1 "${short[@]}" --size 1
printf 'ok: a load beside, a load that fails\n'

# The other kind of server.
compare 0 --servers ringrelayd-udp --rounds 1 --json relay --seconds 0.3 --warmup 0.1 --segments 1
jq -e '.command[0] == "udpload" and (.rounds[0]["ringrelayd-udp"].load | .tool == "udpload" and .verified > 0 and
    .segments == 1)' "$dir/out" >/dev/null || die "the JSON of a UDP relay is not as described"
printf 'ok: a UDP relay\n'

# Whoever is told to end ends what it has started.
"$root/perf/compare" --no-build --build "$build" --servers floor --rounds 1 --out "$dir/perf" relay --seconds 60 \
    >"$dir/out" 2>"$dir/err" &
pid=$!

# child NAME: the process of that name that compare has started.
child() {
    local stat
    for stat in /proc/[0-9]*/stat; do
        { sed -n "s/^\([0-9]*\) ($1) [A-Z] $pid .*/\1/p" "$stat"; } 2>/dev/null || true
    done
}
deadline=$((SECONDS + 20))
until server=$(child perf_floor) && [ -n "$server" ] && [ -n "$(child derpload)" ]; do
    kill -0 "$pid" 2>/dev/null || die "compare ended early"
    [ $SECONDS -lt $deadline ] || die "compare starts nothing"
    sleep 0.02
done
kill "$pid"
wait "$pid" || true
pid=
if kill -0 "$server" 2>/dev/null; then die "a server is left behind"; fi
printf 'ok: an end in the middle\n'
