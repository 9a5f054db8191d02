#!/usr/bin/env bash
# privileges.sh RINGRELAYD RINGRELAY [DENY_URING]
# What a running relay can no longer do, and that it serves, reloads and stops all the same. As root also: another user,
# ports below 1024 (in namespaces of our own), root without privileges.
set -euo pipefail

# shellcheck source=tests/system/lib.bash
. "$(dirname "$0")/lib.bash"
enter_namespaces "$@"

deny=${3:-$(dirname "$1")/deny_uring}
[ -x "$deny" ] || die "there is no $deny: build the target deny_uring"
dev=()
certs=$dir/certs
tls=(-certmode manual -certdir "$certs" -hostname 127.0.0.1)
chmod 755 "$dir"
printf '{}' >"$dir/rate"
chmod 644 "$dir/rate"

says() { grep -qF -- "$1" "$dir/log" || die "the log does not say: $1"; }
says_not() { if grep -qF -- "$1" "$dir/log"; then die "the log says: $1"; fi; }
probe() { "$tool" probe "$@" "https://$address/derp" >"$dir/out" 2>&1 || die "probe: $(cat "$dir/out")"; }

# every_thread LINE...: of /proc/PID/status, in which blanks are one space each.
every_thread() {
    local line status count=0
    for status in /proc/"$pid"/task/*/status; do
        # A thread without work, as STUN's without STUN, may end while it is looked at.
        tr -s '\t ' ' ' <"$status" >"$dir/status" 2>/dev/null || continue
        [ -s "$dir/status" ] || continue
        count=$((count + 1))
        for line in "$@"; do
            grep -qx -- "$line" "$dir/status" ||
                die "a thread has no '$line' but '$(grep "^${line%%:*}:" "$dir/status")'"
        done
    done
    [ "$count" -ge 5 ] || die "only $count threads were looked at"
}

bare=("CapInh: 0000000000000000" "CapPrm: 0000000000000000" "CapEff: 0000000000000000" "CapAmb: 0000000000000000"
    "NoNewPrivs: 1")

# Two more certificates for the same address, to be exchanged.
dev=(-dev)
for n in 1 2; do
    start -certmode manual -certdir "$dir/new$n" -hostname 127.0.0.1
    stop
done
dev=()

# exchange N: as an ACME client would, each file at once.
exchange() {
    local file
    for file in 127.0.0.1.key 127.0.0.1.crt; do
        cp -p "$dir/new$1/$file" "$certs/$file.tmp"
        [ "$2" = - ] || chown "$2" "$certs/$file.tmp"
        mv "$certs/$file.tmp" "$certs/$file"
    done
}

# reloads_certificate N OWNER: the new pair gets into use.
reloads_certificate() {
    exchange "$1" "$2"
    await "new certificate from"
    probe --pin "$dir/new$1/127.0.0.1.crt"
}

reloads_rate() {
    kill -HUP "$pid"
    await "SIGHUP: each client may send"
}

# ---- whoever we are ----

start "${tls[@]}" -rate-config "$dir/rate" -workers 2
filter=2
if grep -q 'seccomp off (instrumented build)' "$dir/log"; then
    filter=0
    printf 'not shown: the filter of system calls (sanitizers)\n'
elif ! "$deny" EPERM /bin/true 2>/dev/null; then
    filter=0
    printf 'not shown: the filter of system calls (forbidden here)\n'
    says "seccomp off (not possible here)"
else
    says "no capabilities, no new privileges, no core dumps, seccomp on"
fi
every_thread "${bare[@]}" "Seccomp: $filter"
probe --pin "$certs/127.0.0.1.crt"
curl -sk --max-time 10 "https://$address/debug/varz" >"$dir/varz"
grep -qE '^process_open_fds [1-9][0-9]{0,2}$' "$dir/varz" || die "open files are not counted"
reloads_rate
reloads_certificate 1 -
probe --pin "$certs/127.0.0.1.crt"
stop
says "stopping"
printf 'ok: without privileges it serves, reloads and stops\n'

# asks: the admin socket answers.
socket=$dir/admin.sock
asks() { "$tool" clients --socket "$socket" >"$dir/out" 2>&1 || die "clients: $(cat "$dir/out")"; }
start "${tls[@]}" -admin-socket "$socket"
asks
stop
[ ! -e "$socket" ] || die "the filter keeps the admin socket from being removed"
printf 'ok: its admin socket\n'

before=$(sed -n "s/^Seccomp_filters:[^0-9]*//p" /proc/self/status)
for mode in off log; do
    start "${tls[@]}" -seccomp="$mode"
    if [ $filter = 2 ]; then says "no core dumps, seccomp $mode"; fi
    if [ "$mode" = off ]; then every_thread "${bare[@]}" ${before:+"Seccomp_filters: $before"}; fi
    probe --insecure
    stop
done
printf 'ok: -seccomp=off and log\n'

# A host that forbids it is no reason not to run.
if [ $filter = 2 ]; then
    wrap=("$deny" EPERM:seccomp)
    start "${tls[@]}"
    says "seccomp off (not possible here)"
    says "warning: system calls are not filtered: "
    every_thread "${bare[@]}"
    probe --insecure
    stop
    wrap=("$deny" EPERM:capset)
    start "${tls[@]}"
    if [ "$(id -u)" = 0 ]; then says "warning: cannot give up capabilities: Operation not permitted"; fi
    probe --insecure
    stop
    wrap=()
    printf 'ok: what the host forbids is left out, and said\n'
fi

expect 1 "$daemon" -dev -a 127.0.0.1:0 -user no-such-user
if [ "$(id -u)" != 0 ]; then
    printf 'not shown, takes root: other users, low ports, root without privileges\n'
    exit 0
fi
grep -q 'there is no such user; make it' "$dir/err" || die "no remedy for -user"

# ---- started as root ----

start "${tls[@]}" -user root
every_thread "Uid: 0 0 0 0" "CapBnd: 0000000000000000" "${bare[@]}"
says "privileges: user root, no capabilities"
says_not "running as root"
probe --insecure
stop
printf 'ok: root without privileges\n'

nobody=$(id -u nobody) group=$(id -g nobody)
as_nobody=("Uid: $nobody $nobody $nobody $nobody" "Gid: $group $group $group $group" "CapBnd: 0000000000000000")

# In a folder of root's the admin socket stays behind, and is root's alone; the next start replaces it. In one of the
# user's own it goes.
for owner in root nobody; do
    mkdir -p "$dir/run"
    chown "$owner" "$dir/run"
    socket=$dir/run/admin.sock
    for _ in 1 2; do
        start "${tls[@]}" -user nobody -admin-socket "$socket"
        [ "$(stat -c '%U %a' "$socket")" = "root 600" ] || die "the socket is $(stat -c '%U %a' "$socket")"
        asks
        stop
        if [ $owner = root ] && [ ! -S "$socket" ]; then die "nobody has removed a file of root's"; fi
        if [ $owner = nobody ] && [ -e "$socket" ]; then die "the socket is still there"; fi
    done
done
printf 'ok: the admin socket of another user\n'

# Files that only root can read: said at the start, and the old certificate stays when they change.
chmod 755 "$certs"
start "${tls[@]}" -user nobody -rate-config "$dir/rate"
every_thread "${as_nobody[@]}" "${bare[@]}" "Seccomp: $filter"
says "privileges: user nobody, no capabilities"
says "warning: user nobody cannot read $certs/127.0.0.1.key: Permission denied; a new certificate will take a restart"
says "setfacl -m u:nobody:r"
exchange 2 -
await "the certificate in use stays: cannot read $certs/127.0.0.1.key"
probe --pin "$dir/new1/127.0.0.1.crt"
stop

# Files that the user can read.
chown nobody "$certs"/*
start "${tls[@]}" -user nobody -rate-config "$dir/rate"
says_not "cannot read"
probe --pin "$dir/new2/127.0.0.1.crt"
reloads_certificate 1 nobody
reloads_rate
says_not "will not change"
stop
chmod 600 "$dir/rate"
start "${tls[@]}" -user nobody -rate-config "$dir/rate"
says "cannot read $dir/rate: Permission denied; SIGHUP will not change the limit"
stop
printf 'ok: another user, and certificates it can read or not\n'

# Somebody else's limits: without CAP_SETUID an order is refused.
if command -v setpriv >/dev/null; then
    expect 1 setpriv --inh-caps -setuid,-setgid --bounding-set -setuid,-setgid -- \
        "$daemon" -dev -a 127.0.0.1:0 -user nobody
    grep -q 'cannot become that user' "$dir/err" || die "no sentence for a user that cannot be had"
fi

if [ $is_apart = no ]; then
    printf 'not shown, takes namespaces: the user ringrelay, low ports\n'
    exit 0
fi

# ---- with /etc and ports of our own ----

if ! getent passwd ringrelay >/dev/null; then
    start "${tls[@]}"
    says "warning: running as root, without capabilities: there is no user ringrelay"
    every_thread "Uid: 0 0 0 0" "${bare[@]}"
    stop
    { cat /etc/passwd && printf 'ringrelay:x:64321:%s::/nonexistent:/usr/sbin/nologin\n' "$group"; } >"$dir/passwd"
    chmod 644 "$dir/passwd"
    mount --bind "$dir/passwd" /etc/passwd
fi
uid=$(id -u ringrelay)
start "${tls[@]}" -a 127.0.0.1:443
[ "$address" = 127.0.0.1:443 ] || die "listens on $address"
says "privileges: user ringrelay, no capabilities"
every_thread "Uid: $uid $uid $uid $uid" "${bare[@]}"
probe --insecure
stop
printf 'ok: the user ringrelay is the default, on port 443\n'

# As a unit with User= and AmbientCapabilities= starts it.
if command -v setpriv >/dev/null; then
    chown -R nobody "$certs"
    wrap=(setpriv --reuid nobody --regid "$group" --clear-groups)
    expect 1 "${wrap[@]}" "$daemon" "${tls[@]}" -a 127.0.0.1:443
    wrap+=(--inh-caps +net_bind_service --ambient-caps +net_bind_service)
    start "${tls[@]}" -a 127.0.0.1:443
    every_thread "${as_nobody[0]}" "${bare[@]}" "Seccomp: $filter"
    says "privileges: user nobody, no capabilities"
    probe --insecure
    reloads_certificate 2 nobody
    stop
    printf 'ok: a port below 1024 by an ambient capability, which is gone afterwards\n'
fi
