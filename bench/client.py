#!/usr/bin/python3
"""ringtftp beside other people's clients: the same servers, the same options, by turns.

    bench/client.py [--build DIR] [--rounds N] [--server NAME]... [--jobs TEXT] [--json FILE]
                    [--markdown]

Each line is a job; each client does it once a round, in turn, so that what else happens on the
machine meets all of them. The figure is the median of the wall times, and its ratio to ringtftp's
(above 1: ringtftp is faster). Contents are compared after every run. Files go to /dev/shm, so that
no disk is measured. A client that cannot do a job (no such option) is left out of it.
"""

import argparse
import filecmp
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import servers  # noqa: E402

SMALL = 1000
LARGE = 100 << 20
SERVERS = {"ringtftpd": "ringtftpd mmsg+threads", "in.tftpd": "in.tftpd"}
CLIENTS = {"ringtftp": None, "curl": "curl", "curl -Z": "curl", "tftp-hpa": "tftp", "atftp": "atftp"}


def make_files(root):
    (root / "large").write_bytes(os.urandom(LARGE))
    (root / "small").mkdir()
    for n in range(1, SMALL + 1):
        (root / "small" / f"f{n}").write_bytes(os.urandom(1000))
    for path in root.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)


def one_file(blksize, window, server, program):
    """{client: (command, standard input)} for a single download to `out`."""
    url = f"tftp://{server.address}/large"
    jobs = {"ringtftp": [program, "get", "-b", blksize, "-w", window, f"{server.address}:large",
                         "-o", "out"]}
    if window == 1:
        jobs["curl"] = ["curl", "-sf", "--tftp-blksize", blksize, url, "-o", "out"]
    if window == 1 and blksize == 512:
        jobs["tftp-hpa"] = ["tftp", "-m", "binary", server.host, server.port, "-c", "get", "large",
                            "out"]
    jobs["atftp"] = ["atftp", "--option", f"blksize {blksize}",
                     *(["--option", f"windowsize {window}"] if window > 1 else []),
                     "-g", "-r", "large", "-l", "out", server.host, server.port]
    return {client: ([str(word) for word in command], "") for client, command in jobs.items()}


# Of many small files: what is asked for, and the words for it. tftp-hpa has none.
ASKED = {
    "no options": {"ringtftp": ["--no-options"], "curl": ["--tftp-no-options"], "atftp": [],
                   "tftp-hpa": []},
    "blksize 1428": {"ringtftp": ["-b", "1428", "-w", "1"], "curl": ["--tftp-blksize", "1428"],
                     "atftp": ["--option", "blksize 1428"]},
    "their defaults": {"ringtftp": [], "curl": [], "atftp": [], "tftp-hpa": []},
}


def many_files(asked, server, program):
    """Each client in one process, in the way that is fastest for it."""
    words = ASKED[asked]
    url = f"tftp://{server.address}/small/f[1-{SMALL}]"
    names = range(1, SMALL + 1)
    gets = "".join(f"get small/f{n} f{n}\n" for n in names) + "quit\n"
    listed = "".join(f"f{n}\n" for n in names)
    place = [server.host, str(server.port)]
    jobs = {
        "ringtftp": (["get", *words["ringtftp"], "-l", "-", f"{server.address}:small/"], listed),
        "curl": (["-sf", *words["curl"], url, "-o", "f#1"], ""),
        "curl -Z": (["-sfZ", "--parallel-max", "8", *words["curl"], url, "-o", "f#1"], ""),
        "tftp-hpa": (["-m", "binary", *place], gets),
        "atftp": ([*words["atftp"], *place], gets),
    }
    if "tftp-hpa" not in words:
        del jobs["tftp-hpa"]
    return {client: ([CLIENTS[client] or program, *arguments], text)
            for client, (arguments, text) in jobs.items()}


def check(root, folder, many):
    if not many:
        assert filecmp.cmp(folder / "out", root / "large", shallow=False)
        return
    for n in range(1, SMALL + 1):
        assert filecmp.cmp(folder / f"f{n}", root / "small" / f"f{n}", shallow=False), n


def run(command, text, folder):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    begun = time.perf_counter()
    subprocess.run(command, cwd=folder, input=text, text=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL, check=True)
    return time.perf_counter() - begun


def measure(title, clients, many, root, folder, rounds):
    times = {client: [] for client in clients}
    for _ in range(rounds):
        for client, (command, text) in clients.items():
            times[client].append(run(command, text, folder))
            check(root, folder, many)
    medians = {client: statistics.median(t) for client, t in times.items()}
    own = medians["ringtftp"]
    print(f"{title:54}" + "  ".join(f"{client} {m:.3f} s ({m / own:.2f})"
                                    for client, m in medians.items()), flush=True)
    return {"job": title, "seconds": times, "ratio": {c: m / own for c, m in medians.items()}}


def jobs_of(name, server, program):
    """[(title, {client: ...}, many files?)]"""
    shapes = [(512, 1), (1428, 1)]
    if name == "ringtftpd":  # the other one knows no windows
        shapes += [(1428, 16), (1428, 64)]
    jobs = [(f"{name}, 100 MiB, blksize {b}, windowsize {w}", one_file(b, w, server, program), False)
            for b, w in shapes]
    return [*jobs, *((f"{name}, {SMALL} files of 1000 bytes, {asked}",
                      many_files(asked, server, program), True) for asked in ASKED)]


def markdown(results, clients):
    print("\n| Work | " + " | ".join(clients) + " |")
    print("| --- |" + " ---: |" * len(clients))
    for result in results:
        cells = [f"{result['ratio'][c]:.2f}" if c in result["ratio"] else "-" for c in clients]
        print(f"| {result['job']} | " + " | ".join(cells) + " |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=pathlib.Path, default=servers.TOP / "build")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--server", action="append", choices=SERVERS, help="default: each")
    parser.add_argument("--jobs", default="", help="only those whose title has this in it")
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--markdown", action="store_true")
    options = parser.parse_args()
    build = options.build.resolve()
    program = str(build / "src/cli/ringtftp")
    have = [c for c, needs in CLIENTS.items() if not needs or shutil.which(needs)]
    for client in CLIENTS.keys() - set(have):
        print(f"{client} is not installed and is left out", file=sys.stderr)
    results = []
    with tempfile.TemporaryDirectory(dir="/dev/shm") as temporary:
        top = pathlib.Path(temporary)
        root, folder = top / "root", top / "out"
        root.mkdir()
        root.chmod(0o755)
        top.chmod(0o755)
        make_files(root)
        for name in options.server or SERVERS:
            try:
                server = servers.Server(SERVERS[name], build, root)
            except servers.Unavailable as reason:
                print(f"{name} is left out: {reason}", file=sys.stderr)
                continue
            with server:
                results += [measure(title, {c: clients[c] for c in have if c in clients}, many,
                                    root, folder, options.rounds)
                            for title, clients, many in jobs_of(name, server, program)
                            if options.jobs in title]
    if options.markdown:
        markdown(results, have)
    if options.json:
        options.json.write_text(json.dumps({"processors": os.cpu_count(),
                                            "machine": os.uname().machine, "jobs": results},
                                           indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
