"""What is measured: the sections of the record, each a function(bench, names, rounds) that
returns plain data for the record."""

import os
import pathlib
import shutil
import signal
import subprocess
import threading
import time

import measure
import servers

# Name: (what it is, figure, file, arguments, transfers, of a quick run)
CASES = {
    "A": ("100 clients, 64 KB files, blksize 512, lock-step", "us_per_packet", "f64k",
          ["-c", 100], 3000, 1000),
    "B": ("1,000 clients, 1 MB files, blksize 1428, lock-step", "us_per_packet", "f1m",
          ["-c", 1000, "-b", 1428], 2000, 1000),
    "C": ("1 client, 100 MB, blksize 1428, windowsize 64", "s_per_gb", "f100m",
          ["-c", 1, "-b", 1428, "-w", 64], 10, 3),
    "D": ("10 clients, 100 MB, blksize 65464", "s_per_gb", "f100m",
          ["-c", 10, "-b", 65464], 60, 20),
    "E": ("100 clients, 10 MB, blksize 1428, windowsize 16", "s_per_gb", "f10m",
          ["-c", 100, "-b", 1428, "-w", 16], 200, 100),
    "S": ("100 clients, 6-byte files", "transfers_per_cpu_s", "f6", ["-c", 100], 40000, 10000),
}
FIGURES = {"us_per_packet": "µs of server CPU per packet", "s_per_gb": "s of server CPU per GB",
           "transfers_per_cpu_s": "transfers per second of server CPU"}
RINGTFTPD = [f"ringtftpd {c}" for c in servers.COMBINATIONS]
WINDOW = ["--source", measure.RANGE, "--no-gro"]


def say(text):
    print(text, flush=True)


def figure(result, name):
    """A figure of a run; None when there is none: nothing got through, or more than half of it
    failed. What only the clock cut off counts: its packets were carried."""
    cpu = result["server"]["cpu_s"]
    if not result["payload_bytes"] or 2 * result["failures"]["all"] > result["started"]:
        return None
    if name == "transfers_per_cpu_s":
        return result["succeeded"] / cpu if cpu and result["succeeded"] else None
    return result["server"][name]


def share(result, who):
    return 100 * result[who]["cpu_s"] / max(result["elapsed_s"], 1e-9)


def describe(result):
    return (f"{result['server']['us_per_packet']:.2f} us/packet, "
            f"{result['server']['s_per_gb']:.3f} s/GB, {result['bytes_per_s'] / 1e6:.1f} MB/s, "
            f"{result['transfers_per_s']:.0f}/s, {result['failures']['all']} of "
            f"{result['started']} failed, {result['unfinished']} cut off, "
            f"server {share(result, 'server'):.0f} %, generator {share(result, 'generator'):.0f} %")


def cases(bench, names, rounds, only=None):
    """Throughput and CPU of the fixed cases; servers take turns in every round."""
    chosen = [c for c in CASES if not only or c in only]
    raw = {case: {name: [] for name in names} for case in chosen}
    for turn in range(rounds):
        for case in chosen:
            _, _, file, arguments, count, quick_count = CASES[case]
            for name in names:
                result = bench.try_measure(
                    name, [*arguments, "-n", quick_count if bench.quick else count, "--local",
                           bench.root, *WINDOW, file], warm=file)
                if result:
                    raw[case][name].append(result)
                    say(f"{case} round {turn + 1} {name}: {describe(result)}")
    return raw


def concurrency(bench, names, rounds):
    """64 KB to N clients at once, lock-step."""
    steps = (1, 100, 1000, 10000) if bench.quick else (1, 10, 100, 200, 1000, 5000, 10000)
    if bench.quick:
        names = [n for n in names if n in ("floor", "ringtftpd mmsg+threads",
                                           "ringtftpd io_uring+io_uring", "dnsmasq")]
    raw = {str(n): {name: [] for name in names} for n in steps}
    for turn in range(rounds):
        for clients in steps:
            for name in names:
                if clients > 1000 and name in ("in.tftpd", "atftpd", "dnsmasq"):
                    continue  # a process, a thread or a descriptor for each: not made for this
                count = max(clients, 200 if clients == 1 else 2000)
                result = bench.try_measure(
                    name, ["-c", clients, "-n", count, "-b", 1428, "--local", bench.root, *WINDOW,
                           "f64k"], warm="f64k")
                if result:
                    raw[str(clients)][name].append(result)
                    say(f"{clients} clients, round {turn + 1} {name}: {describe(result)}")
    return raw


def latency(bench, names, rounds):
    """Open loop: 64 KB files asked for at a fixed rate, latency from the intended start."""
    rate, seconds = 300, 3 if bench.quick else 10
    raw = {name: [] for name in names}
    for turn in range(rounds):
        for name in names:
            result = bench.try_measure(
                name, ["--rate", rate, "-b", 1428, "--local", bench.root, "--seed", turn, *WINDOW,
                       "f64k"], warm="f64k", limit=seconds)
            if result:
                raw[name].append(result)
                t = result["transfer_s"]
                say(f"{rate}/s round {turn + 1} {name}: p50 {t['p50'] * 1e3:.2f} p99 "
                    f"{t['p99'] * 1e3:.2f} max {t['max'] * 1e3:.2f} ms")
    return {"rate": rate, "runs": raw}


class OwnFiles:
    """A folder of files of one size and content, each of its own: what is read from disk is
    distinct, what it is compared with is one copy that stays in memory."""

    def __init__(self, bench, count, size):
        self.folder = bench.work / f"own-{count}"
        self.folder.mkdir()
        self.names = [f"o{n:05}" for n in range(count)]
        self.copy = bench.work / f"copy-{count}"
        self.size = size
        measure.write_file(self.copy, size)
        for name in self.names:
            shutil.copyfile(self.copy, self.folder / name)
        self.list = bench.work / f"list-{count}"
        self.list.write_text("".join(f"{name} local={self.copy}\n" for name in self.names))
        self.sync()

    def paths(self):
        return [self.folder / name for name in self.names]

    def sync(self):
        for path in self.paths():
            with open(path, "rb") as f:
                os.fsync(f.fileno())

    def forget(self):
        """Takes the files out of the page cache."""
        for path in self.paths():
            with open(path, "rb") as f:
                os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def remember(self):
        for path in self.paths():
            path.read_bytes()

    def remove(self):
        shutil.rmtree(self.folder)


def disk_alone(files, depth=128, chunk=32768):
    """MB/s that `depth` readers get from the disk with nobody between."""
    files.forget()
    todo = files.paths()
    lock = threading.Lock()

    def read():
        while True:
            with lock:
                if not todo:
                    return
                path = todo.pop()
            fd = os.open(path, os.O_RDONLY)
            at = 0
            while True:
                n = len(os.pread(fd, chunk, at))
                if not n:
                    break
                at += n
            os.close(fd)

    threads = [threading.Thread(target=read) for _ in range(depth)]
    before = time.monotonic()
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return files.size * len(files.names) / (time.monotonic() - before) / 1e6


def own_files_run(bench, name, files, **rest):
    """Every file once, each by a client of its own, all at the same time."""
    count = len(files.names)
    return bench.try_measure(name, ["-c", count, "-n", count, "--in-turn", "-b", 65464, "--list",
                                    files.list, *WINDOW], root=rest.pop("root", files.folder),
                             **rest)


def io_uring(bench, names, rounds):
    """Thread pool and io_uring on distinct files: cold, warm, and on a slow disk."""
    names = [n for n in names if n in RINGTFTPD]
    record = {"cold": {}, "warm": {}, "slow": {}, "disk_mb_per_s": {}}
    sizes = ((200, 1 << 20),) if bench.quick else ((200, 4 << 20), (1000, 1 << 20))
    for count, size in sizes:
        files = OwnFiles(bench, count, size)
        record["disk_mb_per_s"][str(count)] = [disk_alone(files) for _ in range(rounds)]
        for kind in ("cold", "warm"):
            by_name = record[kind].setdefault(str(count), {name: [] for name in names})
            for turn in range(rounds):
                for name in names:
                    files.forget() if kind == "cold" else files.remember()
                    result = own_files_run(bench, name, files)
                    if result:
                        by_name[name].append(result)
                        say(f"{kind}, {count} files, round {turn + 1} {name}: {describe(result)}")
        if count == 200:
            slow_disk(bench, names, files, rounds, record)
        files.remove()
    return record


def slow_disk(bench, names, files, rounds, record):
    """The same files with 20 ms added to every read."""
    helper = bench.build / "tests/helpers/slow-fs"
    mount = bench.work / "slow"
    if not helper.exists() or not os.access("/dev/fuse", os.W_OK):
        bench.skipped["slow disk"] = "no FUSE here, or the helper is not built"
        return
    mount.mkdir()
    process = subprocess.Popen([str(helper), str(files.folder), str(mount), "20"],
                               stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 10
        while not os.path.ismount(mount) and time.monotonic() < end and process.poll() is None:
            time.sleep(0.01)
        if not os.path.ismount(mount):
            bench.skipped["slow disk"] = "the slow file system cannot be mounted"
            return
        for turn in range(rounds):
            for name in names:
                result = own_files_run(bench, name, files, root=mount)
                if result:
                    record["slow"].setdefault(name, []).append(result)
                    say(f"slow disk round {turn + 1} {name}: {describe(result)}")
    finally:
        process.send_signal(signal.SIGUSR1)
        subprocess.run(["umount", "--lazy", str(mount)], check=False, stderr=subprocess.DEVNULL)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def memory(bench, names, rounds):
    """Resident memory over what an idle server has, per transfer."""
    names = [n for n in names if n in (*RINGTFTPD, "dnsmasq")]
    record = {"one file": {}, "own files": {}}
    for clients in (1000,) if bench.quick else (1000, 10000):
        for name in names:
            if name == "dnsmasq" and clients > 1000:
                continue
            # Lock-step from a warm file: all of them are in the middle of it at the same time.
            result = bench.try_measure(name, ["-c", clients, "-n", clients, "-b", 512, "--local",
                                              bench.root, *WINDOW, "f64k"], warm="f64k")
            if result:
                record["one file"].setdefault(str(clients), {})[name] = result
                say(f"one file, {clients} clients {name}: {grown(result) / clients:.0f} bytes each")
    files = OwnFiles(bench, 1000, 256 << 10)
    for name in names:
        result = own_files_run(bench, name, files)
        if result:
            record["own files"].setdefault("1000", {})[name] = result
            say(f"1000 own files {name}: {grown(result) / 1000:.0f} bytes each")
    files.remove()
    return record


def grown(result):
    s = result["server"]
    if "memory_high" in s:
        return max(0, s["memory_high"] - s["memory_high_before"])
    return max(0, s["memory_peak"] - s["memory_before"])


def uploads(bench, names, rounds):
    """100 clients send 1 MB each, again and again, windowsize 16."""
    names = [n for n in names if n not in ("floor", "dnsmasq")]  # these take nothing
    raw = {name: [] for name in names}
    options = {"write.enabled": "true", "write.allow_overwrite": "true", "write.durable": "false"}
    for turn in range(rounds):
        for name in names:
            folder = bench.work / "uploads"
            folder.mkdir()
            folder.chmod(0o777)
            result = bench.try_measure(
                name, ["-c", 100, "-n", 200 if bench.quick else 1000, "-b", 1428, "-w", 16,
                       "--put", "--put-as", "u%c.%n", "--source", measure.RANGE, "--local",
                       bench.root, "f1m"], root=folder, options=options)
            shutil.rmtree(folder)
            if result:
                raw[name].append(result)
                say(f"uploads round {turn + 1} {name}: {describe(result)}")
    return raw


SECTIONS = {"cases": cases, "latency": latency, "concurrency": concurrency, "memory": memory,
            "io_uring": io_uring, "uploads": uploads}
