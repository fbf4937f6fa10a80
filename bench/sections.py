"""What is measured: the sections of the record, each a function(bench, names, rounds) that
returns plain data for the record. In every round all servers take turns."""

import shutil

import measure
import own_files
import servers
from ratios import FLOOR

# Name: what it is; its figure; the goal, as a ratio to the floor; file; arguments; transfers, and
# those of a quick run.
CASES = {
    "A": ("100 clients, 64 KB files, blksize 512, lock-step", "us_per_packet", 1.15, "f64k",
          ["-c", 100], 3000, 1000),
    "B": ("1,000 clients, 1 MB files, blksize 1428, lock-step", "us_per_packet", 1.15, "f1m",
          ["-c", 1000, "-b", 1428], 1000, 1000),
    "C": ("1 client, 100 MB, blksize 1428, windowsize 64", "s_per_gb", 1.15, "f100m",
          ["-c", 1, "-b", 1428, "-w", 64], 10, 3),
    "D": ("10 clients, 100 MB, blksize 65464", "s_per_gb", 1.2, "f100m",
          ["-c", 10, "-b", 65464], 60, 20),
    "E": ("100 clients, 10 MB, blksize 1428, windowsize 16", "s_per_gb", 1.15, "f10m",
          ["-c", 100, "-b", 1428, "-w", 16], 200, 100),
    "S": ("100 clients, 6-byte files", "transfers_per_cpu_s", 0.9, "f6", ["-c", 100], 100000,
          20000),
}
LIMITS = {"B": 12}  # seconds: a thousand clients of a slow server
FIGURES = {"us_per_packet": "µs of server CPU per packet", "s_per_gb": "s of server CPU per GB",
           "transfers_per_cpu_s": "transfers per second of server CPU"}
FIGURES_UP = {"us_per_packet": False, "s_per_gb": False, "transfers_per_cpu_s": True}  # more: better
RINGTFTPD = [f"ringtftpd {c}" for c in servers.COMBINATIONS]
WINDOW = ["--source", measure.RANGE, "--no-gro"]
SMALL_CACHE = 48 << 20  # bytes, which 1,000 transfers share
MANY = 1000  # clients; with more than these the other servers are not asked


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
    """Throughput and CPU of the fixed cases."""
    chosen = [c for c in CASES if not only or c in only]
    raw = {case: {name: [] for name in names} for case in chosen}
    for turn in range(rounds):
        for case in chosen:
            *_, file, arguments, count, quick_count = CASES[case]
            for name in turns(bench, names, case):
                result = bench.try_measure(
                    name, [*arguments, "-n", quick_count if bench.quick else count, "--local",
                           bench.root, *WINDOW, file], warm=file,
                    cell=None if name == FLOOR else case,
                    limit=None if bench.quick else LIMITS.get(case))
                if result:
                    raw[case][name].append(result)
                    say(f"{case} round {turn + 1} {name}: {describe(result)}")
    return raw


def turns(bench, names, cell):
    """Whose turn it is, one after the other: the floor before and after each, so that the
    machine's changes of speed fall on both (ratios.py). A quick run asks it once."""
    if FLOOR not in names or bench.quick:
        return names
    others = [n for n in names if n != FLOOR and not bench.left_out(n, cell)]
    return [turn for name in others for turn in (FLOOR, name)] + [FLOOR]


def few(bench, name):
    """Is this one only asked by up to MANY clients?"""
    if name not in servers.PEERS:
        return False
    bench.skip(f"{', '.join(servers.PEERS)} with more than {MANY:,} clients",
               "they need a process, a thread or a descriptor for each")
    return True


def concurrency(bench, names, rounds):
    """64 KB to N clients at once, lock-step."""
    steps = (1, 100, 1000, 10000) if bench.quick else (1, 10, 100, 200, 1000, 5000, 10000)
    if bench.quick:
        names = [n for n in names if n in ("floor", "ringtftpd mmsg+threads",
                                           "ringtftpd io_uring+io_uring", "dnsmasq")]
    raw = {str(n): {name: [] for name in names} for n in steps}
    for turn in range(rounds):
        for clients in steps:
            for name in turns(bench, names, clients):
                if clients > MANY and few(bench, name):
                    continue
                count = max(clients, 200 if clients == 1 else 2000)
                result = bench.try_measure(
                    name, ["-c", clients, "-n", count, "-b", 1428, "--local", bench.root, *WINDOW,
                           "f64k"], warm="f64k", cell=None if name == FLOOR else clients)
                if result:
                    raw[str(clients)][name].append(result)
                    say(f"{clients} clients, round {turn + 1} {name}: {describe(result)}")
    return raw


def latency(bench, names, rounds):
    """Open loop: 64 KB files asked for at a fixed rate, latency from the intended start."""
    rate, seconds = 300, 3 if bench.quick else 5
    raw = {name: [] for name in names}
    for turn in range(min(rounds, 3)):
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


def leak(bench, name, loads, transfers=2000):
    """One server, one load again and again: what it holds after the second and after the last."""
    with bench.start(name) as server:
        for turn in range(loads):
            result = bench.load(server, ["-c", 500, "-n", transfers, "-b", 1428, "--no-verify",
                                         *WINDOW, "f64k:20", "f1m:1", "missing:1"])
            if turn == 1:
                before = server.holds()
        after = server.holds()
    return {"transfers": (loads - 2) * transfers, "bytes": [before[0], after[0]],
            "descriptors": [before[1], after[1]], "refused": result["failures"]["refused"],
            "failed": result["failures"]["all"]}


def memory(bench, names, rounds):
    """Resident memory over what an idle server has, per transfer; and what stays."""
    names = [n for n in names if n in (*RINGTFTPD, "dnsmasq")]
    record = {"one file": {}, "own files": {}, "small cache": {}, "leaks": {}}
    del rounds  # memory is no matter of chance
    for clients in (1000,) if bench.quick else (1000, 10000):
        for name in names:
            if clients > MANY and few(bench, name):
                continue
            # Lock-step from a warm file: all of them are in the middle of it at the same time.
            result = bench.try_measure(name, ["-c", clients, "-n", clients, "-b", 512, "--local",
                                              bench.root, *WINDOW, "f64k"], warm="f64k")
            if result:
                record["one file"].setdefault(str(clients), {})[name] = result
                say(f"one file, {clients} clients {name}: {grown(result) / clients:.0f} bytes each")
    for kind, size, options in (
            ("own files", 256 << 10, {}),
            ("small cache", 1 << 20, {"performance.cache_size": str(SMALL_CACHE)})):
        files = own_files.OwnFiles(bench, 1000, size)
        for name in [n for n in names if not options or n in RINGTFTPD]:
            if options:
                files.forget()
            result = own_files.run(bench, name, files, options=options)
            if result:
                record[kind].setdefault("1000", {})[name] = result
                say(f"{kind}, 1000 transfers {name}: {grown(result) / 1000:.0f} bytes each")
        files.remove()
    for name in [n for n in names if n in RINGTFTPD]:
        result = bench.attempt(name, lambda: leak(bench, name,  # pylint: disable=W0640
                                                  4 if bench.quick else 12))
        if result:
            record["leaks"][name] = result
            say(f"{name} after {result['transfers']} more transfers: "
                f"{result['bytes'][1] - result['bytes'][0]} bytes more, "
                f"{result['descriptors'][1] - result['descriptors'][0]} descriptors more")
    return record


def grown(result):
    s = result["server"]
    if "memory_high" in s:
        return max(0, s["memory_high"] - s["memory_high_before"])
    return max(0, s["memory_peak"] - s["memory_before"])


def io_uring(bench, names, rounds):
    """Thread pool and io_uring on distinct files: cold, warm, and on slow disks."""
    return own_files.io_uring(bench, [n for n in names if n in RINGTFTPD], rounds, say, describe)


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
