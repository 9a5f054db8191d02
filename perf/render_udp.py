"""The part of the report that is about the UDP relay, beside Tailscale's net/udprelay. Nothing is measured here."""

import statistics

import measure
import render

OURS, THEIRS = "ringrelayd-udp", "udprelay"
COST = "server.cpu_us_per_packet"
ENDPOINT_BYTES_MAX = 1000

METHOD = """
- **The load** is `udpload`, one thread on plain sockets. *Runs*: so many packets of one flow are handed to the kernel as
  one (UDP_SEGMENT). *Single datagrams*: each by itself, in bursts of so many of one flow, then the next flow; 64 flows
  take turns in a shuffled order and have 2560 packets under way together, pairs have 256 each. Packets are received with
  UDP_GRO, as Tailscale's clients do. What comes is verified as above; the size is that behind the Geneve header.
- **udprelay** is `tailscale.com/net/udprelay` of the pinned module in a program of its own (`tests/interop/cmd/udprelay`);
  its GOMAXPROCS, beside its version, is the number of CPUs it has. Both servers are asked for endpoints over a Unix
  socket.
- **Single datagrams on loopback are Go's worst case.** With UDP_GRO it reads two messages by one system call, and
  loopback puts nothing together; a network card would, and the runs are close to Go's best case. Read both.
- **Loopback** delivers a packet to the receiving client in the server's time, for both servers alike. In window mode the
  load rests up to 0.1 ms at a time, so that no server pays for waking it packet by packet.
- **Memory** is that of 100,000 bound endpoints, in a ringrelayd with room for 131,072: its table has a size, and fewer
  endpoints in it touch more memory each.
"""

# label, what it is, the least ratio Go / ringrelayd
PACKET_TARGETS = (
    ("udp-runs-1280-10", "runs of 32 × 1280 B, 10 pairs", 2.5), ("udp-runs-1280-1", "runs of 32 × 1280 B, 1 pair", 3),
    ("udp-runs-64-10", "runs of 32 × 64 B, 10 pairs", 4), ("udp-runs-64-1", "runs of 32 × 64 B, 1 pair", None),
    ("udp-single-10-1", "single, 1280 B, 10 pairs", 2.5), ("udp-single-64-1", "single, 1280 B, 64 flows", 2.5),
    ("udp-single-10-8", "single in bursts of 8, 1280 B, 10 pairs", 3),
    ("udp-single-64-8", "single in bursts of 8, 1280 B, 64 flows", 3),
    ("udp-single-10-32", "single in bursts of 32, 1280 B, 10 pairs", 3),
    ("udp-single-64-32", "single in bursts of 32, 1280 B, 64 flows", 3))

PACED_TARGETS = (("udp-paced-single", "single, 1280 B, 10 pairs", 2.5),
                 ("udp-paced-runs", "runs of 32 × 1280 B, 10 pairs", 2.5))

RTT_TARGETS = (("udp-rtt-idle", "idle"), ("udp-rtt-50k", "with 50 k single datagrams/s beside"))

ACTIVE_ROWS = (("udp-active-single", "single"), ("udp-active-runs", "runs of 32"))
ACTIVE_MAX = (1.1, 1.3)  # of the few, of the many


def active_targets(results, label, what):
    """Each pair of cases is "n of n" and "n of many more"."""
    result, rows = results.get(label), []
    cases = list((result or {}).get("cases", {}))
    for i, limit in enumerate(ACTIVE_MAX):
        target = "at most × %g" % limit
        if not result:
            rows.append(render.not_measured("CPU per packet, few active among many, %s, µs" % what, target))
            continue
        alone, among = (render.case_values(result, c, COST) for c in cases[2 * i:2 * i + 2])
        growth = measure.spread([b / a for a, b in zip(alone, among)])
        rows.append(["CPU per packet, %s active, beside %s, %s, µs" % (cases[2 * i + 1], cases[2 * i], what), "",
                     "%.3f, %.3f" % (statistics.median(among), statistics.median(alone)), "",
                     "× " + render.spread_text(growth), target, render.verdict(growth["median"] <= limit, result)])
    return rows


def memory_target(results):
    row = render.ratio_target(results, "udp-idle", "RSS per bound endpoint, bytes", "server.bytes_per_endpoint", None, 0,
                              theirs=THEIRS)
    ours = measure.figure(results.get("udp-idle"), "server.bytes_per_endpoint", OURS)
    row[5] = "at most %d" % ENDPOINT_BYTES_MAX
    row[6] = render.verdict(ours["median"] <= ENDPOINT_BYTES_MAX, results["udp-idle"]) if ours else "not measured"
    return row


def targets_of(results):
    def beside_it(label, work, path, least, digits):
        return render.ratio_target(results, label, work, path, least, digits, theirs=THEIRS)

    rows = [beside_it(label, "CPU per packet, %s, µs" % what, COST, least, 3) for label, what, least in PACKET_TARGETS]
    rows += [render.paced_target(results.get(label), what, least, OURS, THEIRS) for label, what, least in PACED_TARGETS]
    rows += [beside_it(label, "RTT %s %s, µs" % (p, what), "rtt_us." + p, 1, 0)
             for label, what in RTT_TARGETS for p in ("p50", "p99")]
    rows.append(beside_it("udp-bind", "CPU per endpoint: request and both handshakes, ms", "server.cpu_ms_per_bind", 2, 3))
    rows.append(render.storm_target(results.get("udp-storm"), "bind endpoints", None, OURS, THEIRS))
    for label, what in ACTIVE_ROWS:
        rows += active_targets(results, label, what)
    rows.append(memory_target(results))
    return rows


def section(results):
    """Paragraphs; none when nothing of it was measured."""
    if not any(label.startswith("udp-") for label in results):
        return []
    head = ["work", "Go", "ringrelayd", "Go / ringrelayd", "target", ""]
    rows = [[*row[:3], *row[4:]] for row in targets_of(results)]  # there is no floor
    return ["## UDP relay", METHOD.strip(), render.markdown_table([head, *rows])]
