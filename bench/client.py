#!/usr/bin/python3
"""ringtftp beside other people's clients: the same server, the same options, by turns.

    bench/client.py [--build DIR] [--rounds N] [--json FILE]

Each line is a job; each client does it once a round, in turn, so that what else happens on the
machine meets all of them. The figure is the median of the wall times, and its ratio to ringtftp's
(above 1: ringtftp is faster). Contents are compared after every run. Files go to /dev/shm, so that
no disk is measured.
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


def make_files(root):
    (root / "5m").write_bytes(os.urandom(5 << 20))
    (root / "100m").write_bytes(os.urandom(100 << 20))
    (root / "small").mkdir()
    for n in range(1, SMALL + 1):
        (root / "small" / f"f{n}").write_bytes(os.urandom(1000))
    for path in root.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)


def one_file(name, blksize, window, port, program):
    """{client: (command, None)} for a single download to `out`."""
    at = f"127.0.0.1:{port}:{name}"
    jobs = {"ringtftp": [program, "get", "-b", blksize, "-w", window, at, "-o", "out"]}
    if window == 1:
        jobs["curl"] = ["curl", "-sf", "--tftp-blksize", blksize, f"tftp://127.0.0.1:{port}/{name}",
                        "-o", "out"]
    if window == 1 and blksize == 512:
        jobs["tftp-hpa"] = ["tftp", "-m", "binary", "127.0.0.1", port, "-c", "get", name, "out"]
    jobs["atftp"] = ["atftp", "--option", f"blksize {blksize}",
                     *(["--option", f"windowsize {window}"] if window > 1 else []),
                     "-g", "-r", name, "-l", "out", "127.0.0.1", port]
    return {client: [str(word) for word in command] for client, command in jobs.items()}


def many_files(port, program):
    url = f"tftp://127.0.0.1:{port}/small/f"
    each = "i=1; while [ $i -le {n} ]; do {command}; i=$((i+1)); done"
    return {
        "ringtftp": [program, "get", "-l", "../names", f"127.0.0.1:{port}:small/"],
        "curl": ["curl", "-sf", f"{url}[1-{SMALL}]", "-o", "f#1"],
        "tftp-hpa": ["sh", "-c", each.format(n=SMALL, command=f"tftp -m binary 127.0.0.1 {port} "
                                             "-c get small/f$i f$i")],
        "atftp": ["sh", "-c", each.format(n=SMALL, command="atftp -g -r small/f$i -l f$i "
                                          f"127.0.0.1 {port}")],
    }


def check(root, folder, wanted):
    if wanted:
        assert filecmp.cmp(folder / "out", root / wanted, shallow=False), wanted
        return
    for n in range(1, SMALL + 1):
        assert filecmp.cmp(folder / f"f{n}", root / "small" / f"f{n}", shallow=False), n


def run(command, folder):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    begun = time.perf_counter()
    subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL, check=True)
    return time.perf_counter() - begun


def measure(title, clients, wanted, root, folder, rounds):
    times = {client: [] for client in clients}
    for _ in range(rounds):
        for client, command in clients.items():
            times[client].append(run(command, folder))
            check(root, folder, wanted)
    medians = {client: statistics.median(t) for client, t in times.items()}
    own = medians["ringtftp"]
    print(f"{title:34}" + "  ".join(f"{client} {m:.3f} s ({m / own:.2f})"
                                    for client, m in medians.items()), flush=True)
    return {"job": title, "seconds": times, "ratio": {c: m / own for c, m in medians.items()}}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=pathlib.Path, default=servers.TOP / "build")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()
    program = str(options.build.resolve() / "src/cli/ringtftp")
    have = {"ringtftp": True, "curl": shutil.which("curl"), "atftp": shutil.which("atftp"),
            "tftp-hpa": shutil.which("tftp")}
    for client, path in have.items():
        if not path:
            print(f"{client} is not installed and is left out", file=sys.stderr)
    with tempfile.TemporaryDirectory(dir="/dev/shm") as temporary:
        top = pathlib.Path(temporary)
        root, folder = top / "root", top / "out"
        root.mkdir()
        root.chmod(0o755)
        top.chmod(0o755)
        make_files(root)
        (top / "names").write_text("".join(f"f{n}\n" for n in range(1, SMALL + 1)))
        port = servers.free_port()
        server = subprocess.Popen([str(options.build.resolve() / "src/cli/ringtftpd"), "--root",
                                   str(root), "--listen", f"127.0.0.1:{port}", "-o",
                                   "log.level=error"])
        try:
            subprocess.run([program, "probe", "-q", f"127.0.0.1:{port}:5m"], check=False,
                           capture_output=True)
            jobs = [(f"5 MiB, blksize {b}, lock-step", one_file("5m", b, 1, port, program), "5m")
                    for b in (512, 1428)]
            jobs += [(f"100 MiB, blksize 1428, window {w}",
                      one_file("100m", 1428, w, port, program), "100m") for w in (16, 64)]
            jobs.append((f"{SMALL} files of 1000 bytes", many_files(port, program), None))
            results = [measure(title, {c: x for c, x in clients.items() if have[c]}, wanted, root,
                               folder, options.rounds) for title, clients, wanted in jobs]
        finally:
            server.terminate()
            server.wait()
    if options.json:
        options.json.write_text(json.dumps({"processors": os.cpu_count(),
                                            "machine": os.uname().machine, "jobs": results},
                                           indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
