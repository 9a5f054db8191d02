"""What perf/compare and perf/report have in common: servers that are started, loads that are run, and what came of it.

Model. A *server* is an entry of perf/servers.json, of a kind: derp or udp. A *run* is one server, started for it, under
one load: the kind's tool, derpload or udpload, in a process of its own and, if asked for, a second one beside it. A
*comparison* is rounds of runs, each server once per round, every other round in reverse order. Everything is kept: a run
is a dict of plain values, a comparison, too.

Servers are bound to --server-cpu, loads to --load-cpu. What other processes took of these CPUs during a run is its
`foreign_cpu`, in cores; a run with too much of it is made again a few times, and the quietest counts.
Only processes that were started here are ended. Standard library only.
"""

import ctypes
import datetime
import json
import os
import pathlib
import platform
import re
import signal
import socket
import ssl
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
HOSTNAME = "127.0.0.1"  # an IP address: no name has to be resolved, and both servers take a self-signed certificate
START_DEADLINE_S = 20
STOP_DEADLINE_S = 10
BESIDE_LEAD_S = 2.0  # a load beside another begins so much earlier

TOOLS = {"derp": "derpload", "udp": "udpload"}  # by kind of server
REQUEST_PATH = "/v0/relay/endpoint"

# What is compared, by the tool's command: where in its JSON, what it is, digits, whether ratios make sense.
DERP_METRICS = {
    "relay": [
        ("server.cpu_us_per_packet", "server CPU per verified packet, µs", 3, True),
        ("packets_per_second", "verified packets per second", 0, True),
        ("loss", "lost, share of sent", 5, False),
        ("fairness.min_share", "least share of a pair, of the mean", 3, False),
        ("server.cpu_share", "server busy, cores", 2, False),
        ("client_cpu_share", "load busy, cores", 2, False),
    ],
    "rtt": [("rtt_us." + p, "round trip %s, µs" % p.replace("_", "."), 0, True)
            for p in ("p50", "p90", "p99", "p99_9", "max")],
    "login": [
        ("server.cpu_ms_per_login", "server CPU per login, ms", 3, True),
        ("logins_per_second", "logins per second", 0, True),
        ("login_ms.p99", "login p99, ms", 2, True),
    ],
    "idle": [
        ("server.bytes_per_connection", "RSS per idle connection, bytes", 0, True),
        ("server.cpu_share_idle", "server busy while idle, cores", 4, False),
    ],
}
DERP_METRICS["echo"] = DERP_METRICS["rtt"]
UDP_METRICS = {
    "relay": DERP_METRICS["relay"],
    "rtt": DERP_METRICS["rtt"],
    "bind": [
        ("server.cpu_ms_per_bind", "server CPU per endpoint bound, ms", 3, True),
        ("binds_per_second", "endpoints bound per second", 0, True),
        ("bind_ms.p99", "endpoint bound p99, ms", 2, True),
    ],
    "idle": [
        ("server.bytes_per_endpoint", "RSS per bound endpoint, bytes", 0, True),
        *DERP_METRICS["relay"][:3],
        ("server.cpu_share_idle", "server busy while idle, cores", 4, False),
    ],
}
METRICS = {"derpload": DERP_METRICS, "udpload": UDP_METRICS}


class Failure(Exception):
    """A sentence for whoever started this."""


def shown(path):
    """A path as it is printed and kept: from the root of the tree where it is inside."""
    text = str(path)
    return os.path.relpath(text, ROOT) if text.startswith(str(ROOT) + os.sep) else text


def value_at(values, path):
    """values["a"]["b"] for "a.b", or None."""
    for name in path.split("."):
        if not isinstance(values, dict) or values.get(name) is None:
            return None
        values = values[name]
    return values if isinstance(values, (int, float)) else None


# ---- the machine ----


def read(path):
    try:
        return pathlib.Path(path).read_text(errors="replace")
    except OSError:
        return ""


def output_of(*command):
    """The first line that a command prints, or "" when it does not work."""
    try:
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60,
                              check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return (done.stdout.decode(errors="replace").splitlines() or [""])[0].strip()


def machine():
    cpuinfo, os_release = read("/proc/cpuinfo"), read("/etc/os-release")
    model = re.search(r"^(?:model name|Model|cpu model)\s*:\s*(.*)$", cpuinfo, re.M)
    memory = re.search(r"^MemTotal:\s*(\d+)", read("/proc/meminfo"), re.M)
    name = re.search(r'^PRETTY_NAME="?([^"\n]*)', os_release, re.M)
    dirty = output_of("git", "status", "--porcelain", "--untracked-files=no")
    return {
        "cpu": model.group(1) if model else platform.machine(),
        "cpus": os.cpu_count(),
        "virtual": " hypervisor" in cpuinfo,
        "memory_gib": round(int(memory.group(1)) / 1048576, 1) if memory else None,
        "kernel": platform.release(),
        "distribution": name.group(1) if name else "",
        "governor": read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").strip() or "none",
        "commit": (output_of("git", "rev-parse", "--short", "HEAD") or "unknown") + (", changed" if dirty else ""),
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
    }


def irq_time_is_apart():
    """Does this kernel account time in interrupts to no process? Then it is nobody's CPU here either."""
    try:
        config = subprocess.run(["zcat", "/proc/config.gz"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
        config = config.decode(errors="replace")
    except OSError:
        config = ""
    config = config or read("/boot/config-" + platform.release())
    return "\nCONFIG_IRQ_TIME_ACCOUNTING=y" in config


TICKS_PER_S = os.sysconf("SC_CLK_TCK")
IRQ_TIME_IS_APART = irq_time_is_apart()


def busy_seconds(cpus):
    """Seconds that these CPUs were not idle, or were taken by the hypervisor, since the machine started."""
    ticks = 0
    for line in read("/proc/stat").splitlines():
        name, *fields = line.split()
        if name.startswith("cpu") and name[3:].isdigit() and int(name[3:]) in cpus:
            user, nice, system, _, _, irq, softirq, steal = map(int, fields[:8])
            ticks += user + nice + system + steal + (0 if IRQ_TIME_IS_APART else irq + softirq)
    return ticks / TICKS_PER_S


def process_seconds(pid):
    """User and system time of all threads, or None when the process is gone."""
    text = read("/proc/%d/stat" % pid)
    if not text:
        return None
    fields = text[text.rindex(")") + 2:].split()  # the name in front may hold anything
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


# ---- processes ----

libc = ctypes.CDLL(None, use_errno=True)
PR_SET_PDEATHSIG = 1


def start_process(command, cpus, log, environment=None):
    """Bound to `cpus`; it ends when this process does, however that happens. `log` gets both outputs; None: stdout is a
    pipe, and standard error is ours."""
    def prepare():
        os.sched_setaffinity(0, cpus)
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

    return subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, **(environment or {})}, stdin=subprocess.DEVNULL,
        stdout=log or subprocess.PIPE, stderr=log, preexec_fn=prepare)


def stop_process(process):
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_DEADLINE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_port(kind=socket.SOCK_STREAM):
    with socket.socket(type=kind) as s:
        s.bind((HOSTNAME, 0))
        return s.getsockname()[1]


def make_certificate(folder):
    """One self-signed P-256 certificate for all servers."""
    folder.mkdir(parents=True, exist_ok=True)
    certificate = folder / (HOSTNAME + ".crt")
    if not certificate.exists():
        done = subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
             "-days", "365", "-subj", "/CN=" + HOSTNAME, "-addext", "subjectAltName=IP:" + HOSTNAME,
             "-keyout", str(folder / (HOSTNAME + ".key")), "-out", str(certificate)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode != 0:
            raise Failure("openssl made no certificate: " + done.stdout.decode(errors="replace")[-400:])
    return certificate


# ---- a server ----


class Server:
    """`with Server(bench, name) as server:` is a running one that answers."""

    def __init__(self, bench, name):
        self.bench, self.name, self.entry = bench, name, bench.entry(name)
        self.log_path = bench.out / (name + ".log")

    def expand(self, text):
        return text.format(
            program=self.bench.program(self.name), build=shown(self.bench.build), dir=shown(self.bench.keys),
            certdir=shown(self.bench.certificate.parent), certificate=shown(self.bench.certificate),
            hostname=HOSTNAME, port=self.port, relay_port=self.relay_port, cpus=len(self.bench.server_cpus))

    def __enter__(self):
        self.port, self.relay_port = free_port(), free_port(socket.SOCK_DGRAM)
        self.url = self.expand(self.entry["url"])
        self.trust = ([self.expand(a) for a in self.entry.get("trust", ["--trust", "pin:{certificate}"])]
                      if self.url.startswith("https:") else [])
        if self.url.startswith("unix:"):
            (ROOT / self.url[5:]).unlink(missing_ok=True)  # of the server before
        environment = {k: self.expand(v) for k, v in self.entry.get("environment", {}).items()}
        with open(self.log_path, "w") as log:
            try:
                self.process = start_process(
                    [self.expand(a) for a in self.entry["command"]], self.bench.server_cpus, log, environment)
            except OSError as e:
                raise Failure("%s does not start: %s" % (self.name, e))
        try:
            self.await_answer()
        except BaseException:
            stop_process(self.process)
            raise
        return self

    def __exit__(self, *_):
        stop_process(self.process)

    def where(self):
        """The words by which a load finds it."""
        return ["--allocate", self.url] if self.bench.kind(self.name) == "udp" else [self.url]

    def answers(self):
        """To HTTP, whatever it says."""
        try:
            if self.url.startswith("unix:"):
                with socket.socket(socket.AF_UNIX) as s:
                    s.settimeout(2)
                    s.connect(self.bench.reachable(self.url[5:]))
                    s.sendall(b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}"
                              % REQUEST_PATH.encode())
                    return s.recv(1) != b""
            with socket.create_connection((HOSTNAME, self.port), timeout=2) as s:
                if self.url.startswith("https:"):
                    context = ssl.create_default_context(cafile=str(self.bench.certificate))
                    with context.wrap_socket(s, server_hostname=HOSTNAME) as t:
                        t.sendall(b"GET /derp/probe HTTP/1.0\r\n\r\n")
                        return t.recv(1) != b""
                s.sendall(b"GET /derp/probe HTTP/1.0\r\n\r\n")
                return s.recv(1) != b""
        except OSError:
            return False

    def await_answer(self):
        deadline = time.monotonic() + START_DEADLINE_S
        while not self.answers():
            if self.process.poll() is not None:
                raise Failure("%s ended at once:\n%s" % (self.name, self.log_tail()))
            if time.monotonic() > deadline:
                raise Failure("%s does not answer within %d s:\n%s" % (self.name, START_DEADLINE_S, self.log_tail()))
            time.sleep(0.02)

    def log_tail(self):
        return read(self.log_path)[-1000:]

    def check_alive(self):
        if self.process.poll() is not None:
            raise Failure("%s ended under the load, status %d:\n%s"
                          % (self.name, self.process.returncode, self.log_tail()))


# ---- a load ----


def option_of(arguments, name, default):
    """The number behind `name` in arguments of derpload."""
    value = default
    for i, a in enumerate(arguments):
        if a == name and i + 1 < len(arguments):
            value = arguments[i + 1]
        elif a.startswith(name + "="):
            value = a[len(name) + 1:]
    try:
        return float(value)
    except ValueError:
        raise Failure("%s takes a number, not %s" % (name, value))


def with_option(arguments, name, value):
    """`arguments` with `name value` unless it is there."""
    return arguments if any(a == name or a.startswith(name + "=") for a in arguments) else [*arguments, name, value]


def seconds_of(arguments):
    return option_of(arguments, "--seconds", 5) + option_of(arguments, "--warmup", 1)


class Load:
    """One tool against a server, from its start on."""

    def __init__(self, bench, server, arguments):
        command, *rest = arguments
        self.command = [str(bench.tools[bench.tool(server.name)]), command]
        if command != "echo":
            self.command += [*server.where(), "--server-pid", str(server.process.pid), *server.trust]
        self.command += [*rest, "--json"]
        self.deadline = time.monotonic() + seconds_of(arguments) + 60 + option_of(arguments, "--connections", 0) / 50
        self.deadline += option_of(arguments, "--endpoints", 0) / 200
        try:
            self.process = start_process(self.command, bench.load_cpus, None)
        except OSError as e:
            raise Failure("%s does not start: %s" % (bench.tool(server.name), e))

    def result(self):
        """Its JSON, when it has ended well."""
        try:
            out, _ = self.process.communicate(timeout=max(0.0, self.deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise Failure("still running long after its time: " + self.text())
        if self.process.returncode != 0:
            raise Failure("exit status %d of: %s" % (self.process.returncode, self.text()))
        try:
            return json.loads(out)
        except ValueError:
            raise Failure("no JSON from: " + self.text())

    def text(self):
        return " ".join([shown(self.command[0]), *self.command[1:]])

    def stop(self):
        stop_process(self.process)
        if self.process.stdout:
            self.process.stdout.close()


def children_seconds():
    t = os.times()
    return t.user + t.system + t.children_user + t.children_system


# ---- runs and comparisons ----


class Bench:
    """Where things are, which CPUs are whose, and what counts as quiet. `out` gets logs and raw results."""

    def __init__(self, out, config=ROOT / "perf/servers.json", build=ROOT / "build/release", tools=None,
                 server_cpus=None, load_cpus=None, programs=None, foreign=0.1, repeats=2, say=None):
        self.out, self.build = pathlib.Path(out).resolve(), pathlib.Path(build).resolve()
        self.tools = {tool: pathlib.Path(shown(pathlib.Path((tools or {}).get(tool) or self.build / tool).resolve()))
                      for tool in METRICS}
        self.programs = {name: pathlib.Path(path).resolve() for name, path in (programs or {}).items()}
        self.foreign, self.repeats = foreign, repeats
        self.say = say or (lambda text: print(text, file=sys.stderr, flush=True))
        self.choose_cpus(server_cpus, load_cpus)
        try:
            self.entries = json.loads(pathlib.Path(config).read_text())
        except (OSError, ValueError) as e:
            raise Failure("%s: %s" % (config, e))
        self.out.mkdir(parents=True, exist_ok=True)
        self.keys = self.out / "keys"
        self.keys.mkdir(exist_ok=True)
        self.certificate = make_certificate(self.out / "certs")

    def choose_cpus(self, server_cpus, load_cpus):
        allowed = sorted(os.sched_getaffinity(0))
        self.server_cpus = set(server_cpus or allowed[:1])
        self.load_cpus = set(load_cpus or [c for c in allowed if c not in self.server_cpus][:1] or allowed[:1])
        absent = (self.server_cpus | self.load_cpus) - set(allowed)
        if absent:
            raise Failure("this process may not use CPU %s" % ", ".join(map(str, sorted(absent))))
        if self.server_cpus & self.load_cpus:
            self.say("warning: server and load share a CPU; figures mean little")

    def entry(self, name):
        if name not in self.entries:
            raise Failure("no server %s in the configuration; there are: %s" % (name, ", ".join(self.entries)))
        return self.entries[name]

    def kind(self, name):
        return self.entry(name).get("kind", "derp")

    def tool(self, name):
        return TOOLS[self.kind(name)]

    def tool_of(self, names):
        """The one tool that loads all of these servers."""
        tools = {self.tool(name) for name in names}
        if len(tools) > 1:
            raise Failure("servers of different kinds: " + ", ".join(names))
        return tools.pop()

    def reachable(self, path):
        """A socket's path, short enough to be connected to."""
        return os.path.relpath(ROOT / path)

    def program(self, name):
        path = self.programs.get(name) or ROOT / self.entry(name)["program"].format(build=self.build)
        return shown(path)

    def make(self, names):
        """Builds what is needed and not given by path; tools and the servers of this project by scripts/build."""
        ours = self.build.parent == ROOT / "build"
        commands = [["scripts/build", self.build.name]] if ours else []
        for name in names:
            if "make" in self.entry(name) and name not in self.programs:
                commands.append(self.entry(name)["make"])
        for command in dict.fromkeys(map(tuple, commands)):
            if subprocess.run(command, cwd=ROOT, stdout=sys.stderr).returncode != 0:
                raise Failure("failed: " + " ".join(command))

    def check_programs(self, names):
        for path in [self.tools[self.tool(names[0])], *map(self.program, names)]:
            if not os.access(ROOT / path, os.X_OK):
                raise Failure("there is no program %s; without --no-build it is built" % path)

    def describe(self, name):
        """What a table has to say about a server beside its name."""
        entry, program = self.entry(name), self.program(name)
        environment = {k: v.format(cpus=len(self.server_cpus)) for k, v in entry.get("environment", {}).items()}
        words = {"program": program, "build": shown(self.build), "dir": "KEYS", "certdir": "CERTS", "port": "PORT",
                 "relay_port": "UDP-PORT",
                 "certificate": "CERTS/%s.crt" % HOSTNAME, "hostname": HOSTNAME, "cpus": len(self.server_cpus)}
        version = [a.format(**words) for a in entry.get("version", [])]
        return {
            # Go does not find a repository around a module's source; the version is right nevertheless.
            "name": name, "version": output_of(*version).removesuffix("-ERR-BuildInfo") if version else "",
            "environment": environment,
            "command": " ".join([*("%s=%s" % pair for pair in environment.items()), "taskset", "-c",
                                 cpu_list(self.server_cpus), *(a.format(**words) for a in entry["command"])]),
        }

    def run_once(self, name, arguments, beside):
        with Server(self, name) as server:
            cpus = self.server_cpus | self.load_cpus
            loads = []
            try:
                if beside:
                    loads.append(Load(self, server, beside))
                    time.sleep(BESIDE_LEAD_S)
                begin, busy = time.monotonic(), busy_seconds(cpus)
                own, of_server = children_seconds(), process_seconds(server.process.pid)
                of_beside = process_seconds(loads[0].process.pid) if beside else 0
                load = Load(self, server, arguments)
                loads.append(load)
                result = load.result()
                server.check_alive()
                took, busy = time.monotonic() - begin, busy_seconds(cpus) - busy
                known = children_seconds() - own + process_seconds(server.process.pid) - of_server
                run = {"server": name, "command": load.text(), "load": result, "took_s": round(took, 3)}
                if beside:
                    if loads[0].process.poll() is not None:
                        raise Failure("the load beside ended early: " + loads[0].text())
                    known += process_seconds(loads[0].process.pid) - of_beside
                    run["beside_command"], run["beside"] = loads[0].text(), loads[0].result()
                run["foreign_cpu"] = round(max(0.0, busy - known) / took, 3)
                return run
            finally:
                for load in loads:
                    load.stop()

    def run(self, name, arguments, beside=None):
        """The quietest of up to 1 + repeats runs; the first quiet one ends it. `noisy` says that none was."""
        best, failure = None, None
        for attempt in range(1, self.repeats + 2):
            try:
                run = self.run_once(name, arguments, beside)
            except Failure as e:
                failure = e
                self.say("  %s: %s" % (name, e))
                continue
            if not best or run["foreign_cpu"] < best["foreign_cpu"]:
                best = run
            if run["foreign_cpu"] <= self.foreign:
                break
            self.say("  %s: %.0f %% of a core went to other processes" % (name, 100 * run["foreign_cpu"]))
        if not best:
            raise failure
        best["attempts"], best["noisy"] = attempt, best["foreign_cpu"] > self.foreign
        return best

    def compare(self, label, names, arguments, rounds, beside=None):
        """Rounds of runs; the result is kept as OUT/LABEL.json."""
        arguments = list(arguments)
        if beside:
            beside = with_option(list(beside), "--seconds", "%g" % (seconds_of(arguments) + BESIDE_LEAD_S + 1))
        kept = []
        for i in range(rounds):
            runs = {}
            for name in names if i % 2 == 0 else reversed(names):
                runs[name] = self.run(name, arguments, beside)
                self.say("%s, round %d of %d: %s: %s" % (label, i + 1, rounds, name, headline(runs[name])))
            kept.append(runs)
        result = {
            "tool": "compare", "label": label, "command": [self.tool_of(names), *arguments], "beside": beside,
            "server_cpus": sorted(self.server_cpus), "load_cpus": sorted(self.load_cpus), "machine": machine(),
            "servers": [self.describe(name) for name in names], "rounds": kept,
        }
        result["metrics"] = summary_of(result)
        (self.out / (label + ".json")).write_text(json_text(result))
        return result


def cpu_list(cpus):
    return ",".join(map(str, sorted(cpus)))


def json_text(result):
    """JSON with one run per line, so that a difference of two files can be read."""
    runs = [["%s: %s" % (json.dumps(name), json.dumps(run)) for name, run in r.items()] for r in result["rounds"]]
    rounds = ",\n".join("  {" + ",\n   ".join(lines) + "}" for lines in runs)
    rest = json.dumps({k: v for k, v in result.items() if k != "rounds"}, indent=1, ensure_ascii=False)
    return rest[:-2] + ',\n "rounds": [\n' + rounds + "\n ]\n}\n"


def metrics_of(tool, command):
    return METRICS.get(tool, {}).get(command, [])


def headline(run):
    load = run["load"]
    path, label, digits, _ = (metrics_of(load.get("tool"), load.get("command")) or DERP_METRICS["relay"])[0]
    value = value_at(run["load"], path)
    text = "nothing measured" if value is None else "%s %.*f" % (label, digits, value)
    if run["load"].get("load_is_full"):
        text += "; the load's core is full"
    return text + ("; NOISY" if run["noisy"] else "")


def spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "values": values}


def summary_of(result):
    """By metric: each server's median and extremes, and those of the ratios others/first, round by round."""
    names = [s["name"] for s in result["servers"]]
    summary = {}
    for path, label, digits, has_ratio in metrics_of(*result["command"][:2]):
        columns = {n: [value_at(r[n]["load"], path) for r in result["rounds"]] for n in names}
        columns = {n: c for n, c in columns.items() if None not in c}
        if not columns:
            continue
        m = summary[path] = {"label": label, "digits": digits, "servers": {n: spread(c) for n, c in columns.items()}}
        first = columns.get(names[0])
        if has_ratio and first and all(first):
            m["ratios"] = {n: spread([b / a for a, b in zip(first, columns[n])]) for n in names[1:] if n in columns}
    return summary


def ratio(result, path, other):
    """Median, least and greatest of other/first, or None."""
    return ((result or {}).get("metrics", {}).get(path, {}).get("ratios", {}) or {}).get(other)


def figure(result, path, name):
    return ((result or {}).get("metrics", {}).get(path, {}).get("servers", {}) or {}).get(name)


# ---- tables for people ----


def has_ratios(result, path):
    return "ratios" in result["metrics"][path]


def rest_of(result):
    """The figures of which there are no ratios, in one table: median and range."""
    names = [s["name"] for s in result["servers"]]
    rows = [["", *names]]
    text = "{median:.{d}f} ({min:.{d}f} to {max:.{d}f})"
    for path, m in result["metrics"].items():
        if not has_ratios(result, path):
            servers = m["servers"]
            rows.append([m["label"], *(text.format(d=m["digits"], **servers[n]) if n in servers else "" for n in names)])
    return rows


def tables_of(result):
    tables = [table_of(result, path) for path in result["metrics"] if has_ratios(result, path)]
    rest = rest_of(result)
    return tables + [rest] if len(rest) > 1 else tables


def table_of(result, path):
    """Rows of text: a heading, one per round, then median and range."""
    names = [s["name"] for s in result["servers"]]
    m = result["metrics"][path]
    others = [n for n in names[1:] if n in m.get("ratios", {})]
    names = [n for n in names if n in m["servers"]]
    rows = [[m["label"], *names, *("%s / %s" % (n, names[0]) for n in others)]]
    for i, runs in enumerate(result["rounds"]):
        marks = ["*" * runs[n]["noisy"] + "f" * bool(runs[n]["load"].get("load_is_full")) for n in names]
        values = [m["servers"][n]["values"][i] for n in names]
        rows.append(["round %d" % (i + 1),
                     *("%.*f%s" % (m["digits"], v, k and " " + k) for v, k in zip(values, marks)),
                     *("%.2f" % m["ratios"][n]["values"][i] for n in others)])
    for what, text in (("median", "{median:.{d}f}"), ("range", "{min:.{d}f} to {max:.{d}f}")):
        rows.append([what, *(text.format(d=m["digits"], **m["servers"][n]) for n in names),
                     *(text.format(d=2, **m["ratios"][n]) for n in others)])
    return rows


def aligned(rows):
    widths = [max(len(r[i]) for r in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(r, widths)))
                     for r in rows)


def conditions_of(result):
    """What has to stand beside every figure."""
    lines = ["load: " + " ".join(result["command"])]
    if result["beside"]:
        lines.append("beside it: %s %s" % (result["command"][0], " ".join(result["beside"])))
    lines.append("servers on CPU %s, load on CPU %s" % (cpu_list(result["server_cpus"]), cpu_list(result["load_cpus"])))
    first = result["rounds"][0]
    for s in result["servers"]:
        load = first[s["name"]]["load"]
        words = [s["version"] or "of this tree", *("%s=%s" % pair for pair in s["environment"].items())]
        if "tls" in load:
            words.append(load.get("suite") or "in the clear")
        lines.append("%s: %s" % (s["name"], ", ".join(words)))
    load = first[result["servers"][0]["name"]]["load"]
    if "records_per_write" in load:
        lines.append("%s frame(s) per record, %s record(s) per write of the load" % (
            load.get("frames_per_record"), load["records_per_write"]))
    if "segments" in load:
        lines.append("%s: %s in a row, runs of %s" % (
            "%d flows" % load["flows"], load["segments"] * load["burst"], load["segments"]))
    return lines


def text_of(result):
    parts = ["\n".join(conditions_of(result))]
    parts += [aligned(rows) for rows in tables_of(result)]
    runs = [run for r in result["rounds"] for run in r.values()]
    if any(run["noisy"] for run in runs):
        parts.append("* more of a core than allowed went to other processes, also when it was tried again")
    if any(run["load"].get("load_is_full") for run in runs):
        parts.append("f the load's own core was full: rates are the load's, not the server's")
    return "\n\n".join(parts)


# ---- command lines ----


class Usage(Exception):
    """A sentence about the command line."""


class Help(Exception):
    pass


BENCH_VALUES = ("--server-cpu", "--load-cpu", "--config", "--program", "--build", "--derpload", "--udpload",
                "--foreign", "--repeats", "--out")


def take_options(words, values, flags):
    """Options at the front of `words` by name, and the rest; "--program" is a dict."""
    words, options = list(words), {"--program": {}}
    while words and words[0].startswith("-"):
        name, has_value, value = words.pop(0).partition("=")
        if name in ("-h", "--help"):
            raise Help
        if name in flags and not has_value:
            options[name] = True
            continue
        if name not in values:
            raise Usage("unknown option %s" % name)
        if not has_value and not words:
            raise Usage("%s lacks its value" % name)
        value = value if has_value else words.pop(0)
        if name == "--program":
            server, _, path = value.partition("=")
            options[name][server] = path
        else:
            options[name] = value
    return options, words


def number_of(options, name, kind, default, least):
    try:
        value = kind(options.get(name, default))
    except ValueError:
        value = None
    if value is None or not value >= least:
        raise Usage("%s takes a number, at least %s" % (name, least))
    return value


def cpus_of(options, name):
    if name not in options:
        return None
    try:
        return {int(c) for c in options[name].split(",")}
    except ValueError:
        raise Usage("%s takes numbers of CPUs, separated by commas" % name)


def bench_of(options, out):
    bench = Bench(
        options.get("--out", out), config=options.get("--config", ROOT / "perf/servers.json"),
        build=options.get("--build", ROOT / "build/release"),
        tools={tool: options.get("--" + tool) for tool in METRICS},
        programs=options["--program"], server_cpus=cpus_of(options, "--server-cpu"),
        load_cpus=cpus_of(options, "--load-cpu"), foreign=number_of(options, "--foreign", float, 0.1, 0),
        repeats=number_of(options, "--repeats", int, 2, 0))
    for name in options["--program"]:
        bench.entry(name)
    return bench


def time_text():
    return datetime.datetime.now().strftime("%Y%m%d-%H%M%S")


def run_main(name, description, main):
    """The frame of a program: help, sentences, exit statuses, and a clean end when it is told to end."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        sys.exit(main(sys.argv[1:]))
    except Help:
        print(description.strip())
        sys.exit(0)
    except Usage as e:
        print("%s: %s (see --help)" % (name, e), file=sys.stderr)
        sys.exit(2)
    except Failure as e:
        print("%s: %s" % (name, e), file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
