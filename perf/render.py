"""The report of perf/report: results in, perf/REPORT.md and plots out. Nothing is measured here."""

import json
import re
import shutil
import statistics

import measure
import render_udp
from measure import figure, ratio, value_at

CPU = "server.cpu_us_per_packet"
OURS, THEIRS = "ringrelayd", "derper"
FAIR_SHARE = 0.75  # least share of a pair, of the mean, that is called fair
MARGIN_US = 0.1    # what the floor is given beside the proxy and the cipher

METHOD = """
- **Ratios are what counts.** Each server runs alone, on one CPU; the load is on another. A *round* is one run of each
  server under the same command, every other round in reverse order; the ratio is taken within the round. Given are
  medians of rounds, and in parentheses the least and the greatest. Absolute figures do not carry to another machine or
  day.
- **CPU per packet** is the server's processor time, user and system, of all threads, by the kernel's clock of that
  process, over the packets that came to the right client with every byte verified, in the same span of time. What the
  kernel does for a socket inside the server's system calls is in it, for all servers alike; loopback also runs the
  receiver's side of the packets that a server sends in the server's time.
- **The load** is `derpload`, one thread, on this project's own engine and record layer. One DERP frame per TLS record,
  as Tailscale's client sends; 8 records in one write where nothing else is said. A broken or repeated packet fails the
  run. Marked `f`: the load's own core was full, so that the rate is the load's.
- **Strangers.** Processor time on the CPUs in use that belongs to none of our processes is measured in each run, by
  /proc/stat. Above 10 % of a core the run is made again, twice at most, and the quietest counts; marked `*` if it still
  was above.
- **derper** is built unmodified from the Go module that tests/interop/go.mod pins; its GOMAXPROCS, beside its figures,
  is the number of CPUs it has, as Go itself chooses.
- **The floor** is `perf_floor`, a proxy of one thread without cipher, limits or fairness, under the same load in the
  clear; plus one opening and one sealing of the packet by the fastest AES-128-GCM of this machine (`aead_bench`); plus
  0.1 µs.
"""

# label of the row, what it is, the least ratio derper / ringrelayd
FLOW_TARGETS = (
    ("flow-1400-10", "1400 B, 10 pairs", 6.5), ("flow-1400-1", "1400 B, 1 pair", 3.5),
    ("flow-1400-1-256", "1400 B, 1 pair, 256 in flight", 3.5), ("flow-64-10", "64 B, 10 pairs", 5),
    ("flow-64-1", "64 B, 1 pair", 2.5), ("flow-16000-10", "16,000 B, 10 pairs", 3),
    ("flow-16000-1", "16,000 B, 1 pair", 3))

# The same with other write sizes of the clients, which decide how much a server gets at a time. Without a target.
WRITE_ROWS = tuple(("write-%d-%d" % (size, records), "%d B, 10 pairs, %d in a write" % (size, records))
                   for size in (1400, 64) for records in (1, 16, 32))

GO_ROWS = {"go-clients": "raw frames in Go, with Go's TLS.",
           "go-derphttp": "Tailscale's own clients, as in tailscaled."}

RTT_TARGETS = (("rtt-idle", "idle", 1), ("rtt-idle-2-workers", "idle, sender and receiver on two workers", 1),
               ("rtt-60k", "with 60 k packets/s beside", 2))


def check():
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise measure.Failure("no matplotlib for the plots: scripts/setup --dev installs it (python3-matplotlib), "
                              "for the distribution's own python3, /usr/bin/python3")


# ---- results ----


def load_results(folder, order):
    paths = {path.stem: path for path in folder.glob("*.json")}
    return {label: json.loads(paths[label].read_text()) for label in order if label in paths}


def aead_us(results, size):
    """Opening and sealing `size` bytes with the fastest AES-128-GCM: medians of aead_bench. None without it."""
    sizes, best = [], None
    for line in (results.get("micro") or {}).get("results", {}).get("aead_bench", "").splitlines():
        head = re.match(r"messages: seal, open of (\d+) bytes(.*)", line)
        if head:
            sizes = [int(n) for n in [head.group(1), *re.findall(r"\d+", head.group(2))]]
        if size in sizes and re.match(r"\S+\s+AES-128-GCM\s*\|", line):
            medians = [int(n) for n in re.findall(r"\(\s*(\d+)\)", line)]
            at = 2 * sizes.index(size)
            best = min(best or 1e9, medians[at] + medians[at + 1])
    return None if best is None else best / 1000


def case_values(result, case, path):
    return [value_at(r[case]["load"], path) for r in result["rounds"]]


def spread_text(s, digits=2):
    return "%.*f (%.*f to %.*f)" % (digits, s["median"], digits, s["min"], digits, s["max"])


def runs_in(result):
    for r in (result or {}).get("rounds", []):
        for run in r.values():
            yield from run["runs"] if "runs" in run else [run]


def marks(result):
    runs = list(runs_in(result))
    return "*" * any(r.get("noisy") for r in runs) + "f" * any(r["load"].get("load_is_full") for r in runs)


# ---- targets: each is [work, derper, ringrelayd, floor, ratio, target, verdict] ----


def not_measured(work, target):
    return [work, "", "", "", "", target, "not measured"]


def verdict(is_met, *results):
    text = "met" if is_met else "**not met**"
    mark = "".join(sorted(set("".join(marks(r) for r in results))))
    return text + (" " + mark if mark else "")


def middle(result, path, name, digits):
    f = figure(result, path, name)
    return "" if f is None else "%.*f" % (digits, f["median"])


def floor_us(results, label, size):
    proxy = figure(results.get(label), CPU, "floor")
    cipher = aead_us(results, size)
    return None if proxy is None or cipher is None else proxy["median"] + cipher + MARGIN_US


def ratio_target(results, label, work, path, least, digits, floor=None, theirs=THEIRS):
    target = "" if least is None else "at most 1/%g" % least if least > 1 else "not above"
    result = results.get(label)
    r = ratio(result, path, theirs)
    if not r:
        return not_measured(work, target)
    ours = figure(result, path, result["servers"][0]["name"])["median"]
    return [work, middle(result, path, theirs, digits), "%.*f" % (digits, ours),
            "%.*f, × %.2f" % (digits, floor, ours / floor) if floor else "", spread_text(r), target,
            "" if least is None else verdict(r["median"] >= least, result)]


def paced_target(result, what, least, our_name=OURS, their_name=THEIRS):
    work, target = "paced open loop without loss above 0.1 %%, %s, packets/s" % what, "at least %g ×" % least
    if not result:
        return not_measured(work, target)
    ours, theirs = ([r[n]["rate"] for r in result["rounds"]] for n in (our_name, their_name))
    gain = measure.spread([a / b for a, b in zip(ours, theirs)])
    words = verdict(gain["median"] >= least, result)
    if any(r[our_name]["limit"] == "load" for r in result["rounds"]):
        costs = [value_at(run["load"], CPU) for r in result["rounds"] for run in r[our_name]["runs"]
                 if run["verdict"] == "carried" and run["rate"] >= 0.9 * r[our_name]["rate"]]
        words += "; the load is full first"
        if costs:
            words += ", 1/(CPU per packet) is %.0f/s, %.1f ×" % (
                1e6 / statistics.median(costs), 1e6 / statistics.median(costs) / statistics.median(theirs))
    if any(r[n]["limit"] == "strangers" for r in result["rounds"] for n in (our_name, their_name)):
        words += "; strangers kept the load from its schedule"
    return [work, "%.0f" % statistics.median(theirs), "%.0f" % statistics.median(ours), "", spread_text(gain, 1) + " ×",
            target, words]


def flood_target(results):
    work, target = "flooding senders: delivered packets/s", "at least 80 % of flow controlled, shared fairly"
    result = results.get("flood")
    if not result:
        return not_measured(work, target)
    rates = {c: case_values(result, c, "packets_per_second") for c in result["cases"]}
    part = measure.spread([a / b for a, b in zip(rates[OURS + " flood"], rates[OURS + " window"])])
    share = min(case_values(result, OURS + " flood", "fairness.min_share"))
    theirs, ours = (statistics.median(rates[n + " flood"]) for n in (THEIRS, OURS))
    words = spread_text(part) + " of its own flow-controlled rate; least share of a pair %.2f" % share
    return [work, "%.0f" % theirs, "%.0f" % ours, "", words, target,
            verdict(part["median"] >= 0.8 and share >= FAIR_SHARE, result)]


def storm_target(result, what, limit_us, our_name=OURS, their_name=THEIRS):
    work, target = "p99 of live round trips while clients %s, µs" % what, "quiet + 1 ms" if limit_us else ""
    if not result:
        return not_measured(work, target)
    text, more = {}, {}
    for name in (their_name, our_name):
        quiet, loud = (case_values(result, "%s %s" % (name, c), "rtt_us.p99") for c in ("quiet", "storm"))
        more[name] = measure.spread([b - a for a, b in zip(quiet, loud)])
        text[name] = "%.0f, quiet %.0f" % (statistics.median(loud), statistics.median(quiet))
    return [work, text[their_name], text[our_name], "", "+ " + spread_text(more[our_name], 0), target,
            verdict(more[our_name]["median"] <= limit_us, result) if limit_us else ""]


def connection_labels(results):
    """[(connections, gather, label)], rising."""
    found = [re.fullmatch(r"connections-(\d+)-(\d+)", label) for label in results]
    return sorted((int(m.group(1)), int(m.group(2)), m.group(0)) for m in found if m)


def targets_of(results):
    rows = [ratio_target(results, label, "CPU per packet, flow controlled, %s, µs" % what, CPU, least, 2,
                         floor_us(results, label, int(label.split("-")[1]))) for label, what, least in FLOW_TARGETS]
    rows += [ratio_target(results, label, "CPU per packet, flow controlled, %s, µs" % what, CPU, None, 2,
                          floor_us(results, label, int(label.split("-")[1]))) for label, what in WRITE_ROWS]
    rows.append(paced_target(results.get("paced"), "1400 B, 10 pairs", 10))
    rows.append(flood_target(results))
    for label, what, least in RTT_TARGETS:
        for p in ("p50", "p99"):
            floor = figure(results.get(label), "rtt_us." + p, "floor")
            rows.append(ratio_target(results, label, "RTT %s %s, µs" % (p, what), "rtt_us." + p, least, 0,
                                     floor and floor["median"]))
    rows.append(ratio_target(results, "login", "CPU per login, ms", "server.cpu_ms_per_login", 1.4, 3))
    rows.append(storm_target(results.get("storm"), "log in", 1000))
    rows.append(ratio_target(results, "idle", "RSS per idle connection, bytes", "server.bytes_per_connection", 8, 0))
    for count, gather, label in connection_labels(results):
        work = "CPU per packet, spread over %d clients, %d in a row, µs" % (count, gather)
        rows.append(ratio_target(results, label, work, CPU, 4 if gather >= 4 else 1.5, 2,
                                 floor_us(results, label, 1400)))
    return rows


# ---- Markdown ----


def markdown_table(rows):
    lines = ["| " + " | ".join(str(c).replace("|", "\\|") for c in row) + " |" for row in rows]
    lines.insert(1, "|" + "---|" * len(rows[0]))
    return "\n".join(lines)


def commands_of(result):
    def line(case):
        beside = "; beside it: %s %s" % (case["command"][0], " ".join(case["beside"])) if case.get("beside") else ""
        return " ".join(case["command"]) + beside

    if "cases" in result:
        return ["%s: %s" % (name, line(case)) for name, case in result["cases"].items()]
    return [line(result)] if result.get("command") else []


def cases_tables(result):
    """Of rows that are neither servers side by side nor searches."""
    tool, command = next(iter(result["cases"].values()))["command"][:2]
    tables = []
    for path, label, digits, _ in measure.metrics_of(tool, command):
        columns = {c: case_values(result, c, path) for c in result["cases"]}
        columns = {c: v for c, v in columns.items() if None not in v}
        if columns:
            rows = [[label, *columns]]
            rows += [["round %d" % (i + 1), *("%.*f" % (digits, v[i]) for v in columns.values())]
                     for i in range(len(result["rounds"]))]
            tables.append(rows + [["median", *("%.*f" % (digits, statistics.median(v)) for v in columns.values())]])
    return tables


def search_table(result):
    ours, theirs = (s["name"] for s in result["servers"])
    return [["highest rate, packets/s", ours, theirs, "limit of " + ours, "limit of " + theirs]] + [
        ["round %d" % (i + 1), r[ours]["rate"], r[theirs]["rate"], r[ours]["limit"], r[theirs]["limit"]]
        for i, r in enumerate(result["rounds"])]


def curve_table(result):
    return [["offered, packets/s", "server", "CPU per verified packet, µs", "lost, share"]] + [
        [p["rate"], p["server"], "%.2f" % p["cpu_us"] if p["cpu_us"] is not None else "", "%.5f" % (p["loss"] or 0)]
        for p in result["points"]]


def go_table(result):
    ours, theirs = result["results"][OURS], result["results"][THEIRS]
    cost = "server_cpu_us_per_packet"
    rows = [["CPU per packet, µs", OURS, THEIRS, "derper / ringrelayd"]]
    rows += [["round %d" % (i + 1), "%.2f" % a[cost], "%.2f" % b[cost], "%.2f" % (b[cost] / a[cost])]
             for i, (a, b) in enumerate(zip(ours, theirs))]
    middle_of = [statistics.median(v) for v in ([a[cost] for a in ours], [b[cost] for b in theirs],
                                                [b[cost] / a[cost] for a, b in zip(ours, theirs)])]
    return rows + [["median", *("%.2f" % v for v in middle_of)]]


def tables_of(label, result):
    if "metrics" in result:
        return measure.tables_of(result)
    if "loss_max" in result:
        return [search_table(result)]
    if label == "curve":
        return [curve_table(result)]
    if label in GO_ROWS:
        return [go_table(result)]
    return cases_tables(result) if "cases" in result else []


def micro_text(name, value):
    if isinstance(value, str):
        return "`%s`:\n\n```\n%s\n```" % (name, value.strip())
    rows = [["`%s`: one operation" % name, "ns, median", "ns, best", "instructions"]]
    for case in value.get("cases", []):
        rows.append([case["name"], "%.1f" % case["ns"], "%.1f" % case["ns_best"],
                     "" if case.get("instructions") is None else "%.1f" % case["instructions"]])
    return markdown_table(rows)


def section(label, result, raw, machine):
    parts = ["### " + label]
    made_at = result.get("machine", machine)
    if made_at["commit"] != machine["commit"]:
        parts.append("Commit %(commit)s, %(date)s." % made_at)
    commands = commands_of(result)
    if commands:
        parts.append("```\n" + "\n".join(commands) + "\n```")
    if label == "micro":
        parts += [micro_text(name, value) for name, value in result["results"].items()]
    if label in GO_ROWS:
        parts.append("Another tool asks the same question as write-1400-1: " + GO_ROWS[label])
    parts += [markdown_table(rows) for rows in tables_of(label, result)]
    parts.append("[all runs](%s)" % raw)
    return "\n\n".join(parts)


def versions_of(results):
    """[(what, version)] of servers and of what they are made with."""
    servers = {s["name"]: s for r in results.values() for s in r.get("servers", [])}
    rows = [(name, ", ".join([s["version"] or "of this tree", *("%s=%s" % p for p in s["environment"].items())]))
            for name, s in servers.items()]
    for name in (THEIRS, render_udp.THEIRS):
        program = servers[name]["command"].split(" -a ")[0].split()[-1] if name in servers else None
        go = measure.output_of("scripts/go", "version", program) if program else ""
        if go:
            rows.append(("Go of " + name, go.split()[-1]))
    rows.append(("compiler", measure.output_of("cc", "--version")))
    for package in ("wolfssl", "liburing", "libsodium", "libcrypto"):
        rows.append((package, measure.output_of("pkg-config", "--modversion", package) or "none"))
    return rows, servers


def machine_table(machine, command):
    rows = [["", ""], ["CPU", "%s, %d of them%s" % (machine["cpu"], machine["cpus"], ", virtual" * machine["virtual"])],
            ["memory", "%s GiB" % machine["memory_gib"]], ["kernel", machine["kernel"]],
            ["frequency governor", machine["governor"]], ["distribution", machine["distribution"]],
            ["commit", machine["commit"]], ["date", machine["date"]], ["command", "`%s`" % command]]
    return rows


PLOTS = (("offered-cpu", "CPU per packet over offered load"), ("offered-loss", "Loss over offered load"),
         ("connections-cpu", "CPU per packet over the number of connections"))


def document(results, failures, meta, drawn, raw_of):
    machine = next((r["machine"] for r in results.values() if "machine" in r), None) or measure.machine()
    versions, servers = versions_of(results)
    head = [["work", "derper", OURS, "floor", "derper / ringrelayd", "target", ""]]
    parts = ["# Report: %s beside derper" % OURS,
             "Made by `%s`; do not edit. How to read it: [README.md](README.md)." % meta["command"]]
    if meta["quick"]:
        parts.append("**A try (`--quick`): these figures mean nothing.**")
    parts += ["## Machine", markdown_table(machine_table(machine, meta["command"]) + list(map(list, versions))),
              "## Method", METHOD.strip(), "## Targets", markdown_table(head + targets_of(results)),
              "× beside the floor: ringrelayd, of the floor. `*` strangers took part of the CPUs in some run; `f` the load's "
              "core was full in some run."]
    parts += render_udp.section(results)
    if failures:
        parts.append("Failed:\n\n" + "\n".join("- %s: %s" % (n, t.splitlines()[0]) for n, t in failures.items()))
    if drawn:
        parts += ["## Plots", *("![%s](plots/%s.svg)" % (text, name) for name, text in PLOTS if name in drawn)]
    parts += ["## Rounds", *(section(label, result, raw_of(label), machine) for label, result in results.items())]
    parts += ["## Command lines of the servers", "```\n" + "\n".join(s["command"] for s in servers.values()) + "\n```"]
    return "\n\n".join(parts) + "\n"


# ---- plots ----


def new_plot(pyplot, x, y):
    figure_, axes = pyplot.subplots(figsize=(7, 4))
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(True, alpha=0.3)
    return figure_, axes


def draw_offered(pyplot, result, key, y):
    figure_, axes = new_plot(pyplot, "offered load, packets per second", y)
    for name, style in ((OURS, "o-"), (THEIRS, "s--")):
        points = [(p["rate"], p[key]) for p in result["points"] if p["server"] == name and p[key] is not None]
        if points:
            axes.plot(*zip(*points), style, label=name)
    if key == "loss":
        axes.set_yscale("symlog", linthresh=1e-4)
    axes.set_ylim(bottom=0)
    axes.set_xlim(left=0)
    axes.legend()
    return figure_


def draw_connections(pyplot, results):
    figure_, axes = new_plot(pyplot, "connections", "server CPU per verified packet, µs")
    labels = connection_labels(results)
    for name, marker in ((OURS, "o"), (THEIRS, "s")):
        for gather, line in ((4, "-"), (1, "--")):
            points = [(count, figure(results[label], CPU, name)["median"]) for count, g, label in labels
                      if g == gather and figure(results[label], CPU, name)]
            if points:
                axes.plot(*zip(*points), marker + line, label="%s, %d to one destination in a row" % (name, gather))
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.legend()
    return figure_


def draw(results, folder):
    """The plots for which there are results; their names."""
    import matplotlib
    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "ringrelay"  # the same figures make the same file
    from matplotlib import pyplot
    plots = {}
    if results.get("curve", {}).get("points"):
        plots["offered-cpu"] = draw_offered(pyplot, results["curve"], "cpu_us", "server CPU per verified packet, µs")
        plots["offered-loss"] = draw_offered(pyplot, results["curve"], "loss", "lost, share of sent")
    if connection_labels(results):
        plots["connections-cpu"] = draw_connections(pyplot, results)
    folder.mkdir(parents=True, exist_ok=True)
    for name, plot in plots.items():
        plot.tight_layout()
        plot.savefig(folder / (name + ".svg"), metadata={"Date": None})
        pyplot.close(plot)
    return set(plots)


def write(out, report):
    """Makes `report` of the results in `out`; plots and, unless they are there already, the results go beside it."""
    meta = json.loads(measure.read(out / "meta.json") or "{}")
    results = load_results(out, meta.get("rows", []))
    if not results:
        raise measure.Failure("no results in %s" % measure.shown(out))
    failures = {p.stem: p.read_text() for p in sorted(out.glob("*.failed"))}
    drawn = draw(results, report.parent / "plots")
    raw = "" if report.parent == out else "results/"
    if raw:
        (report.parent / raw).mkdir(exist_ok=True)
        for label in results:
            shutil.copyfile(out / (label + ".json"), report.parent / raw / (label + ".json"))
    report.write_text(document(results, failures, meta, drawn, lambda label: raw + label + ".json"))
