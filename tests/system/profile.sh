#!/usr/bin/env bash
# profile.sh RINGRELAYD RINGRELAY
# Tools of perf/ that compare nothing. perf/micro/run prints figures, and instructions where valgrind is. perf/profile:
# its report's own test; and, where perf may sample, a relay under a small load is profiled and leaves what it promises.
set -euo pipefail

# shellcheck source=tests/system/lib.bash
. "$(dirname "$0")/lib.bash"
root=$(cd "$(dirname "$0")/../.." && pwd)

# micro_bench of the same build; built with the tests, so it is there.
export MICRO_BENCH
MICRO_BENCH=$(dirname "$daemon")/micro_bench
expect 2 "$MICRO_BENCH" --runs 0
expect 1 "$MICRO_BENCH" "no such case"
expect 0 "$MICRO_BENCH" --list =directory/hit/10
[ "$(cat "$dir/out")" = directory/hit/10 ] || die "--list takes a name for a pattern"
expect 0 "$root/perf/micro/run" --json --no-callgrind --runs 3 rewrite lane
[ "$(jq '[.cases[] | select(.ns > 0 and .ns_best <= .ns)] | length' "$dir/out")" = 2 ] || die "not two figures"
printf 'ok: perf/micro/run\n'
if ! valgrind --tool=none "$MICRO_BENCH" --list >"$dir/try" 2>&1; then
    printf 'not run: instructions by callgrind (needs valgrind, and a build that it can run)\n'
else
    expect 0 "$root/perf/micro/run" --json --runs 1 =rewrite/send-to-recv
    jq -e '.instructions_by == "counter" or (.cases[0].instructions | . > 5 and . < 500)' "$dir/out" >"$dir/try" ||
        die "not the instructions of 37 bytes written"
    printf 'ok: instructions by %s\n' "$(jq -r .instructions_by "$dir/out")"
fi

if ! command -v python3 >/dev/null; then
    printf 'not run: needs python3\n'
    exit 0
fi
expect 0 "$root/perf/profile-report" --self-test
expect 0 "$root/perf/profile" --help
expect 1 "$root/perf/profile" --seconds never
expect 1 "$root/perf/profile" --pid 0
printf 'ok: perf/profile-report, usage of perf/profile\n'

if ! command -v perf >/dev/null || ! perf record -q -e cpu-clock -o "$dir/try" -- true >"$dir/out" 2>&1; then
    printf 'not run: perf/profile (needs perf, and the right to sample)\n'
    exit 0
fi
# Logs in again and again: until the second recording has begun (the first is a try, whose file perf puts aside), and
# for twice as long as that takes. However slow the machine is, both overlap.
cat >"$dir/load" <<'EOL'
#!/usr/bin/env bash
until [ -e "$3" ]; do "$1" probe --insecure "$2" >/dev/null || exit 1; done
end=$((SECONDS + 4))
while [ $SECONDS -lt $end ]; do "$1" probe --insecure "$2" >/dev/null || exit 1; done
EOL
chmod +x "$dir/load"
# Logins are handshakes, and those are most of the time, in whatever build.
timeout -k 1 60 "$root/perf/profile" --seconds 2 --server-cpu "0-$(($(nproc) - 1))" --load-cpu "0-$(($(nproc) - 1))" \
    --out "$dir/profile" --ringrelayd "$daemon" -- "$dir/load" "$tool" '{url}' "$dir/profile/perf.data.old" \
    >"$dir/out" 2>"$dir/err" ||
    die "perf/profile ended with $?: $(cat "$dir/err")"
grep -q '^[0-9]* samples: ' "$dir/profile/report.txt" || die "no samples: $(cat "$dir/profile/report.txt")"
grep -q 'user: handshakes (wolfSSL)$' "$dir/profile/report.txt" || die "logins without handshakes: $(cat "$dir/out")"
grep -q '^front;.* [0-9]*$' "$dir/profile/folded.txt" || die "no stacks of the front"
if [ -f /usr/share/perl5/Devel/NYTProf/flamegraph.pl ]; then
    grep -q '</svg>' "$dir/profile/flame.svg" || die "no flame graph"
fi
printf 'ok: perf/profile, %s\n' "$(sed -n 2p "$dir/profile/report.txt")"
