"""Many clients, each with a file of its own: the files, their disks, and the thread pool and
io_uring side by side on them."""

import os
import shutil
import signal
import subprocess
import threading
import time

import measure

READ_DELAYS_MS = (20, 2)  # of the slow disks
# Files and their size.
SETS = ((200, 4 << 20), (1000, 1 << 20), (5000, 256 << 10), (10000, 128 << 10))
SLOW_SETS = ((200, 1 << 20), (1000, 256 << 10))
QUICK_SETS = ((200, 1 << 20),)


class OwnFiles:
    """A folder of files of one size and content, each of its own: what is read from disk is
    distinct, what it is compared with is one copy that stays in memory."""

    def __init__(self, bench, count, size):
        self.folder = bench.work / f"own-{count}-{size}"
        self.folder.mkdir()
        self.names = [f"o{n:05}" for n in range(count)]
        self.copy = bench.work / f"copy-{count}-{size}"
        self.size = size
        measure.write_file(self.copy, size)
        for name in self.names:
            shutil.copyfile(self.copy, self.folder / name)
        self.list = bench.work / f"list-{count}-{size}"
        self.list.write_text("".join(f"{name} local={self.copy}\n" for name in self.names))
        os.sync()

    def paths(self):
        return [self.folder / name for name in self.names]

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


def run(bench, name, files, root=None, cell=None, options=None):
    """Every file once, each by a client of its own, all at the same time."""
    count = len(files.names)
    return bench.try_measure(name, ["-c", count, "-n", count, "--in-turn", "-b", 65464, "--list",
                                    files.list, "--source", measure.RANGE, "--no-gro"],
                             root=root or files.folder, cell=cell, options=options)


class SlowDisk:
    """Shows a folder with each read some time later; None in place of it when that cannot be."""

    def __init__(self, bench, folder, delay_ms):
        helper = bench.build / "tests/helpers/slow-fs"
        self.mount = bench.work / "slow"
        self.mount.mkdir(exist_ok=True)
        self.process = None
        if not helper.exists() or not os.access("/dev/fuse", os.W_OK):
            raise OSError("no FUSE here, or the helper is not built")
        self.process = subprocess.Popen([str(helper), str(folder), str(self.mount), str(delay_ms)],
                                        stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + 10
        while not os.path.ismount(self.mount):
            if time.monotonic() > end or self.process.poll() is not None:
                self.close()
                raise OSError("the slow file system cannot be mounted")
            time.sleep(0.01)

    def close(self):
        self.process.send_signal(signal.SIGUSR1)
        subprocess.run(["umount", "--lazy", str(self.mount)], check=False,
                       stderr=subprocess.DEVNULL)
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def by_disk(bench, names, sets, turn, note):
    """Cold and warm, on the disk that is here."""
    for files in sets:
        count = len(files.names)
        note.disk(count, disk_alone(files))
        for kind in ("cold", "warm"):
            for name in names:
                if bench.left_out(name, (kind, count)):
                    continue
                files.forget() if kind == "cold" else files.remember()
                note.run(kind, count, turn, name, run(bench, name, files, cell=(kind, count)))


def by_slow_disk(bench, names, sets, turn, note):
    for delay in READ_DELAYS_MS:
        for files in sets:
            count = len(files.names)
            kind = f"slow {delay} ms"
            if not all(bench.left_out(name, (kind, count)) for name in names):
                with SlowDisk(bench, files.folder, delay) as disk:
                    for name in names:
                        note.run(kind, count, turn, name,
                                 run(bench, name, files, disk.mount, (kind, count)))


class Note:
    """The record of the section: {"runs": {kind: {count: {server: [result]}}}, "disk_mb_per_s":
    {count: [MB/s]}, "size": {count: bytes}}."""

    def __init__(self, say, describe):
        self.record = {"runs": {}, "disk_mb_per_s": {}, "delays_ms": READ_DELAYS_MS}
        self.say, self.describe = say, describe

    def disk(self, count, mb_per_s):
        self.record["disk_mb_per_s"].setdefault(str(count), []).append(mb_per_s)

    def run(self, kind, count, turn, name, result):
        if not result:
            return
        result["files"], result["server"]["clients"] = count, count
        by_count = self.record["runs"].setdefault(kind, {}).setdefault(str(count), {})
        by_count.setdefault(name, []).append(result)
        self.say(f"{kind}, {count} files, round {turn + 1} {name}: {self.describe(result)}")


def io_uring(bench, names, rounds, say, describe):
    note = Note(say, describe)
    sets = [OwnFiles(bench, *s) for s in (QUICK_SETS if bench.quick else SETS)]
    slow = sets if bench.quick else [OwnFiles(bench, *s) for s in SLOW_SETS]
    for turn in range(rounds):
        if bench.out_of_time():
            break
        by_disk(bench, names, sets, turn, note)
        try:
            by_slow_disk(bench, names, slow, turn, note)
        except OSError as error:
            bench.skip("the slow disks", error)
    for files in {id(f): f for f in (*sets, *slow)}.values():
        files.remove()
    return note.record
