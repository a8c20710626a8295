#!/usr/bin/env python3
"""What a request costs: Seawall beside nginx and HAProxy on this machine.

Each gateway runs with one worker, alone on the first CPU; wrk and the service behind the
gateways run on the last. Every gateway has the same routes and must first answer some
requests correctly. Then they take turns, in a changing order, so that a machine that slows
down slows them all. The figure to trust is the gateway's CPU time for each request, user and
system together; requests per second also depend on what else the machine does, so let nothing
else run meanwhile.

Work:
  get     GET, proxied; the answer has a body of 200 bytes
  post    POST of 1 KiB, proxied; the same answer
  killed  POST of 1 KiB under a thrown kill switch in mode drop, answered by the gateway;
          nginx and HAProxy do it with their `return`
  spread  as get, but to all routes in turn instead of one; added by --many

Needs wrk and rustc, and whichever of nginx and haproxy are to be compared; installs nothing.
Everything stays on loopback and ends by itself. Python 3 standard library only.

  cargo build --release && python3 benches/compare/compare.py
  python3 benches/compare/compare.py --only nginx,seawall --work killed --rounds 9
  python3 benches/compare/compare.py --many 10000       # Seawall also with 10,000 routes

Exit status: 0 done, 1 a gateway answered wrongly or a request failed, 2 nothing
can be timed, because wrk, rustc or every gateway is missing.
"""
import argparse
import contextlib
import http.client
import json
import os
import pathlib
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True  # the next import leaves nothing beside the sources
from processes import Process, cpu_seconds, find, session_of  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
BODY = json.dumps({"player": "p-1", "stats": "s" * 990}).encode()
BODY += b" " * (1024 - len(BODY))
KILL_ANSWER = b'{"ok":true}'
WORK = {
    "get": ("GET", "/r3/players/42?view=full"),
    "post": ("POST", "/r3/players/42?view=full"),
    "killed": ("POST", "/killed/players/42"),
    "spread": ("GET", "/"),
}
PACKAGES = {
    "wrk": "package wrk of Debian and Ubuntu",
    "nginx": "package nginx of Debian and Ubuntu",
    "haproxy": "package haproxy of Debian and Ubuntu",
    "rustc": "part of every Rust toolchain",
}
# How each gateway is started, its templates, and the line that gives it one route.
RECIPES = {
    "nginx": {
        "argv": ["{bin}", "-e", "stderr", "-p", "{dir}", "-c", "{dir}/nginx.conf"],
        "files": ["nginx.conf"],
        "route": "        location /r{i}/ {{ proxy_pass http://service; }}",
    },
    "haproxy": {
        "argv": ["{bin}", "-db", "-f", "{dir}/haproxy.cfg"],
        "files": ["haproxy.cfg", "haproxy.map"],
        "route": "/r{i}/ service",
    },
    "seawall": {
        "argv": ["{bin}", "--config", "{dir}", "run"],
        "files": ["seawall.toml", "switches.toml"],
        "route": '[routes.r{i}]\npath = "/r{i}/"\nupstream = "service"\n',
    },
}
WRK_REPORT = """
done = function(summary, latency)
  local e = summary.errors
  local failed = e.connect + e.read + e.write + e.status + e.timeout
  io.write(string.format("RESULT %d %d %d %d %d\\n", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99), failed))
end
"""


# Replaces the one request by one for each route, in an order that jumps about.
WRK_SPREAD = """
local count, turn, all = {routes}, 0, {{}}
init = function()
  for i = 1, count do
    all[i] = wrk.format("GET", "/r" .. (i * 7919 % count) .. "/players/42?view=full")
  end
end
request = function()
  turn = turn % count + 1
  return all[turn]
end
"""


class Wrong(Exception):
    """A gateway or a run that did not do what it should."""


def say(text):
    print(text, file=sys.stderr, flush=True)


class Service:
    """The upstream: built once for a run, asked for its counters in between."""

    def __init__(self, directory, cpu):
        program = directory / "upstream"
        subprocess.run([find("rustc"), "--edition", "2024", "-O", "-o", str(program),
                        str(HERE / "upstream.rs")], check=True)
        self.process = Process([str(program)], cpu, subprocess.PIPE)
        line = self.process.popen.stdout.readline().decode()
        if not line.startswith("listening "):
            raise Wrong(f"the upstream did not start: {line!r}")
        self.address = line.split()[1]
        self.link = http.client.HTTPConnection(self.address, timeout=10)

    def ask(self, path):
        self.link.request("GET", path)
        return self.link.getresponse().read()

    def counters(self):
        """Connections and requests seen, without those of this question."""
        told = json.loads(self.ask("/counters"))
        return told["connections"], told["requests"]

    def end(self):
        self.link.close()
        self.process.end()


class Gateway:
    """One gateway under test, running."""

    def __init__(self, name, kind, program, routes, service, directory, cpu):
        self.name, self.service = name, service
        self.samples = {work: [] for work in WORK}
        self.directory = directory / name
        self.directory.mkdir()
        self.directory.chmod(0o777)  # nginx's worker gives up its rights before it writes here
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        recipe = RECIPES[kind]
        values = {
            "port": self.port, "dir": self.directory, "upstream": service.address,
            "routes": "\n".join(recipe["route"].format(i=i) for i in range(routes)),
        }
        for file in recipe["files"]:
            text = (HERE / file).read_text()
            for key, value in values.items():
                text = text.replace(f"<<{key}>>", str(value))
            (self.directory / file).write_text(text)
        argv = [part.format(bin=program, dir=self.directory) for part in recipe["argv"]]
        self.log = open(self.directory / "output", "wb")
        self.process = Process(argv, cpu, self.log)
        try:
            self.wait_until_open()
        except Wrong:
            self.end()
            raise
        self.routes = routes

    def wait_until_open(self):
        for _ in range(300):
            status = self.process.popen.poll()
            if status is not None:
                tail = (self.directory / "output").read_text(errors="replace")[-1500:]
                raise Wrong(f"{self.name} ended with {status}:\n{tail}")
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                time.sleep(0.3)  # workers start and settle
                return
            time.sleep(0.1)
        raise Wrong(f"{self.name} does not listen after 30 s")

    def verify(self):
        """Raises unless the gateway does the work that will be timed."""
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)

        def call(method, path):
            body = BODY if method == "POST" else None
            link.request(method, path, body, {"content-type": "application/json"})
            answer = link.getresponse()
            return answer.status, answer.read()

        def expect(what, got, wanted):
            if got != wanted:
                raise Wrong(f"{self.name}: {what}: got {got!r}, wanted {wanted!r}")

        usual = self.service.ask("/")
        for index in sorted({0, 3, self.routes - 1}):
            expect("GET", call("GET", f"/r{index}/a?b=c"), (200, usual))
        status, seen = call("POST", "/r3/inspect?q=1")
        expect("POST", status, 200)
        expect("what arrived upstream", json.loads(seen), {
            "method": "POST", "target": "/r3/inspect?q=1", "length": len(BODY),
            "sum": sum(BODY), "forwarded": True})
        expect("a path without a route", call("GET", "/elsewhere")[0], 404)
        before = self.service.counters()
        for _ in range(50):
            expect("a killed POST", call("POST", "/killed/a"), (200, KILL_ANSWER))
            expect("its connection kept", link.sock is not None, True)
        expect("requests upstream for killed ones", self.service.counters()[1] - before[1], 1)
        before = self.service.counters()
        for _ in range(200):
            expect("GET", call("GET", "/r3/a")[0], 200)
        if self.service.counters()[0] - before[0] > 20:
            raise Wrong(f"{self.name}: does not keep its connections to the upstream")
        link.close()

    def time(self, work, seconds, options):
        """One timed run of wrk; gives the sample."""
        method, path = WORK[work]
        script = self.directory / f"{work}.lua"
        lines = [f'wrk.method = "{method}"', 'wrk.headers["content-type"] = "application/json"']
        if method == "POST":
            lines.append(f"wrk.body = {json.dumps(BODY.decode())}")
        if work == "spread":
            lines.append(WRK_SPREAD.format(routes=self.routes))
        script.write_text("\n".join(lines) + WRK_REPORT)
        pids = session_of(self.process.popen.pid)
        user, system = cpu_seconds(pids)
        _, seen = self.service.counters()
        load = Process([find("wrk"), "-t", "1", "-c", str(options.connections), "-d", f"{seconds}s",
                        "-s", str(script), f"http://127.0.0.1:{self.port}{path}"],
                       options.load_cpu, subprocess.PIPE)
        try:
            told = load.popen.communicate(timeout=seconds + 20)[0].decode(errors="replace")
        except subprocess.TimeoutExpired:
            raise Wrong(f"{self.name}: wrk did not end") from None
        finally:
            load.end()
        user_after, system_after = cpu_seconds(pids)
        result = [line.split()[1:] for line in told.splitlines() if line.startswith("RESULT ")]
        if not result:
            raise Wrong(f"{self.name}: wrk said {told[-300:]!r}")
        requests, duration, p50, p99, failed = map(int, result[0])
        if failed or not requests:
            raise Wrong(f"{self.name}: {work}: {failed} of {requests} requests failed")
        arrived = self.service.counters()[1] - seen - 1
        if work == "killed" and arrived > 0:
            raise Wrong(f"{self.name}: {arrived} killed requests reached the upstream")
        if work != "killed" and arrived < requests:
            raise Wrong(f"{self.name}: {requests} answers, but {arrived} requests upstream")
        user, system = user_after - user, system_after - system
        return {
            "cpu": (user + system) / requests * 1e6, "user": user / requests * 1e6,
            "system": system / requests * 1e6, "rate": requests / duration * 1e6,
            "p50": p50 / 1e3, "p99": p99 / 1e3, "busy": (user + system) / duration * 1e6,
        }

    def end(self):
        self.process.end()
        self.log.close()


def middle(samples, key):
    return statistics.median(sample[key] for sample in samples)


def spread(samples, key, digits):
    values = [sample[key] for sample in samples]
    return f"{middle(samples, key):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def table(work, gateways):
    """The Markdown table of one kind of work."""
    rows = [gateway for gateway in gateways if gateway.samples[work]]
    base = next((middle(g.samples[work], "cpu") for g in rows if g.name == "nginx"), None)
    lines = [f"\n## {work}\n",
             "| gateway | CPU us/request | user | system | against nginx | requests/s | p50 ms | p99 ms | core busy |",
             "|---|---|---|---|---|---|---|---|---|"]
    for gateway in rows:
        samples = gateway.samples[work]
        ratio = f"{middle(samples, 'cpu') / base:.2f}" if base else ""
        lines.append(" | ".join([
            f"| {gateway.name}", spread(samples, "cpu", 2), f"{middle(samples, 'user'):.2f}",
            f"{middle(samples, 'system'):.2f}", ratio, f"{middle(samples, 'rate'):.0f}",
            f"{middle(samples, 'p50'):.2f}", f"{middle(samples, 'p99'):.2f}",
            f"{100 * middle(samples, 'busy'):.0f} % |"]))
    return "\n".join(lines)


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="nginx,haproxy,seawall", metavar="NAMES",
                        help="gateways to compare (default: %(default)s)")
    parser.add_argument("--work", metavar="NAMES",
                        help="what to time (default: get,post,killed, and spread with --many)")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each gateway (default: %(default)s)")
    parser.add_argument("--seconds", type=int, default=2, help="length of a turn (default: %(default)s)")
    parser.add_argument("--connections", type=int, default=64, help="keep-alive connections (default: %(default)s)")
    parser.add_argument("--routes", type=int, default=10, help="routes of each gateway (default: %(default)s)")
    parser.add_argument("--many", type=int, metavar="N", help="add a row: Seawall with N routes")
    parser.add_argument("--seawall", metavar="PATH", default=str(ROOT / "target" / "release" / "seawall"),
                        help="the binary (default: target/release/seawall)")
    parser.add_argument("--json", metavar="FILE", help="also write every sample there")
    options = parser.parse_args()
    usual = "get,post,killed,spread" if options.many else "get,post,killed"
    options.only, options.work = options.only.split(","), (options.work or usual).split(",")
    for name in set(options.only) - set(RECIPES):
        parser.error(f"no gateway is called {name!r}; there are {', '.join(RECIPES)}")
    for name in set(options.work) - set(WORK):
        parser.error(f"no work is called {name!r}; there is {', '.join(WORK)}")
    if min(options.rounds, options.seconds, options.connections) < 1 or min(options.routes, options.many or 4) < 4:
        parser.error("rounds, seconds and connections are at least 1, routes at least 4")
    return options


def programs(options):
    """Where each gateway's program is; says what is missing and ends if nothing can be timed."""
    absent = [name for name in ("wrk", "rustc") if not find(name)]
    for name in absent:
        say(f"missing: {name} ({PACKAGES[name]})")
    found = {}
    for name in options.only:
        if name == "seawall":
            path = options.seawall if os.access(options.seawall, os.X_OK) else None
            hint = f"no program at {options.seawall}: build it with `cargo build --release` or give --seawall PATH"
        else:
            path, hint = find(name), PACKAGES[name]
        if path:
            found[name] = path
        else:
            say(f"missing: {name} ({hint}); it is left out")
    if absent or not found:
        sys.exit(2)
    return found


def measure(options, gateways):
    """All rounds; gives what failed."""
    failures = []
    for work in options.work:
        for turn in range(-1, options.rounds):  # turn -1 warms up and is not counted
            first = turn % len(gateways)
            for gateway in gateways[first:] + gateways[:first]:
                try:
                    sample = gateway.time(work, options.seconds if turn >= 0 else 1, options)
                except Wrong as wrong:
                    say(f"FAILED {wrong}")
                    failures.append(str(wrong))
                    continue
                if turn >= 0:
                    gateway.samples[work].append(sample)
                    say(f"{work} {turn + 1}/{options.rounds} {gateway.name}: "
                        f"{sample['cpu']:.2f} us, {sample['rate']:.0f}/s, p99 {sample['p99']:.2f} ms")
    return failures


def main():
    options = arguments()
    found = programs(options)
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        say("only one CPU: gateway and load share it, so the figures mean little")
    options.load_cpu = cpus[-1]
    wanted = [(name, name, options.routes) for name in found]
    if options.many and "seawall" in found:
        wanted.append((f"seawall, {options.many} routes", "seawall", options.many))
    turns = len(wanted) * len(options.work)
    say(f"about {turns * (options.rounds * (options.seconds + 0.2) + 1.2) / 60:.1f} minutes")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the children are ended
    gateways, failures = [], []
    with contextlib.ExitStack() as stack:
        directory = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="compare-")))
        directory.chmod(0o755)
        service = Service(directory, cpus[-1])
        stack.callback(service.end)
        for name, kind, routes in wanted:
            try:
                gateway = Gateway(name, kind, found[kind], routes, service, directory, cpus[0])
                stack.callback(gateway.end)
                gateway.verify()
                gateways.append(gateway)
            except (Wrong, OSError, http.client.HTTPException) as wrong:
                say(f"FAILED {name}: {wrong}")
                failures.append(str(wrong))
        if gateways:
            failures += measure(options, gateways)
    print(f"Gateway on CPU {cpus[0]}, load and upstream on CPU {cpus[-1]}; {options.connections} connections, "
          f"{options.routes} routes, {options.rounds} rounds of {options.seconds} s; median (lowest to highest).")
    for work in options.work:
        print(table(work, gateways))
    if options.json:
        pathlib.Path(options.json).write_text(
            json.dumps({gateway.name: gateway.samples for gateway in gateways}, indent=1))
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
