"""Runs the load generator against a server and brings home what both of them say."""

import json
import os
import pathlib
import subprocess
import time

import machine
import servers

RANGE = "127.1.0.1-127.1.4.0"  # 1024 client addresses
SIZES = {"f6": 6, "f64k": 64 << 10, "f1m": 1 << 20, "f10m": 10 << 20, "f100m": 100 << 20}


def write_file(path, size):
    with open(path, "wb") as f:
        for at in range(0, size, 1 << 20):
            f.write(os.urandom(min(1 << 20, size - at)))


class Bench:
    """Folders, processors, and how long a measurement may take."""

    def __init__(self, build, work, quick, realtime=False):
        self.build = pathlib.Path(build).resolve()
        self.program = self.build / "src/cli/ringtftp-bench"
        self.work = work
        self.root = work / "files"
        self.quick = quick
        self.realtime = realtime
        self.limit = 4 if quick else 40  # seconds for one measurement
        self.deadline = None  # of the section, by the monotonic clock
        self.section = ""
        allowed = sorted(os.sched_getaffinity(0))
        self.server_cpu = allowed[0]
        self.load_cpu = allowed[-1]
        self.skipped = {}  # server or section: why
        self.root.mkdir()
        for name, size in SIZES.items():
            write_file(self.root / name, size)

    def load(self, server, arguments, limit=None):
        """The generator's JSON, with what the server's processor did for nobody in particular."""
        limit = limit or self.limit

        def prepare():
            os.sched_setaffinity(0, {self.load_cpu})
            if self.realtime:
                os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))

        before = machine.softirq_thread_s(self.server_cpu)
        command = [str(self.program), server.address, "--json", "-", "--server-pid",
                   str(server.pid), *server.group_options, "--grace", str(limit), "--patience",
                   "30", *map(str, arguments)]
        got = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                             timeout=3 * limit + 60, check=False,
                             preexec_fn=prepare)
        if got.returncode not in (0, 75):
            raise servers.Unavailable(f"the load generator stopped: {got.stderr.strip()}")
        result = json.loads(got.stdout)
        result["server"]["softirq_thread_s"] = machine.softirq_thread_s(self.server_cpu) - before
        return result

    def measure(self, name, arguments, root=None, options=None, warm=None, limit=None):
        """One server from a fresh start. `warm`: a file it is asked for before. With the server's
        own words on its reads and turns, if it has any."""
        root = root or self.root
        limit = limit or self.limit
        with servers.Server(name, self.build, root, self.server_cpu, options,
                            self.realtime) as server:
            if warm:
                self.load(server, ["-c", 1, "-n", 1, "-b", 65464, "--no-verify", warm])
            before = server.memory_high()
            result = self.load(server, ["-d", limit, *arguments], limit)
            after = server.memory_high()
            if before and after:
                result["server"]["memory_high_before"] = before
                result["server"]["memory_high"] = after
            result["server"].update(server.words())
        return result

    def try_measure(self, name, *arguments, **rest):
        """As measure(); None, and a word about it, when this server cannot or the section has
        had its time."""
        if name in self.skipped:
            return None
        if self.deadline and time.monotonic() > self.deadline:
            self.skipped[f"rest of {self.section}"] = "the time of a quick run is up"
            return None
        try:
            return self.measure(name, *arguments, **rest)
        except servers.Unavailable as error:
            self.skipped[name] = str(error)
            print(f"skipped {name}: {error}", flush=True)
            return None
