#!/usr/bin/env bash
# tool.sh RINGRELAYD RINGRELAY
# The operator's command: keys that agree with the daemon, probes with a verdict, exit statuses as documented.
set -euo pipefail

# shellcheck source=tests/system/lib.bash
. "$(dirname "$0")/lib.bash"


# ---- usage ----

expect 2 "$tool"
says out "usage: ringrelay"
for word in help --help -h; do
    expect 0 "$tool" $word
    says out "usage: ringrelay"
    for command in genkey pubkey probe version help; do says out "^  $command "; done
    is_silent err
done
expect 0 "$tool" version
cp "$dir/out" "$dir/version"
"$daemon" -version | cmp - "$dir/version" || die "daemon and tool are of different versions"
expect 0 "$tool" --version
cmp "$dir/out" "$dir/version"
expect 2 "$tool" nonsense
says err 'no command "nonsense"'
expect 2 "$tool" genkey x
says err "takes no arguments"
expect 2 "$tool" pubkey a b
expect 2 "$tool" version x
expect 2 "$tool" probe
says err "takes one URL"
expect 2 "$tool" probe --nonsense http://127.0.0.1:1/
expect 2 "$tool" probe http://127.0.0.1:1/ http://127.0.0.1:1/
printf 'ok: usage\n'

# ---- keys ----

expect 0 "$tool" genkey
is_silent err
grep -q '"PrivateKey": "privkey:[0-9a-f]\{64\}"' "$dir/out" || die "not a key file"
cp "$dir/out" "$dir/key"
expect 0 "$tool" genkey
if cmp -s "$dir/out" "$dir/key"; then die "the same key twice"; fi
expect 0 "$tool" pubkey "$dir/key"
public=$(cat "$dir/out")
[[ $public =~ ^nodekey:[0-9a-f]{64}$ ]] || die "'$public' is not a public key"
[ "$("$tool" pubkey <"$dir/key")" = "$public" ] || die "another public key from standard input"
[ "$("$tool" genkey | "$tool" pubkey | wc -c)" = 73 ] || die "genkey | pubkey"
grep -o 'privkey:[0-9a-f]*' "$dir/key" >"$dir/bare"
[ "$("$tool" pubkey "$dir/bare")" = "$public" ] || die "another public key from the bare private key"
expect 1 "$tool" pubkey "$dir/none"
says err "$dir/none: No such file"
expect 1 "$tool" pubkey /dev/null
says err "/dev/null: "
printf '{"PrivateKey": "privkey:00"}' >"$dir/wrong"
expect 1 "$tool" pubkey "$dir/wrong"
says err "$dir/wrong: "
is_silent out

start -c "$dir/key"
logged=$(sed -n 's/.* public key //p' "$dir/log")
[ "$logged" = "$public" ] || die "the daemon says $logged, pubkey says $public"
stop
start -c "$dir/new/key" # made by the daemon, read by the tool
logged=$(sed -n 's/.* public key //p' "$dir/log")
[ "$("$tool" pubkey "$dir/new/key")" = "$logged" ] || die "the daemon's own file gives another key"
says log "made a new private key in $dir/new/key"
printf 'ok: keys\n'

# ---- a good probe ----

expect 0 "$tool" probe "http://$address/derp"
says out "^good:"
says out "$logged"
is_silent err
expect 0 "$tool" probe "http://$address" # /derp is understood
expect 0 "$tool" probe --json "http://$address/derp"
if command -v jq >/dev/null; then
    jq -e --arg server "$logged" '.good == true and .server == $server and .packets > 0 and .bytes > 65536 and
        .login_ms > 0 and .login_fast_start_ms > 0 and .ping_ms > 0 and .packet_ms > 0' "$dir/out" >/dev/null ||
        die "not the JSON of a good probe"
else
    says out '"good": true'
fi
printf 'ok: probe\n'

# ---- probes of what is not there ----

# expect_bad WORD URL: exit status 1, one sentence with the word, and the same as JSON.
expect_bad() {
    expect 1 "$tool" probe "$2"
    says err "^bad: .*$1"
    is_silent out
    [ "$(wc -l <"$dir/err")" = 1 ] || die "more than a line for $2"
    expect 1 "$tool" probe --json "$2"
    if command -v jq >/dev/null; then
        jq -e --arg word "$1" '.good == false and (.error | contains($word))' "$dir/out" >/dev/null ||
            die "not the JSON of a bad probe"
    else
        says out '"good": false'
    fi
}

expect_bad "not a DERP server" "http://$address/other" # an HTTP server that is not for DERP there
expect_bad "not TLS" "https://$address/derp" # a server without TLS
expect_bad "has to begin with" "ftp://$address/derp"
expect_bad "no usable host" "http:///derp"
expect_bad "port is wrong" "http://127.0.0.1:/derp"
expect_bad "no closing bracket" "http://[::1/derp"
stop
expect_bad "cannot connect to 127.0.0.1:1" "http://127.0.0.1:1/derp" # a port that nobody is given by chance
printf 'ok: bad probes\n'

# ---- TLS ----

certificate="$dir/certs/127.0.0.1.crt"
start -stun -stun-port 0
stun_port=$(sed -n 's/.* STUN on .*:\([0-9]*\)$/\1/p' "$dir/log")
expect 0 "$tool" probe --stun-port "$stun_port" "http://$address/derp"
says out "^STUN .* seen as 127\.0\.0\.1:[0-9]"
expect 0 "$tool" probe --json --stun-port "$stun_port" "http://$address/derp"
[ "$(jq '.stun_ms > 0 and (.stun_address | startswith("127.0.0.1:"))' "$dir/out")" = true ] || die "no figures of STUN"
stop
start
expect 1 "$tool" probe --stun-port "$stun_port" "http://$address/derp"
says err "^bad: STUN: no answer from 127.0.0.1, UDP port $stun_port"
expect 2 "$tool" probe --stun-port 0 "http://$address/derp"
stop
printf 'ok: STUN\n'

start -certmode manual -certdir "$dir/certs" -hostname 127.0.0.1 -http-port -1
expect 0 "$tool" probe --pin "$certificate" "https://$address/derp"
says out "fast start   the certificate chain names the server's key"
says out "^good:"
expect 0 "$tool" probe --insecure --json "https://$address/derp"
[ "$(jq .good "$dir/out")" = true ] || die "the probe says nothing good"
expect 1 "$tool" probe --pin "$(printf '0%.0s' {1..64})" "https://$address/derp"
says err "^bad: TLS:"
expect 1 "$tool" probe "https://$address/derp" # a self-signed certificate leads to no root
says err "^bad: TLS:"
expect 0 "$tool" derpmap 127.0.0.1 --port "$port" --stun-port -1 --pin "$certificate"
node=$(jq -c '.Regions["900"].Nodes[0]' "$dir/out")
grep -qF "$node" "$dir/log" || die "the node of the map, $node, is not the one in the log"
expect 0 "$tool" derpmap 127.0.0.1 --stun-port 3478
[ "$(jq '.Regions["900"].Nodes[0].STUNPort' "$dir/out")" = null ] || die "the map names the port that needs no name"
expect 0 "$tool" derpmap 127.0.0.1 --stun-port 3479
[ "$(jq '.Regions["900"].Nodes[0].STUNPort' "$dir/out")" = 3479 ] || die "the map has another port of STUN"
for arguments in "" "--stun-port 0 x" "--stun-port 65536 x" "--stun-port - x" "--port 70000 x" \
    "--pin nothing x" "a b"; do
    # shellcheck disable=SC2086  # words
    expect 2 "$tool" derpmap $arguments
done
stop
printf 'ok: TLS\n'
