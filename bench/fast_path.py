#!/usr/bin/python3
"""Measures what the fast path promises, beyond the cases of run.py; a line for each promise.

    bench/fast_path.py                      everything; about ten minutes
    bench/fast_path.py --only spin,idle     some of: spin, idle, calls, many, workers, timers,
                                            loss, buffers, attack

To be run by root: it makes network namespaces, which vanish with it. Everything runs on this
machine, server and load on a processor each; figures are ratios within one run, or counts.
"""

import argparse
import json
import os
import pathlib
import re
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

import attack
import namespaces
import servers

ENGINES = ("mmsg+threads", "io_uring+io_uring")
MANY = "127.1.0.1-127.1.39.16"  # 10,000 addresses
CPUS = sorted(os.sched_getaffinity(0))
FILES = {"f64k": 64 << 10, "f1m": 1 << 20, "f4m": 4 << 20, "f10m": 10 << 20, "f64m": 64 << 20}


class Place:
    """Where the programs and the files are, and what has been said."""

    def __init__(self, build, work):
        self.build = build
        self.root = work / "files"
        self.root.mkdir()
        self.lines = []
        for name, size in FILES.items():
            (self.root / name).write_bytes(os.urandom(size))

    def say(self, what, figure, goal="", holds=None):
        verdict = "" if holds is None else "holds" if holds else "SHORT"
        self.lines.append({"what": what, "figure": figure, "goal": goal, "verdict": verdict})
        print(f"{what}: {figure}" + (f"  [{goal}: {verdict}]" if verdict else ""), flush=True)

    def server(self, name, cpu=CPUS[0], address=None, **options):
        words = {key.replace("__", "."): value for key, value in options.items()}
        if name in ENGINES:
            name = f"ringtftpd {name}"
        return servers.Server(name, self.build, self.root, cpu, words, address=address)

    def load(self, server, *arguments, inside=(), cpu=CPUS[-1], limit=30):
        """The generator's JSON."""
        command = [*inside, str(self.build / "src/cli/ringtftp-bench"), server.address, "--json",
                   "-", "--server-pid", str(server.pid), *server.group_options, "--grace",
                   str(limit), *map(str, arguments)]
        affinity = CPUS if cpu is None else [cpu]
        got = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                             timeout=4 * limit + 60, check=False,
                             preexec_fn=lambda: os.sched_setaffinity(0, affinity))
        if got.returncode not in (0, 75):
            raise servers.Unavailable(f"the load generator stopped: {got.stderr.strip()}")
        return json.loads(got.stdout)


CLIENTS = {"that sleeps between packets": [],
           "that looks for packets all the time, as boot ROMs do": ["--spin"]}


def spin(place, rounds):
    """One lock-step client alone, with and without busy waiting of the server. What waking the
    client costs, where it sleeps, no server can change."""
    for engine in ENGINES:
        for who, words in CLIENTS.items():
            rates, costs = {0: [], 50: []}, {0: [], 50: []}
            for _ in range(rounds):
                for usec in rates:
                    with place.server(engine, performance__spin=usec) as server:
                        place.load(server, "-n", 1, *words, "--local", place.root, "f1m")
                        result = place.load(server, "-n", 12, *words, "--local", place.root, "f1m")
                    blocks = result["packets_in"]
                    rates[usec].append(blocks / result["elapsed_s"])
                    costs[usec].append(1e6 * result["server"]["cpu_s"] / blocks)
            rate = {usec: statistics.median(x) for usec, x in rates.items()}
            cost = {usec: statistics.median(x) for usec, x in costs.items()}
            gain = rate[50] / rate[0]
            place.say(f"one lock-step client {who}, {engine}: blocks a second with spin 50 / 0",
                      f"{rate[50]:.0f} / {rate[0]:.0f} = {gain:.2f}",
                      *(() if words else (">= 2", gain >= 2)))
            place.say(f"one lock-step client {who}, {engine}: CPU a block with spin 50 / 0",
                      f"{cost[50]:.1f} / {cost[0]:.1f} us",
                      *(() if words else ("no more", cost[50] <= cost[0])))


def threads_waits(pid):
    """Times that the threads of a process have gone to sleep, and its processor time."""
    waits = 0
    for status in pathlib.Path(f"/proc/{pid}/task").glob("*/status"):
        waits += int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", status.read_text(),
                               re.M).group(1))
    words = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return waits, (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def idle(place, _rounds):
    """A server that has served and is asked for nothing. Its one timer closes idle files, ten
    seconds after the last transfer at the earliest."""
    for engine in ENGINES:
        with place.server(engine, performance__spin=50) as server:
            place.load(server, "-c", 10, "-n", 100, "--local", place.root, "f64k")
            time.sleep(0.5)
            waits, cpu = threads_waits(server.pid)
            time.sleep(5)
            after, cpu_after = threads_waits(server.pid)
        place.say(f"idle, {engine}: wake-ups in 5 s, processor time",
                  f"{after - waits}, {1000 * (cpu_after - cpu):.0f} ms", "0 but the timer",
                  after - waits <= 1)


class CallCounter:
    """System calls of a running process, by the kernel's tracepoint, which does not slow the
    process down, or else by strace, which does."""

    def __init__(self, pid, folder):
        self.out = folder / "calls"
        self.perf = shutil.which("perf") is not None and subprocess.run(
            ["perf", "stat", "-e", "raw_syscalls:sys_enter", "true"], capture_output=True,
            check=False).returncode == 0
        if self.perf:
            command = ["perf", "stat", "-x,", "-o", self.out, "-e", "raw_syscalls:sys_enter", "-p",
                       str(pid)]
        else:
            command = ["strace", "-f", "-c", "-o", self.out, "-p", str(pid)]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                        text=True)
        if self.perf:
            time.sleep(0.5)  # it does not tell when it has begun
        else:
            while "attached" not in self.process.stderr.readline():
                pass

    def end(self):
        self.process.send_signal(signal.SIGINT)
        self.process.communicate()
        text = self.out.read_text()
        if self.perf:
            return int(re.search(r"^(\d+),", text, re.M).group(1))
        return int([line for line in text.splitlines() if line.endswith("total")][0].split()[-2])


def calls(place, _rounds):
    """System calls of the server for each block it sends, from the cache: a file is kept there when
    it is read for the second time."""
    for engine in ENGINES:
        for what, goal, arguments in (
                ("1,000 lock-step clients", 0.2, ("-c", 1000, "-n", 2000, "f64k")),
                ("10 clients, windowsize 64", 0.05, ("-c", 10, "-n", 60, "-w", 64, "f10m")),
                ("1 client, windowsize 64", 0.05, ("-c", 1, "-n", 10, "-w", 64, "f10m"))):
            with place.server(engine) as server, tempfile.TemporaryDirectory() as folder:
                place.load(server, "-n", 2, "-b", 65464, arguments[-1])
                counter = CallCounter(server.pid, pathlib.Path(folder))
                result = place.load(server, "--source", MANY, "--no-gro", "-b", 1428, "--local",
                                    place.root, *arguments)
                count = counter.end()
            each = count / result["packets_in"]
            by = "perf stat" if counter.perf else "strace -f -c"
            place.say(f"{what}, {engine}: system calls a block ({by})",
                      f"{count} / {result['packets_in']} = {each:.3f}", f"< {goal}", each < goal)


def memory(pid):
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return 1024 * int(re.search(r"VmHWM:\s+(\d+)", text).group(1))


def many(place, _rounds):
    """10,000 transfers at the same time from one load process."""
    for engine in ENGINES:
        with place.server(engine) as server:
            place.load(server, "-n", 1, "-b", 65464, "f64k")
            before = memory(server.pid)
            result = place.load(server, "-c", 10000, "-n", 10000, "--source", MANY, "--local",
                                place.root, "--patience", 60, "f64k", limit=120)
            grown = memory(server.pid) - before
        place.say(f"10,000 transfers at once, {engine}: failed",
                  f"{result['failures']['all'] + result['unfinished']}", "none",
                  result["succeeded"] == 10000)
        sent_again = result["requests_resent"] + result["acks_resent"]
        place.say(f"10,000 transfers at once, {engine}: memory for each, blocks a second",
                  f"{grown / 10000:.0f} bytes, {result['packets_in'] / result['elapsed_s']:.0f}"
                  f" (clients repeated {sent_again} packets, server {result['duplicates']})")


def jain(values):
    return sum(values) ** 2 / (len(values) * sum(v * v for v in values))


def worker_times(pid):
    """Processor seconds of each worker, by thread."""
    times = {}
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        words = (task / "stat").read_text().rsplit(")", 1)[1].split()
        times[task.name] = (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")
    return times


def ended_times(server):
    """Milliseconds of each transfer, as the server logs them."""
    text = os.pread(server.log.fileno(), 64 << 20, 0).decode()
    return [json.loads(line)["ms"] for line in text.splitlines() if '"event":"transfer"' in line]


def workers(place, rounds):
    """Two workers on two processors, the load on the same two."""
    for engine in ENGINES:
        rates, fairness, shares = {1: [], 2: []}, {1: [], 2: []}, []
        for _ in range(rounds):
            for count in rates:
                with place.server(engine, cpu=None, performance__workers=count,
                                  log__level="info") as server:
                    result = place.load(server, "-c", 200, "-n", 200, "-b", 1428, "-w", 4,
                                        "--source", MANY, "--local", place.root, "f4m", cpu=None)
                    speeds = [1 / ms for ms in ended_times(server)]
                    times = sorted(worker_times(server.pid).values())
                rates[count].append(result["bytes_per_s"] / 1e6)
                fairness[count].append(jain(speeds))
                if count == 2:
                    shares.append(times[-2] / max(times[-1], 1e-9))
        place.say(f"2 workers / 1 on {len(CPUS)} processors with the load, {engine}: MB/s",
                  f"{statistics.median(rates[2]):.0f} / {statistics.median(rates[1]):.0f}")
        place.say(f"2 workers, {engine}: Jain fairness of 200 clients (1 worker)",
                  f"{statistics.median(fairness[2]):.3f} ({statistics.median(fairness[1]):.3f})")
        place.say(f"2 workers, {engine}: processor time of the one / the other",
                  f"{statistics.median(shares):.2f}")


def transfers_active(server):
    """Of all workers, as the server says."""
    server.process.send_signal(signal.SIGUSR1)
    end = time.monotonic() + 5
    while time.monotonic() < end:
        text = os.pread(server.log.fileno(), 64 << 20, 0).decode()
        found = [json.loads(line)["transfers_active"] for line in text.splitlines()
                 if '"event":"stats"' in line and line.endswith("}")]
        if found:
            return sum(found)
        time.sleep(0.01)
    return 0


def timers(place, _rounds):
    """Live transfers whose clients say nothing: what they cost between two timeouts."""
    for engine in ENGINES:
        with place.server(engine, limits__transfers_max=120000, protocol__retransmit_first=20000,
                          protocol__retransmit_max=20000, protocol__patience=120,
                          performance__spin=50) as server:
            before = memory(server.pid)
            asked = attack.silent_clients(server.host, server.port, 100000, "f1m")
            waits, cpu = threads_waits(server.pid)
            time.sleep(5)
            after, cpu_after = threads_waits(server.pid)
            grown = memory(server.pid) - before
            live = transfers_active(server)
        place.say(f"{asked} transfers begun, {engine}: live after that", f"{live}", "all",
                  live == asked == 100000)
        place.say(f"{asked} idle transfers, {engine}: wake-ups in 5 s, processor time",
                  f"{after - waits}, {1000 * (cpu_after - cpu):.0f} ms", "nothing",
                  after - waits <= 5 and cpu_after - cpu <= 0.02)
        place.say(f"{asked} idle transfers, {engine}: memory for each", f"{grown / asked:.0f} bytes")


def lossy(place, cable, name, percent, window):
    """(packets sent for each block, MB/s) of downloads that lose packets both ways."""
    with place.server(name, address=namespaces.SERVER) as server:
        cable.lose(percent)
        sent = cable.sent()
        result = place.load(server, "-n", 100, "-d", 5, "-b", 1428, "-w", window, "--local",
                            place.root, "f64m", inside=cable.far, limit=15)
        sent = cable.sent() - sent
        cable.lose(0)
    return 1428 * sent / result["payload_bytes"], result["payload_bytes"] / result["elapsed_s"] / 1e6


def loss(place, rounds):
    """Random loss both ways on an Ethernet: goodput beside other servers, and packets sent. Of a
    file that is large enough for what the beginning costs to vanish."""
    with namespaces.Cable() as cable:
        for percent, window in ((1, 16), (1, 64), (5, 16), (5, 64)):
            goodput = {}
            for name in (*ENGINES, *servers.PEERS):
                try:
                    runs = [lossy(place, cable, name, percent, window)
                            for _ in range(rounds if name in ENGINES else 1)]
                except servers.Unavailable as reason:
                    print(f"{name} is left out: {reason}", file=sys.stderr)
                    continue
                ratio, goodput[name] = (statistics.median(x) for x in zip(*runs))
                if name in ENGINES:
                    goal = 1 + 3 * percent / 100
                    place.say(f"{percent} % loss, windowsize {window}, {name}: packets sent for "
                              "each block", f"{ratio:.3f} ({', '.join(f'{r:.3f}' for r, _ in runs)})",
                              f"<= {goal:.2f}", ratio <= goal)
            others = max((goodput[n] for n in goodput if n not in ENGINES), default=0)
            for name in ENGINES:
                place.say(f"{percent} % loss, windowsize {window}, {name}: goodput of "
                          f"{', '.join(goodput)}",
                          ", ".join(f"{g:.2f}" for g in goodput.values()) + " MB/s",
                          "ahead of the others", goodput[name] > others)


def buffers(place, rounds):
    """Clients that hold less than a window: U-Boot's 4 buffers and GRUB's 50 packets. Sensible is
    not less than they would get without a window."""
    for engine in ENGINES:
        for hold, window in ((4, 16), (50, 64)):
            runs = {"lock-step": (), f"window {hold}": ("-w", hold),
                    f"window {window}": ("-w", window, "--rcvbuf-packets", hold)}
            rates = {label: [] for label in runs}
            again, failed = [], 0
            for _ in range(rounds):
                for label, extra in runs.items():
                    with place.server(engine) as server:
                        result = place.load(server, "-n", 3, "-b", 1428, *extra, "--delay", 0.2,
                                            "--local", place.root, "f4m", limit=60)
                    rates[label].append(result["bytes_per_s"] / 1e6)
                    failed += 3 - result["succeeded"]
                again.append(100 * result["duplicates"] / max(1, result["packets_in"]))
            middle = {label: statistics.median(x) for label, x in rates.items()}
            alone, _, wide = middle.values()
            place.say(f"a client that holds {hold} packets, {engine}: "
                      f"MB/s of {', '.join(middle)}",
                      ", ".join(f"{x:.2f}" for x in middle.values()) +
                      f"; {statistics.median(again):.1f} % came twice",
                      "all complete, not below lock-step", failed == 0 and wide >= alone)


def blind_acks(place, _rounds):
    """An attacker who forges a victim's request and acknowledges blindly at every port."""
    with namespaces.Cable() as cable:
        for mode, goal in (("auto", 1), ("shared", None)):
            with place.server("io_uring+io_uring", address=namespaces.SERVER,
                              network__transfer_ports=mode) as server:
                got = json.loads(namespaces.run(
                    *cable.far, sys.executable, attack.__file__, server.host, server.port,
                    namespaces.CLIENT, namespaces.VICTIM, "f64m", mode).stdout)
            text = (f"{got['at_victim']} / {got['spent']} = {got['at_victim'] / got['spent']:.3f} "
                    f"({got['hits']} of {got['requests']} requests acknowledged, "
                    f"{got['acks']} ACKs)")
            place.say(f"blind ACKs, ports \"{mode}\": IP bytes at the victim / spent", text,
                      "< 1" if goal else "", got["at_victim"] < got["spent"] if goal else None)
        first, last = map(int, pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range")
                          .read_text().split())
        spray = 32 * (last - first + 1)
        # Less than six windows (proto/sender_test.c) of 96 KiB, with headers (server/transfer.c).
        released = 6 * (98304 + 64 * 32)
        place.say("blind ACKs, arithmetic: bytes that one hit releases / to spray all "
                  f"{last - first + 1} ports", f"{released} / {spray} = {released / spray:.3f}",
                  "< 1", released < spray)


SECTIONS = {"spin": spin, "idle": idle, "calls": calls, "many": many, "workers": workers,
            "timers": timers, "loss": loss, "buffers": buffers, "attack": blind_acks}


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=servers.TOP / "build")
    parser.add_argument("--only", default=",".join(SECTIONS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()
    chosen = [name for name in options.only.split(",") if name]
    for name in chosen:
        if name not in SECTIONS:
            parser.error(f"there is no {name}, only {', '.join(SECTIONS)}")
    if os.geteuid() != 0:
        parser.error("network namespaces want root")
    build = options.build.resolve()
    if "loss" in chosen:
        for name in servers.PEERS:  # before the network is left behind
            try:
                servers.peer_program(name, build)
            except servers.Unavailable as reason:
                print(f"{name} is left out: {reason}", file=sys.stderr)
    namespaces.enter()
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything is cleaned up
    with tempfile.TemporaryDirectory(prefix="ringtftp-bench.") as work:
        pathlib.Path(work).chmod(0o755)
        place = Place(build, pathlib.Path(work))
        for name in chosen:
            SECTIONS[name](place, options.rounds)
    if options.json:
        options.json.write_text(json.dumps(place.lines, indent=1) + "\n")
    return 1 if any(line["verdict"] == "SHORT" for line in place.lines) else 0


if __name__ == "__main__":
    sys.exit(main())
