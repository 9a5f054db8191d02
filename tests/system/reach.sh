#!/usr/bin/env bash
# reach.sh RINGRELAYD RINGRELAY
# Where the UDP relay can be reached, by the interfaces of a network of its own: which addresses clients are told, and
# what happens when a link goes down and comes back. With the filter of system calls.
set -euo pipefail

# shellcheck source=tests/system/lib.bash
. "$(dirname "$0")/lib.bash"

skip() {
    echo "skipped: $*"
    exit 0
}

enter_namespaces "$@"
[ "$is_apart" = yes ] || skip "no network namespace of its own"

# interface NAME ADDRESS...: one that is up; a bridge, as there are everywhere.
interface() {
    local name=$1 one
    shift
    ip link add "$name" type bridge 2>/dev/null || skip "no bridges here"
    ip link set "$name" up
    for one in "$@"; do
        case $one in
        *:*) ip addr add "$one" dev "$name" nodad ;;
        *) ip addr add "$one" dev "$name" ;;
        esac
    done
}

told() { sed -n 's/.* clients are told //p' "$dir/log" | tail -n 1; }

# await_told ADDRESS...: within two rounds, exactly these, in any order, with the relay's port.
await_told() {
    local deadline=$((SECONDS + 60)) wanted got
    wanted=$(printf '%s\n' "${@/%/:$relay_port}" | sort)
    until got=$(told | tr -d ' ' | tr ',' '\n' | sort) && [ "$got" = "$wanted" ]; do
        kill -0 "$pid" 2>/dev/null || die "ended while clients were to be told $*"
        [ $SECONDS -lt $deadline ] || die "clients are told '$(told)' instead of: $*"
        sleep 0.5
    done
}

interface eth0 192.0.2.10/24 169.254.7.7/16 2001:db8::10/64 2001:db8::11/64 2001:db8::12/64 fd00::10/64
interface eth1 198.51.100.10/24
interface tailscale0 100.64.1.2/32 fd7a:115c:a1e0::2/128
interface zt1 203.0.113.10/24

start -a :0 -relay-port 0 -seccomp on
relay_port=$(sed -n 's/.* UDP relay on 0.0.0.0:\([0-9]*\).*/\1/p' "$dir/log")
[ -n "$relay_port" ] || die "the log does not say where the UDP relay is"
await "clients are told"
# Which two of the subnet is the kernel's choice, which lists IPv6 as it likes.
[ "$(told | tr ',' '\n' | grep -c '2001:db8::1[012]')" = 2 ] || die "not two of a subnet: $(told)"
[ "$(told | tr ',' '\n' | grep -c .)" = 4 ] || die "others than 192.0.2.10, 198.51.100.10 and two: $(told)"
echo "ok: $(told)"

ip addr flush dev eth0 scope global
ip addr add 192.0.2.10/24 dev eth0
ip link set eth1 down
await_told 192.0.2.10
echo "ok: addresses that were removed go, and those of a link that is down"

ip link set eth1 up
await_told 192.0.2.10 198.51.100.10
echo "ok: and comes back"
stop

start -a 192.0.2.10:0 -relay-port 0 -seccomp on
await "clients are told 192.0.2.10:[0-9]*$"
stop
echo "ok: a relay on one address has no other"

start -a :0 -relay-port 0 -relay-no-discovery -relay-static-endpoints 203.0.113.7:7777 -seccomp on
await "clients are told 203.0.113.7:7777$"
stop
echo "ok: without discovery"

ip link set eth0 down
ip link set eth1 down
ip link set zt1 down
start -a :0 -relay-port 0 -seccomp on
await "no address is known that clients could send to"
stop
echo "ok: nothing is known"
