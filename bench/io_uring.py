#!/usr/bin/python3
"""Measures what docs/io_uring.md tells of the two file back ends, and prints it as tables.

    bench/io_uring.py [--build DIR] [--json FILE] [--work DIR] [--quick] [CASE]...

Cases: one-file, memory, stalls, hang, cold. Needs the test helpers to be built, root for the slow
file systems, and a folder on a real disk. The server has one worker and runs at real-time priority
where that is allowed, so that the figures are its own and not those of its neighbours.
"""

import argparse
import itertools
import json
import os
import pathlib
import statistics
import sys
import tempfile

import machine

TOP = pathlib.Path(__file__).resolve().parents[1]
COMBINATIONS = [(files, engine) for files in ("threads", "io_uring")
                for engine in ("mmsg", "io_uring")]


def undisturbed():
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    except PermissionError:
        pass


def serve(root, files, engine, *more):
    options = ["performance.workers=1", f"performance.platform.network.engine={engine}",
               f"performance.platform.io_uring.enabled={'true' if files == 'io_uring' else 'false'}",
               "log.level=notice", *more]
    if files == "io_uring":
        options.append("performance.platform.io_uring.fallback_on_error=false")
    return conftest.Server(root, options, listen=("127.0.0.1:0",), prepare=undisturbed)


def combination(files, engine):
    return {"files": files, "packets": engine}


def one_file(work, quick):
    """Clients of one file that is not in the page cache."""
    clients, size = (200, 20 << 20) if quick else (1000, 100 << 20)
    folder = work / "one"
    folder.mkdir()
    (name,) = slow.make_files(folder, 1, size)
    rows = []
    for files, engine in COMBINATIONS:
        cold = slow.drop_from_page_cache(folder)
        server = serve(folder, files, engine)
        before = slow.bytes_from_disk(server)
        result = slow.load(server, [name], folder, "-c", clients, "-n", clients, "-b", 32768,
                           "--no-verify", timeout=600)
        own, disk = slow.numbers(server)["bytes_read"], slow.bytes_from_disk(server) - before
        server.stop()
        rows.append({**combination(files, engine), "clients": clients, "cold": cold,
                     "complete": result["succeeded"], "mb_per_s": result["bytes_per_s"] / 1e6,
                     "read_by_server": own / size, "read_from_disk": disk / size})
    return rows


def hold(server, names):
    peers = []
    for name in names:
        peer = tftp.Peer(server.address())
        peers.append(peer)
        packet = peer.ask(tftp.rrq(name, options=(("blksize", 1428),)))
        for n in range(3):
            assert packet is not None and packet.opcode != tftp.ERROR, packet
            peer.reply(tftp.ack(n))
            packet = peer.receive()
    return peers


def memory(work, quick):
    """Resident bytes for each transfer that is under way: the first so many, and as many more. What
    is there whether there are transfers or not (the ring's receive buffers, which come into being as
    datagrams fill them one after the other) is filled before."""
    count = 200 if quick else 1000
    rows = []
    folder = work / "memory"
    folder.mkdir()
    names = slow.make_files(folder, 2 * count, 300_000)
    for files, engine in COMBINATIONS:
        for what, wanted in (("distinct", names), ("one", names[:1] * (2 * count))):
            server = serve(folder, files, engine, "limits.transfers_max=10000")
            idle = server.rss_kib()
            for _ in range(3):
                slow.block_latencies(server.address(), wanted[0])
            rss = [server.rss_kib()]
            peers = []
            for part in (wanted[:count], wanted[count:]):
                peers += hold(server, part)
                rss.append(server.rss_kib())
            for peer in peers:
                peer.socket.close()
            server.kill()
            server.reader.join()
            rows.append({**combination(files, engine), "transfers": count, "wanted": what,
                         "bytes_each": (rss[1] - rss[0]) * 1024 / count,
                         "bytes_each_of_as_many_more": (rss[2] - rss[1]) * 1024 / count,
                         "started_kib": idle, "served_kib": rss[0]})
    return rows


def stalls(work, quick):
    """Turns of the loop while a disk takes 20 ms for each read, and while files are cold."""
    folder = work / "stalls"
    folder.mkdir()
    names = slow.make_files(folder, 50 if quick else 100, 500_000)
    slow.make_files(folder, 1, 1_000_000, "hot")
    rows = []
    for files, engine in COMBINATIONS:
        for disk_ms in (0, 20):
            slow.drop_from_page_cache(folder)
            disk = slow.SlowDisk(folder, work / "slow", disk_ms) if disk_ms else None
            server = serve(disk.mountpoint if disk else folder, files, engine)
            slow.block_latencies(server.address(), "hot0")
            running = slow.begin_load(server, names, folder, "-c", len(names), "-n", len(names),
                                      "-b", 1428)
            during = slow.block_latencies(server.address(), "hot0")
            result = slow.end_load(running)
            got = slow.numbers(server)
            server.stop()
            if disk:
                disk.close()
            rows.append({**combination(files, engine), "disk_ms": disk_ms,
                         "complete": result["succeeded"], "turns": got["loop_turns"],
                         "turn_us_p99": got["turn_us_p99"], "turn_us_max": got["turn_us_max"],
                         "read_us_max": max(got["read_threads_us_max"],
                                            got["read_io_uring_us_max"]),
                         "other_block_us_p50": slow.quantile(during, 0.5) * 1e6,
                         "other_block_us_p99": slow.quantile(during, 0.99) * 1e6})
    return rows


def hang(work, quick):
    """Other clients' blocks before and while reads hang."""
    del quick
    folder = work / "hang"
    folder.mkdir()
    count = 8
    slow.make_files(folder, count, 200_000, "hang")
    slow.make_files(folder, 1, 2_000_000, "hot")
    cold = slow.make_files(folder, 20, 200_000, "cold")
    rows = []
    for files, engine in COMBINATIONS:
        disk = slow.SlowDisk(folder, work / "hung", 0)
        server = serve(disk.mountpoint, files, engine)
        slow.block_latencies(server.address(), "hot0")
        before = slow.block_latencies(server.address(), "hot0")
        peers = [tftp.Peer(server.address()) for _ in range(count)]
        for n, peer in enumerate(peers):
            peer.send(tftp.rrq(f"hang{n}"))
        during = slow.block_latencies(server.address(), "hot0")
        result = slow.load(server, cold, folder, "-c", 20, "-n", 20, "-b", 1428)
        for peer in peers:
            peer.socket.close()
        server.stop()
        disk.close()
        rows.append({**combination(files, engine), "hanging": count,
                     "block_us_p99_before": slow.quantile(before, 0.99) * 1e6,
                     "block_us_p99_during": slow.quantile(during, 0.99) * 1e6,
                     "cold_complete": result["succeeded"],
                     "cold_s_max": result["transfer_s"]["max"]})
    return rows


def cold(work, quick):
    """Distinct files that are not in the page cache, in blocks of usual and of largest size:
    throughput, and what a read takes."""
    folder = work / "cold"
    folder.mkdir()
    count, size = (50, 1 << 20) if quick else (200, 4 << 20)
    names = slow.make_files(folder, count, size)
    runs = {}
    for _ in range(1 if quick else 3):
        for (files, engine), blksize in itertools.product(COMBINATIONS, (8192, 65464)):
            slow.drop_from_page_cache(folder)
            server = serve(folder, files, engine)
            result = slow.load(server, names, folder, "-c", count, "-n", count, "-b", blksize,
                               "--no-verify", "--in-turn", "--server-pid", server.process.pid)
            got = slow.numbers(server)
            server.stop()
            runs.setdefault((files, engine, blksize), []).append(
                {"mb_per_s": result["bytes_per_s"] / 1e6,
                 "cpu_s_per_gb": result["server"]["cpu_s"] / (result["payload_bytes"] / 1e9),
                 **{f"read_us_{q}": got[f"read_{files}_us_{q}"]
                    for q in ("p50", "p99", "p999")}})
    return [{**combination(*key[:2]), "blksize": key[2], "transfers": count,
             **{name: statistics.median(run[name] for run in own) for name in own[0]}}
            for key, own in runs.items()]


CASES = {"one-file": one_file, "memory": memory, "stalls": stalls, "hang": hang, "cold": cold}


def table(rows):
    def cell(value):
        return f"{value:,.2f}" if isinstance(value, float) and value < 100 else \
            f"{value:,.0f}" if isinstance(value, (int, float)) and not isinstance(value, bool) \
            else str(value)

    names = list(rows[0])
    print("| " + " | ".join(name.replace("_", " ") for name in names) + " |")
    print("| " + " | ".join("---" for _ in names) + " |")
    for row in rows:
        print("| " + " | ".join(cell(row[name]) for name in names) + " |")
    print(flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--build", default=str(TOP / "build"))
    parser.add_argument("--json")
    parser.add_argument("--work", help="folder on the disk to be measured")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("cases", nargs="*", choices=[*CASES, []])
    arguments = parser.parse_args()
    os.environ["RINGTFTP_BUILD"] = str(pathlib.Path(arguments.build).resolve())
    sys.path.insert(0, str(TOP / "tests/e2e"))
    global conftest, slow, tftp
    import conftest  # they look at RINGTFTP_BUILD
    import slow
    import tftp
    found = {"machine": machine.facts(TOP)}
    with tempfile.TemporaryDirectory(dir=arguments.work) as folder:
        work = pathlib.Path(folder)
        work.chmod(0o755)
        for name in arguments.cases or CASES:
            print(f"{name}: {CASES[name].__doc__}\n", flush=True)
            found[name] = CASES[name](work, arguments.quick)
            table(found[name])
    if arguments.json:
        pathlib.Path(arguments.json).write_text(json.dumps(found, indent=1) + "\n",
                                                encoding="utf-8")


if __name__ == "__main__":
    main()
