#!/usr/bin/env bash
# derper.sh RINGRELAYD RINGRELAY
# Command lines of derper's units and guides with the program's name exchanged: the relay starts, keeps the key that
# derper has made, serves, stops. As root on the ports of the guides, in namespaces of our own; else on free ones.
set -euo pipefail

# shellcheck source=tests/system/lib.bash
. "$(dirname "$0")/lib.bash"
enter_namespaces "$@"

dev=()
host=derp.example.com
mkdir "$dir/certs"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj "/CN=$host" \
    -addext "subjectAltName=DNS:$host" -keyout "$dir/certs/$host.key" -out "$dir/certs/$host.crt" 2>"$dir/err" ||
    die "no certificate"

# As derper writes it, with tabs.
printf '{\n\t"PrivateKey": "privkey:%s"\n}\n' \
    000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e5f >"$dir/derper.key"
chmod 600 "$dir/derper.key"
cp -p "$dir/derper.key" "$dir/derper.key.before"
public=$("$tool" pubkey "$dir/derper.key")

listen=127.0.0.1:0 http=-1 stun=false
if [ $is_apart = yes ]; then
    listen=:443 http=80 stun=true
    printf '127.0.0.1 %s\n' "$host" >"$dir/hosts"
    mount --bind "$dir/hosts" /etc/hosts
else
    printf 'not shown, takes root and namespaces: the ports of the guides\n'
fi

# drop_in FLAG...: the rest of an ExecStart line.
drop_in() {
    start "$@"
    grep -qF "public key $public" "$dir/log" || die "another key with: $*"
    cmp -s "$dir/derper.key" "$dir/derper.key.before" || die "the key file has changed with: $*"
    if [ $is_apart = yes ] && [ "$port" != 443 ]; then die "on port $port with: $*"; fi
    curl -fsS -o "$dir/out" --max-time 10 --cacert "$dir/certs/$host.crt" --resolve "$host:$port:127.0.0.1" \
        "https://$host:$port/derp/probe" 2>"$dir/err" || die "no answer with: $*"
    if [ $is_apart = yes ]; then
        "$tool" probe --insecure "https://$host/derp" >"$dir/out" 2>&1 || die "probe, with $*: $(cat "$dir/out")"
    fi
    stop
    printf 'ok: %s\n' "${*//"$dir"/…}"
}

# The README of derper and a unit.
drop_in -hostname=$host -certmode=manual -certdir="$dir/certs" -a $listen -http-port $http -c "$dir/derper.key" \
    -stun -stun=$stun -verify-clients=false
# Two dashes, values as words of their own.
drop_in --hostname $host --certmode manual --certdir "$dir/certs" -a "$listen" --http-port -1 --c "$dir/derper.key" \
    --stun=false --verify-clients=0 --dev=false
# What images make of environment variables: everything said, most of it nothing.
drop_in --hostname=$host --certmode=manual --certdir="$dir/certs/" -a $listen --stun=$stun --stun-port=3478 \
    --http-port=$http -c="$dir/derper.key" --derp=true --mesh-psk-file= --mesh-with= --bootstrap-dns-names= \
    --verify-clients=F --verify-client-url= --verify-client-url-fail-open=true --socket= \
    --accept-connection-limit=+Inf --accept-connection-burst=9223372036854775807 --home= --rate-config= \
    --tcp-keepalive-time=10m0s --tcp-user-timeout=15s --tcp-write-timeout=2s --ace=false

# Guides also ask for what is not built in: then it does not start, and says so, rather than serve strangers.
refused() {
    local text=$1
    shift
    expect 2 "$daemon" -hostname=$host -certmode=manual -certdir="$dir/certs" -a $listen -c "$dir/derper.key" "$@"
    grep -qF -- "not supported yet: $text" "$dir/err" || die "'$text' is not refused by name"
}
refused "-verify-clients=true" --verify-clients
refused "-verify-client-url=http://127.0.0.1:1" --verify-client-url=http://127.0.0.1:1
refused "-mesh-with=$host" -mesh-with $host
expect 2 "$daemon" -hostname=$host -a :8443 -c "$dir/derper.key" -stun
grep -qF "derper would serve plain HTTP here" "$dir/err" || die "plain HTTP by surprise"
printf 'ok: what is not built in is refused\n'

# The same, meant: behind a TLS proxy.
start -plain -hostname=$host -c "$dir/derper.key" -a 127.0.0.1:0
grep -q 'plain HTTP: for use behind a TLS proxy' "$dir/log" || die "the log does not say plain"
"$tool" probe "http://$address/derp" >"$dir/out" 2>&1 || die "probe of -plain: $(cat "$dir/out")"
stop
printf 'ok: -plain\n'
