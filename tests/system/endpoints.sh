#!/usr/bin/env bash
# endpoints.sh RINGRELAYD RINGRELAY
# The UDP relay's endpoints as an operator and a program with a token get them: curl at the admin socket and at the DERP
# port, in the clear and by TLS, and the commands that list and end them. No packet is relayed here.
set -euo pipefail

# shellcheck source=tests/system/lib.bash
. "$(dirname "$0")/lib.bash"

command -v curl >/dev/null || {
    printf 'skipped: no curl here\n'
    exit 0
}

socket=$dir/admin.sock
a=discokey:0faa684ed28867b97f4a6a2dee5df8ce974e76b7018e3f22a1c4cf2678570f20
b=discokey:7b0d47d93427f8311160781c7c733fd89f88970aef490d8aa0ee19a4cb8a1b14
c=discokey:7b4e909bbe7ffe44c465a220037d608ee35897d31ef972f07f74892cb0f73f13
token=Zk2v0yAq7sPb9wXc-lab
path=/v0/relay/endpoint
(umask 077 && printf '# who may\n%s  the lab\n' "$token" >"$dir/tokens")

# refused STATUS WORDS FLAG...: the daemon does not start and says why.
refused() {
    local status=$1 words=$2 rc=0
    shift 2
    "$daemon" -dev -a 127.0.0.1:0 -stun=false "$@" >"$dir/out" 2>&1 || rc=$?
    [ $rc = "$status" ] || die "exit status $rc of a daemon with: $*"
    says out "$words"
    ! grep -q Zk2v0 "$dir/out" || die "a token is told"
}

# ask STATUS CURL-ARGUMENT...: its answer in $dir/out.
ask() {
    local wanted=$1 status
    shift
    status=$(curl -sS --max-time 10 -o "$dir/out" -D "$dir/head" -w '%{http_code}' "$@" 2>"$dir/err") || die "curl $*"
    [ "$status" = "$wanted" ] || die "status $status instead of $wanted: $*"
}

body() { printf '{"DiscoKeys":["%s","%s"]}' "$1" "$2"; }

# door STATUS URL CURL-ARGUMENT...: a POST with the token.
door() {
    local status=$1 url=$2
    shift 2
    ask "$status" -H "Authorization: Bearer $token" "$url" "$@"
}

# member EXPRESSION: of the JSON in $dir/out, which is `j`.
member() { python3 -c 'import json,sys; j = json.load(open(sys.argv[1])); print(eval(sys.argv[2]))' "$dir/out" "$1"; }

# ---- flags ----

refused 2 "give it a port with -relay-port" -relay-token-file "$dir/tokens"
refused 2 "-relay-rate takes" -relay-port 0 -relay-rate -1
refused 2 "-relay-requester-max takes" -relay-port 0 -relay-requester-max -1
refused 1 "cannot read the token file" -relay-port 0 -relay-token-file "$dir/none"
printf 'Zk2v0short\n' >"$dir/short"
chmod 600 "$dir/short"
refused 1 "line 1: write a token of 16" -relay-port 0 -relay-token-file "$dir/short"
chmod 644 "$dir/tokens"
refused 1 "chmod o-rw" -relay-port 0 -relay-token-file "$dir/tokens"
chmod 600 "$dir/tokens"
printf 'ok: flags\n'

# ---- a relay without a UDP relay, and one without addresses ----

start -admin-socket "$socket"
ask 404 --unix-socket "$socket" http://x$path -d "$(body $a $b)"
ask 404 "http://$address$path" -d "$(body $a $b)"
ask 200 --unix-socket "$socket" http://x/localapi/v0/debug-peer-relay-sessions
says out '^{"UDPPort":null,"Sessions":null}$'
expect 1 "$tool" endpoints --socket "$socket"
says err "runs without -relay-port"
expect 0 "$tool" status --socket "$socket"
says out '^relay    off$'
stop

static=(-relay-no-discovery -relay-static-endpoints '192.0.2.1:41641,[2001:db8::1]:7')
start -admin-socket "$socket" -relay-port 0 "${static[@]}"
door 403 "http://$address$path" -d "$(body $a $b)"
says out "without -relay-token-file"
stop
printf 'ok: without\n'

# ---- with tokens ----

start -admin-socket "$socket" -relay-port 41641 "${static[@]}" -relay-token-file "$dir/tokens" -relay-requester-max 2
url=http://$address$path
door 200 "$url" -d "$(body $b $a)"
[ "$(member 'j["ClientDisco"]')" = "['$a', '$b']" ] || die "not the two, sorted"
[ "$(member 'j["AddrPorts"]')" = "['192.0.2.1:41641', '[2001:db8::1]:7']" ] || die "not the addresses"
[ "$(member 'j["BindLifetime"], j["SteadyStateLifetime"]')" = "('30s', '5m0s')" ] || die "not the times"
vni=$(member 'j["VNI"]')
door 200 "$url" -d "$(body $a $b)"
[ "$(member 'j["VNI"]')" = "$vni" ] || die "another one for the same pair"
ask 401 "$url" -d "$(body $a $b)"
says head '^WWW-Authenticate: Bearer'
ask 403 -H "Authorization: Bearer ${token}x" "$url" -d "$(body $a $b)"
door 405 "$url"
says head '^Allow: POST'
door 400 "$url" -d '{'
door 400 "$url" -d "$(body $a $a)"
door 400 "$url" -d "$(body $a discokey:0100000000000000000000000000000000000000000000000000000000000000)"
says out "low order"
door 400 "$url" -d "$(printf ' %.0s' {1..600})"
door 400 -H 'Transfer-Encoding: chunked' "$url" -d "$(body $a $b)"
door 200 "$url" -d "$(body $a $c)"
door 503 "$url" -d "$(body $b $c)"
says head '^Retry-After: 3'
says out "relay-requester-max"
ask 200 --unix-socket "$socket" http://x$path -d "$(body $b $c)" # trusted
printf 'ok: with tokens\n'

# Two on one connection, in pieces.
exec 3<>"/dev/tcp/127.0.0.1/$port"
request=$(printf 'POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: 167\r\n\r\n%s' \
    "$path" "$token" "$(body $a $b)")
printf '%s%s' "$request" "${request:0:120}" >&3
answer=
until [[ $answer == '{"ServerDisco"'* ]]; do
    read -r -t 10 answer <&3 || die "no first answer"
done
printf '%s' "${request:120:100}" >&3
printf '%s' "${request:220}" >&3
again=
until [ "$again" = "$answer" ]; do
    read -r -t 10 again <&3 || die "not the same again"
done
exec 3>&-
printf 'ok: in pieces\n'

# ---- lists ----

expect 0 "$tool" endpoints --socket "$socket" --json
[ "$(member 'sorted(e["state"] for e in j["endpoints"])')" = "['connecting', 'connecting', 'connecting']" ] ||
    die "not three"
[ "$(member "[e['clients'][0]['key'] for e in j['endpoints'] if e['vni'] == $vni]")" = "['$a']" ] || die "not $vni"
expect 0 "$tool" endpoints --socket "$socket"
says out "^ *$vni conn d:0faa684ed28867b9  *0  *0  *- -$"
says out "^3 shown of 3, 3 connecting, 0 open, at most 16384$"
awk 'length > 80 { exit 1 }' "$dir/out" || die "a line of more than 80 columns"
expect 0 "$tool" endpoints --socket "$socket" --sort vni --limit 2 --json
[ "$(member '[e["vni"] for e in j["endpoints"]]')" = "$(member 'sorted(e["vni"] for e in j["endpoints"])')" ] ||
    die "not by VNI"
[ "$(member 'len(j["endpoints"])')" = 2 ] || die "not two"
expect 2 "$tool" endpoints --sort size --socket "$socket"
expect 2 "$tool" endpoints --limit x --socket "$socket"
ask 200 --unix-socket "$socket" http://local-tailscaled.sock/localapi/v0/debug-peer-relay-sessions
[ "$(member "j['UDPPort'], len(j['Sessions'])")" = "(41641, 3)" ] || die "not the sessions"
[ "$(member "[list(s) + list(s['Client2']) for s in j['Sessions'] if s['VNI'] == $vni]")" = \
    "[['VNI', 'Client1', 'Client2', 'Endpoint', 'ShortDisco', 'PacketsTx', 'BytesTx']]" ] || die "not as Tailscale's"
ask 405 --unix-socket "$socket" http://x/localapi/v0/debug-peer-relay-sessions -d x
expect 0 "$tool" status --socket "$socket"
says out '^relay    UDP port 41641, d:'
awk 'length > 80 && !/(node|disco)key:/ { exit 1 }' "$dir/out" || die "a line of more than 80 columns"
expect 0 "$tool" endpoint-close "$vni" --socket "$socket"
expect 1 "$tool" endpoint-close "$vni" --socket "$socket"
says err "no endpoint has the VNI $vni"
expect 2 "$tool" endpoint-close 0 --socket "$socket"
expect 2 "$tool" endpoint-close --socket "$socket"
expect 0 "$tool" allocate $a $b --socket "$socket"
[ "$(member 'j["LamportID"]')" = 4 ] || die "not a new one"
expect 2 "$tool" allocate $a --socket "$socket"
expect 1 "$tool" allocate $a nonsense --socket "$socket"
says err "allocate takes keys"
printf 'ok: lists\n'

# ---- other tokens ----

printf 'another-token-of-the-lab\n' >"$dir/tokens"
kill -HUP "$pid"
await 'SIGHUP: 1 token for the UDP relay'
deadline=$((SECONDS + 10))
until status=$(curl -sS -o "$dir/out" -w '%{http_code}' -H "Authorization: Bearer $token" "$url" -d "$(body $a $b)") &&
    [ "$status" = 403 ]; do
    [ $SECONDS -lt $deadline ] || die "the old token still opens: $status"
done
ask 200 -H 'Authorization: Bearer another-token-of-the-lab' "$url" -d "$(body $a $b)"
printf 'short\n' >"$dir/tokens"
kill -HUP "$pid"
await 'the tokens stay as they are'
ask 200 -H 'Authorization: Bearer another-token-of-the-lab' "$url" -d "$(body $a $b)"
stop
! grep -qe "$token" -e another-token "$dir/log" || die "a token in the log"
printf 'ok: other tokens\n'

# ---- TLS ----

(umask 077 && printf '%s\n' "$token" >"$dir/tokens")
dev=(-dev -certmode manual -certdir "$dir/certs" -hostname 127.0.0.1)
start -relay-port 41641 "${static[@]}" -relay-token-file "$dir/tokens" -http-port 0
door 200 "https://$address$path" -k -d "$(body $a $b)"
ask 401 "https://$address$path" -k -d "$(body $a $b)"
plain=$(sed -n 's/.*plain HTTP on \([^ ]*\): .*/\1/p' "$dir/log")
door 400 "http://$plain$path" -d "$(body $a $b)"
says out "Use HTTPS"
stop
printf 'ok: TLS\n'
