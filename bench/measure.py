"""Runs the load generator against a server and brings home what both of them say."""

import json
import os
import pathlib
import re
import subprocess
import time

import machine
import servers

RANGE = "127.1.0.1-127.1.4.0"  # 1024 client addresses
SIZES = {"f6": 6, "f64k": 64 << 10, "f1m": 1 << 20, "f10m": 10 << 20, "f100m": 100 << 20}
STRIKES = 2  # a server that fails this often is left out of the rest of its section
ENOUGH = (3, 15)  # runs and seconds: a slow server that has had both is measured no more


def write_file(path, size):
    with open(path, "wb") as f:
        for at in range(0, size, 1 << 20):
            f.write(os.urandom(min(1 << 20, size - at)))


def without_folders(text):
    """Of a path only the last part: a record tells nothing of where it was made."""
    return re.sub(r"(?<![\w.])(/[^\s/:'\"]+)+/", "", text)


class Bench:
    """Folders, processors, and how long a measurement may take."""

    def __init__(self, build, work, quick, realtime=False):
        self.build = pathlib.Path(build).resolve()
        self.program = self.build / "src/cli/ringtftp-bench"
        self.work = work
        self.root = work / "files"
        self.quick = quick
        self.realtime = realtime
        self.limit = 3 if quick else 6  # seconds for one measurement, and as much to end in
        self.began = time.monotonic()
        self.deadline = None  # of the section, by the monotonic clock
        self.section = ""
        allowed = sorted(os.sched_getaffinity(0))
        self.server_cpu = allowed[0]
        self.load_cpu = allowed[-1]
        self.skipped = {}  # what was left out: why
        self.absent = set()  # servers that are not here at all
        self.strikes = {}
        self.spent = {}  # (section, cell, server): runs and seconds
        self.root.mkdir()
        for name, size in SIZES.items():
            write_file(self.root / name, size)

    def begin(self, section, seconds):
        self.section = section
        self.deadline = time.monotonic() + seconds
        self.strikes = {}

    def out_of_time(self):
        if self.deadline is None or time.monotonic() < self.deadline:
            return False
        self.skip(f"the last rounds of {self.section}", "the section has had its time")
        return True

    def skip(self, what, why):
        """Left out, with the reason; the first one counts."""
        if what not in self.skipped:
            self.skipped[what] = without_folders(str(why))
            print(f"skipped {what}: {self.skipped[what]}", flush=True)

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
                             timeout=2 * limit + 20, check=False,
                             preexec_fn=prepare)
        if got.returncode not in (0, 75):
            raise servers.Unavailable(f"the load generator stopped: {got.stderr.strip()}")
        result = json.loads(got.stdout)
        result["server"]["softirq_thread_s"] = machine.softirq_thread_s(self.server_cpu) - before
        return result

    def start(self, name, root=None, options=None):
        return servers.Server(name, self.build, root or self.root, self.server_cpu, options,
                              self.realtime)

    def measure(self, name, arguments, root=None, options=None, warm=None, limit=None):
        """One server from a fresh start. `warm`: a file it is asked for before. With the server's
        own words on its reads and turns, if it has any."""
        limit = limit or self.limit
        with self.start(name, root, options) as server:
            if warm and not self.load(server, ["-c", 1, "-n", 1, "-d", limit, "-b", 65464,
                                               "--no-verify", warm])["succeeded"]:
                raise servers.Unavailable(f"{name} does not serve one client")
            before, disk = server.memory_high(), server.disk_bytes()
            began = time.monotonic()
            result = self.load(server, ["-d", limit, *arguments], limit)
            after = server.memory_high()
            if before and after:
                result["server"]["memory_high_before"] = before
                result["server"]["memory_high"] = after
            if disk is not None:
                result["server"]["disk_bytes"] = server.disk_bytes() - disk
            result["server"].update(server.words())
        result["at_s"] = began - self.began
        return result

    def left_out(self, name, cell):
        runs, seconds = self.spent.get((self.section, cell, name), (0, 0))
        return (name in self.absent or self.strikes.get(name, 0) >= STRIKES
                or (cell is not None and runs >= ENOUGH[0] and seconds >= ENOUGH[1])
                or self.out_of_time())

    def attempt(self, name, what, cell=None):
        """what(), or None and a word about it: when this server cannot do it, or has failed too
        often in this section, or the section has had its time. Never an exception: whatever
        happens to one measurement, the others are made."""
        if self.left_out(name, cell):
            return None
        began = time.monotonic()
        try:
            return what()
        except servers.Absent as error:
            self.absent.add(name)
            self.skip(name, error)
        except (servers.Unavailable, OSError, subprocess.SubprocessError, ValueError, LookupError,
                TypeError) as error:
            self.strikes[name] = self.strikes.get(name, 0) + 1
            text = ("it did not end in time" if isinstance(error, subprocess.TimeoutExpired)
                    else str(error) or type(error).__name__)
            self.skip(f"{name} in {self.section}"
                      + (", one time" if self.strikes[name] < STRIKES else ", the rest"), text)
        finally:
            runs, seconds = self.spent.get((self.section, cell, name), (0, 0))
            self.spent[self.section, cell, name] = runs + 1, seconds + time.monotonic() - began
        return None

    def try_measure(self, name, *arguments, cell=None, **rest):
        """As measure(), but as attempt(). `cell`: what of the section this is a run of; None: of
        something else each time."""
        return self.attempt(name, lambda: self.measure(name, *arguments, **rest), cell)
