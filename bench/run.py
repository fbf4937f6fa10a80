#!/usr/bin/python3
"""Measures ringtftpd and other TFTP servers and records the result.

    bench/run.py                 everything; an hour or more
    bench/run.py --quick         every kind of case once, under 5 minutes
    bench/run.py --cases A,S --servers floor,ringtftpd --rounds 9
    bench/run.py --render DIR    writes docs/benchmarks.md anew from recorded results

The server runs on the first processor, the load on the second; all servers take turns in every
round, and the figures are medians over the rounds and ratios to the floor of the same run.
"""

import argparse
import datetime
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import machine
import servers

TOP = pathlib.Path(__file__).resolve().parents[1]
RANGE = "127.1.0.1-127.1.4.0"  # 1024 client addresses
SIZES = {"f6": 6, "f64k": 64 << 10, "f1m": 1 << 20, "f10m": 10 << 20, "f100m": 100 << 20}

# Name: (what it is, figure, file, arguments, transfers, of a quick run)
CASES = {
    "A": ("100 clients, 64 KB files, blksize 512, lock-step", "us_per_packet", "f64k",
          ["-c", "100"], 3000, 1000),
    "B": ("1,000 clients, 1 MB files, blksize 1428, lock-step", "us_per_packet", "f1m",
          ["-c", "1000", "-b", "1428"], 2000, 1000),
    "C": ("1 client, 100 MB, blksize 1428, windowsize 64", "s_per_gb", "f100m",
          ["-c", "1", "-b", "1428", "-w", "64"], 10, 3),
    "D": ("10 clients, 100 MB, blksize 65464", "s_per_gb", "f100m",
          ["-c", "10", "-b", "65464"], 60, 20),
    "E": ("100 clients, 10 MB, blksize 1428, windowsize 16", "s_per_gb", "f10m",
          ["-c", "100", "-b", "1428", "-w", "16"], 200, 100),
    "S": ("100 clients, 6-byte files", "transfers_per_cpu_s", "f6", ["-c", "100"], 40000, 10000),
}
FIGURES = {"us_per_packet": "µs of server CPU per packet", "s_per_gb": "s of server CPU per GB",
           "transfers_per_cpu_s": "transfers per second of server CPU"}


def say(text):
    print(text, flush=True)


class Bench:
    """One run of the program: folders, processors, the generator."""

    def __init__(self, arguments, work):
        self.build = pathlib.Path(arguments.build).resolve()
        self.program = self.build / "src/cli/ringtftp-bench"
        self.root = work / "files"
        self.work = work
        self.quick = arguments.quick
        self.limit = 10 if arguments.quick else 40  # seconds for one measurement
        allowed = sorted(os.sched_getaffinity(0))
        self.server_cpu = allowed[0]
        self.load_cpu = allowed[-1]
        self.skipped = {}
        self.root.mkdir()
        for name, size in SIZES.items():
            with open(self.root / name, "wb") as f:
                for at in range(0, size, 1 << 20):
                    f.write(os.urandom(min(1 << 20, size - at)))

    def load(self, server, arguments, limit=None, cpu=None):
        """Runs the generator; its JSON, with the softirq thread's time added."""
        limit = limit or self.limit
        cpu = self.load_cpu if cpu is None else cpu
        before = machine.softirq_thread_s(self.server_cpu)
        command = [str(self.program), server.address, "--json", "-", "--server-pid",
                   str(server.pid), *server.group_options, "--grace", str(limit), "--patience", str(limit), *arguments]
        got = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                             timeout=3 * limit + 60, check=False,
                             preexec_fn=lambda: os.sched_setaffinity(0, {cpu}))
        if got.returncode not in (0, 75):
            raise servers.Unavailable(f"the load generator stopped: {got.stderr.strip()}")
        result = json.loads(got.stdout)
        result["server"]["softirq_thread_s"] = machine.softirq_thread_s(self.server_cpu) - before
        return result

    def measure(self, name, case):
        """One server, one case, from a fresh start."""
        _, _, file, arguments, count, quick_count = CASES[case]
        count = quick_count if self.quick else count
        arguments = [*arguments, "--local", str(self.root), "--source", RANGE, "--no-gro", file]
        with servers.Server(name, self.build, self.root, self.server_cpu) as server:
            self.load(server, ["-c", "1", "-n", "1", "-b", "65464", "--local", str(self.root),
                               file])  # what the server keeps in memory is there
            return self.load(server, ["-n", str(count), "-d", str(self.limit), *arguments])


def figure(result, name):
    """The figure of a case; None when nothing got through."""
    cpu = result["server"]["cpu_s"]
    if name == "transfers_per_cpu_s":
        return result["succeeded"] / cpu if cpu and result["succeeded"] else None
    return result["server"][name] if result["succeeded"] else None


def summary(runs, name):
    values = [v for v in (figure(r, name) for r in runs) if v is not None]
    if not values:
        return None
    return {"median": statistics.median(values), "min": min(values), "max": max(values),
            "rounds": len(values)}


def measure_cases(bench, cases, names, rounds):
    """{case: {server: [result of each round]}}; servers take turns."""
    raw = {case: {name: [] for name in names} for case in cases}
    for turn in range(rounds):
        for case in cases:
            for name in names:
                if name in bench.skipped:
                    continue
                try:
                    result = bench.measure(name, case)
                except servers.Unavailable as error:
                    bench.skipped[name] = str(error)
                    say(f"skipped {name}: {error}")
                    continue
                raw[case][name].append(result)
                value = figure(result, CASES[case][1])
                failures = result["failures"]["all"] + result["unfinished"]
                say(f"round {turn + 1} {case} {name}: "
                    + ("nothing got through" if value is None else f"{value:.3f}")
                    + f" {CASES[case][1]}, {result['bytes_per_s'] / 1e6:.1f} MB/s, "
                    f"{failures} of {result['started']} failed, generator "
                    f"{100 * result['generator']['cpu_s'] / max(result['elapsed_s'], 1e-9):.0f} %,"
                    f" server {100 * result['server']['cpu_s'] / max(result['elapsed_s'], 1e-9):.0f}"
                    " %")
    return raw


def table(raw):
    """A short text table of medians and ratios to the floor."""
    lines = []
    for case, by_server in raw.items():
        title, name = CASES[case][:2]
        floor = summary(by_server.get("floor", []), name)
        lines.append(f"{case}: {title}; {FIGURES[name]}")
        for server, runs in by_server.items():
            s = summary(runs, name)
            if not runs:
                continue
            failed = sum(r["failures"]["all"] + r["unfinished"] for r in runs)
            started = sum(r["started"] for r in runs)
            text = "nothing got through" if not s else (
                f"{s['median']:10.3f} ({s['min']:.3f}-{s['max']:.3f})"
                + (f"  {s['median'] / floor['median']:.2f} x floor" if floor else ""))
            lines.append(f"  {server:32} {text}" + (f"  {failed} of {started} failed"
                                                    if failed else ""))
    return "\n".join(lines)


def all_servers(wanted):
    names = ["floor", *(f"ringtftpd {c}" for c in servers.COMBINATIONS), *servers.PEERS]
    if not wanted:
        return names
    chosen = [n for n in names if any(n == w or n.startswith(w + " ") for w in wanted)]
    if not chosen:
        sys.exit(f"run.py: --servers: none of {', '.join(names)}")
    return chosen


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=str(TOP / "build"), help="build folder")
    parser.add_argument("--quick", action="store_true", help="under 5 minutes")
    parser.add_argument("--cases", default=",".join(CASES), help="default: all")
    parser.add_argument("--servers", default="", help="default: all; ringtftpd: its four kinds")
    parser.add_argument("--rounds", type=int, default=0, help="default: 5; quick: 1")
    parser.add_argument("--label", default=machine.label(), help="name for the machine")
    parser.add_argument("--no-record", action="store_true", help="print only")
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    cases = [c for c in arguments.cases.split(",") if c]
    for case in cases:
        if case not in CASES:
            sys.exit(f"run.py: --cases: there is no case {case}")
    names = all_servers([s for s in arguments.servers.split(",") if s])
    rounds = arguments.rounds or (1 if arguments.quick else 5)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="ringtftp-bench.") as work:
        bench = Bench(arguments, pathlib.Path(work))
        raw = measure_cases(bench, cases, names, rounds)
    say("")
    say(table(raw))
    for name, reason in bench.skipped.items():
        say(f"skipped {name}: {reason}")
    if not arguments.no_record:
        date = datetime.date.today().isoformat()
        folder = TOP / "bench/results" / f"{date}-{arguments.label}"
        folder.mkdir(parents=True, exist_ok=True)
        record = {"machine": machine.facts(TOP), "date": date, "rounds": rounds,
                  "quick": arguments.quick, "seconds": time.monotonic() - started,
                  "skipped": bench.skipped, "cases": raw}
        (folder / "cases.json").write_text(json.dumps(record, indent=1) + "\n")
        say(f"recorded in {folder.relative_to(TOP)}")


if __name__ == "__main__":
    main()
