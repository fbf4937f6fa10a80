"""What the io_uring back end promises when things go wrong: fallback, rollback, hanging and slow
disks, memory. The mixtures of engines are chosen here, so each test runs once."""

import contextlib
import ctypes
import errno
import os
import pathlib
import resource
import signal
import subprocess
import time

import pytest

import conftest
import slow
import tftp

HELPERS = conftest.BUILD / "tests" / "helpers"
URING = "performance.platform.io_uring"
FAULTY = (HELPERS / "ringtftpd-faulty",)
ONE_WORKER = "performance.workers=1"
# Only on one worker's ring are "exactly one line" and "exactly so many reads" exact.
BOTH = pytest.mark.parametrize("files", ("threads", "io_uring"))
ENGINES = pytest.mark.parametrize("engine", ("mmsg", "io_uring"))


def options(files="io_uring", engine="mmsg", *more):
    own = [ONE_WORKER, f"performance.platform.network.engine={engine}",
           f"{URING}.enabled={'true' if files == 'io_uring' else 'false'}", *more]
    if files == "io_uring" and not any("fallback_on_error" in option for option in more):
        own.append(f"{URING}.fallback_on_error=true")
    return own


def begin(start, root, files="io_uring", engine="mmsg", *more, **rest):
    """A server that must have its ring when one was asked for; else the test is skipped."""
    server = start(root, options=options(files, engine, *more), **rest)
    refused = slow.messages(server, "io_uring is refused")
    if refused:
        pytest.skip(refused[0])
    return server


def all_arrived(result, count):
    what = {key: result[key] for key in ("succeeded", "unfinished", "failures", "errors", "strays")}
    what["server"] = result.get("server_says", [])[:5]
    assert result["succeeded"] == count, str(what)
    assert result["failures"]["all"] == 0 and result["unfinished"] == 0, str(what)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """200 files of 150 KB: five chunks each."""
    root = tmp_path_factory.mktemp("small")
    return root, slow.make_files(root, 200, 150_001)


# ---- A ring that is refused ----

def deny(number):
    return (HELPERS / "deny-call", "io_uring_setup", str(number), conftest.PROGRAM)


@pytest.mark.plain
@pytest.mark.parametrize("name", ("EPERM", "ENOSYS"))
@ENGINES
def test_setup_denied(start, small, name, engine):
    root, names = small
    number = getattr(errno, name)
    server = start(root, options=options("io_uring", engine), program=deny(number))
    said = slow.messages(server, "the thread pool takes over")
    assert len(said) == 1, said
    if "built without io_uring" not in said[0]:
        assert f"io_uring is refused ({name}: {os.strerror(number)})" in said[0]
    assert slow.messages(server, "packets by mmsg, files by threads")
    all_arrived(slow.load(server, names, root, "-c", 100, "-n", 200, "-b", 1428), 200)
    assert slow.numbers(server)["reads_io_uring"] == 0


@pytest.mark.plain
@pytest.mark.parametrize("name", ("EPERM", "ENOSYS"))
def test_setup_denied_and_no_fallback(tmp_path, name):
    if os.geteuid() == 0:
        conftest.hand_over(tmp_path)
    command = [str(word) for word in deny(getattr(errno, name))]
    for option in options("io_uring", "mmsg", f"{URING}.fallback_on_error=false"):
        command += ["-o", option]
    got = subprocess.run([*command, "--root", str(tmp_path), "--listen", "127.0.0.1:0"],
                         stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30,
                         check=False)
    assert got.returncode == os.EX_OSERR, got
    said = [line for line in got.stderr.splitlines() if "io_uring" in line]
    assert len(said) == 1 and "fallback_on_error is false" in said[0], got.stderr
    if "built without io_uring" not in said[0]:
        assert os.strerror(getattr(errno, name)) in said[0], got.stderr


def no_locked_memory():
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0))
    # PR_CAPBSET_DROP of CAP_IPC_LOCK and CAP_SYS_RESOURCE: root has no limit, or lifts it.
    for capability in (14, 24):
        ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)


def test_no_locked_memory(start, small):
    root, names = small
    server = start(root, options=options("io_uring", "mmsg", f"{URING}.use_registered_buffers=true"),
                   prepare=no_locked_memory)
    # Kernels before 5.12 count the ring itself, later ones only the buffers.
    said = slow.messages(server, "cannot be registered") + slow.messages(server, "is refused")
    assert len(said) == 1 and "ENOMEM" in said[0], server.lines
    all_arrived(slow.load(server, names, root, "-c", 100, "-n", 200, "-b", 1428), 200)


# ---- A ring that fails while it runs ----

@pytest.mark.parametrize("name", ("EOPNOTSUPP", "EINVAL", "EIO", "ENOMEM"))
@pytest.mark.parametrize("at", ("submit", "complete"))
@ENGINES
def test_fails_in_the_middle(start, small, name, at, engine):
    """The 300th read of 100 transfers of five chunks each."""
    root, names = small
    server = begin(start, root, "io_uring", engine, "performance.cache_size=1048576",
                   program=FAULTY,
                   environment={"RINGTFTPD_FAULT": f"read,{at},{getattr(errno, name)},300,1"})
    all_arrived(slow.load(server, names[:100], root, "-c", 100, "-n", 100, "-b", 1428), 100)
    got = slow.numbers(server)
    assert got["op_fallbacks"] + got["ring_failures"] >= 1, got
    assert got["reads_threads"] >= 1, got
    said = slow.messages(server, "threads")
    said = [text for text in said if os.strerror(getattr(errno, name)) in text]
    assert len(said) == 1, server.lines[-20:]


@ENGINES
def test_failing_for_good(start, small, engine):
    """From the 300th read on none succeeds: the ring is given up once, and nobody notices."""
    root, names = small
    server = begin(start, root, "io_uring", engine, "performance.cache_size=1048576",
                   program=FAULTY,
                   environment={"RINGTFTPD_FAULT": f"read,submit,{errno.EIO},300,1000000"})
    all_arrived(slow.load(server, names[:100], root, "-c", 100, "-n", 100, "-b", 1428), 100)
    got = slow.numbers(server)
    assert got["ring_failures"] == 1 and got["files"] == "threads", got
    assert len(slow.messages(server, "io_uring failed")) == 1


def test_error_without_fallback(start, small):
    """From the 100th on all reads fail: the transfers that wait for them end with an ERROR, the
    others are whole. (Of a few failing reads all may be such as were read ahead for nobody.)"""
    root, names = small
    server = begin(start, root, "io_uring", "mmsg", f"{URING}.fallback_on_error=false",
                   program=FAULTY,
                   environment={"RINGTFTPD_FAULT": f"read,complete,{errno.EOPNOTSUPP},100,1000000"})
    result = slow.load(server, names[:100], root, "-c", 100, "-n", 100, "-b", 1428)
    failed = result["failures"]
    assert failed["refused"] >= 1, str(failed)
    assert result["succeeded"] + failed["refused"] == 100, str(failed)
    assert slow.numbers(server)["reads_threads"] == 0


@pytest.mark.parametrize("depth", (1, 2, 4))
@ENGINES
def test_full_queues(start, small, depth, engine):
    """Far more reads wanted than the ring takes at once."""
    root, names = small
    server = begin(start, root, "io_uring", engine, f"{URING}.queue_depth={depth}",
                   "performance.cache_size=16777216", "performance.thread_queue=16")
    slow.drop_from_page_cache(root)
    all_arrived(slow.load(server, names, root, "-c", 200, "-n", 200, "-b", 1428), 200)
    got = slow.numbers(server)
    assert got["ring_failures"] == 0 and got["op_fallbacks"] == 0, got
    # The generator draws among the files: some twice, but never fewer than this.
    assert got["reads_io_uring"] >= 100 * 5 and got["reads_threads"] == 0, got


# ---- Options ----

def threads_of(server, start):
    """Threads whose name begins so."""
    found = []
    for task in os.listdir(f"/proc/{server.process.pid}/task"):
        with open(f"/proc/{server.process.pid}/task/{task}/comm", encoding="ascii") as comm:
            if comm.read().startswith(start):
                found.append(int(task))
    return found


@pytest.mark.parametrize("option", ("use_sqpoll", "use_registered_buffers"))
@ENGINES
def test_options(start, small, option, engine):
    root, names = small
    cpu = max(os.sched_getaffinity(0))
    server = begin(start, root, "io_uring", engine, "performance.cache_size=1048576",
                   f"{URING}.{option}=true", f"{URING}.sq_thread_cpu={cpu}")
    slow.drop_from_page_cache(root)
    all_arrived(slow.load(server, names, root, "-c", 100, "-n", 200, "-b", 1428), 200)
    got = slow.numbers(server)
    assert got["ring_failures"] == 0 and got["op_fallbacks"] == 0, got
    assert got["reads_io_uring"] >= 100 * 5 and got["reads_threads"] == 0, got
    assert slow.messages(server, "cannot be registered") == []
    pollers = threads_of(server, "iou-sqp")
    assert [os.sched_getaffinity(task) for task in pollers] == [{cpu}] * (option == "use_sqpoll")


# ---- Rollback ----

@ENGINES
def test_rollback_and_back(start, small, tmp_path, engine):
    """200 transfers run while io_uring is turned off and on again."""
    root, names = small
    conf = tmp_path / "ringtftpd.toml"
    tmp_path.chmod(0o755)  # it is read again by the user who serves

    def write(enabled):
        conf.write_text(f"[performance.platform.io_uring]\nenabled = {enabled}\n")

    write("true")
    server = start(root, options=(ONE_WORKER, f"performance.platform.network.engine={engine}",
                                  "performance.cache_size=1048576"),
                   arguments=("-c", str(conf)))
    if slow.messages(server, "io_uring is refused"):
        pytest.skip("no io_uring here")
    running = slow.begin_load(server, names, root, "-c", 200, "-n", 600, "-b", 1428, "--delay", 4,
                              "--patience", 20)
    for turn, enabled in enumerate(("false", "true") * 2):
        server.wait_event("transfer", lambda _: len(server.events("transfer")) > 100 * turn, 60)
        write(enabled)
        server.process.send_signal(signal.SIGHUP)
        server.wait_event("message", lambda event: sum(
            "configuration reloaded" in text for text in slow.messages(server, "reloaded"))
            > turn and "reloaded" in event["msg"])
    all_arrived(slow.end_load(running), 600)
    words = [text.rpartition(" ")[2] for text in slow.messages(server, "configuration reloaded")]
    assert words == ["threads", "io_uring", "threads", "io_uring"], words
    got = slow.numbers(server)
    assert got["reads_threads"] > 0 and got["reads_io_uring"] > 0, got
    assert got["ring_failures"] == 0, got


# ---- Slow and hanging disks ----

@pytest.fixture
def slow_disk(tmp_path):
    """make(folder, delay_ms): the same folder, slowly."""
    disks = []

    def make(folder, delay_ms):
        reason = slow.SlowDisk.unavailable()
        if reason:
            pytest.skip(reason)
        try:
            disks.append(slow.SlowDisk(folder, tmp_path / f"slow{len(disks)}", delay_ms))
        except OSError as error:
            pytest.skip(f"cannot mount: {error}")
        return disks[-1]

    yield make
    for disk in disks:
        disk.close()


HANGING = 8


@BOTH
@ENGINES
def test_hanging_reads(start, tmp_path, slow_disk, files, engine):
    """Eight reads that never come back: other clients' blocks come as before, cold files too, and
    the server can be stopped."""
    folder = tmp_path / "files"
    folder.mkdir()
    slow.make_files(folder, HANGING, 200_000, "hang")
    slow.make_files(folder, 2, 1_000_000, "hot")
    cold = slow.make_files(folder, 20, 200_000, "cold")
    disk = slow_disk(folder, 0)
    server = begin(start, disk.mountpoint, files, engine)
    slow.block_latencies(server.address(), "hot0")
    before = slow.block_latencies(server.address(), "hot0")
    peers = []
    for n in range(HANGING):
        peers.append(tftp.Peer(server.address()))
        peers[-1].send(tftp.rrq(f"hang{n}"))
    try:
        during = slow.block_latencies(server.address(), "hot0")
        result = slow.load(server, cold, folder, "-c", 20, "-n", 20, "-b", 1428, timeout=60)
        all_arrived(result, 20)
        assert all(peer.receive(0) is None for peer in peers)
    finally:
        for peer in peers:
            peer.socket.close()
    limit = 2 * slow.quantile(before, 0.99) + 0.005
    assert slow.quantile(during, 0.99) <= limit, (slow.quantile(before, 0.99),
                                                  slow.quantile(during, 0.99))
    server.stop()


# As many hang at least, and as many there are at most: a ring has 32 workers for reads and writes
# and 32 for everything else; a pool has four threads and 32 that stand in for those that hang.
WORKERS = {"io_uring": (32, 64), "threads": (36, 36)}


def reading_threads(pid, files):
    """The kernel workers of a process's ring, or what it has beside main and its one worker."""
    names = []
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        try:
            names.append((task / "comm").read_text(encoding="ascii"))
        except OSError:
            pass  # it has ended meanwhile
    of_ring = sum(name.startswith("iou-") for name in names)
    return of_ring if files == "io_uring" else len(names) - of_ring - 2


@BOTH
def test_more_hanging_reads_than_workers(start, tmp_path, slow_disk, files):
    """A hundred files that hang take the threads that are meant for that, and no more; a transfer of
    what is in memory goes on all the same."""
    folder = tmp_path / "files"
    folder.mkdir()
    hanging = slow.make_files(folder, 100, 200_000, "hang")
    slow.make_files(folder, 1, 1_000_000, "hot")
    disk = slow_disk(folder, 0)
    server = begin(start, disk.mountpoint, files)
    for _ in range(2):  # what is read twice is kept
        slow.block_latencies(server.address(), "hot0")
    with tftp.Peer(server.address()) as hot, contextlib.ExitStack() as stack:
        packet = hot.ask(tftp.rrq("hot0"))
        for name in hanging:
            stack.enter_context(tftp.Peer(server.address())).send(tftp.rrq(name))
        end = time.monotonic() + 30
        while reading_threads(server.process.pid, files) < WORKERS[files][0]:
            assert time.monotonic() < end
            time.sleep(0.02)
        while len(packet.payload) == 512:
            hot.reply(tftp.ack(packet.block))
            packet = hot.receive()
            assert packet is not None and packet.opcode == tftp.DATA, packet
        assert reading_threads(server.process.pid, files) <= WORKERS[files][1]
    server.stop()


DISK_MS = 20


def undisturbed():
    """Other programs on the machine are not what is measured."""
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    except PermissionError:
        pass


@BOTH
@ENGINES
def test_slow_disk_never_stalls_the_loop(start, tmp_path, slow_disk, files, engine):
    """50 transfers from a disk that takes 20 ms for each read, beside one from memory."""
    folder = tmp_path / "files"
    folder.mkdir()
    names = slow.make_files(folder, 50, 500_000)
    slow.make_files(folder, 1, 1_000_000, "hot")
    disk = slow_disk(folder, DISK_MS)
    server = begin(start, disk.mountpoint, files, engine, prepare=undisturbed)
    slow.block_latencies(server.address(), "hot0")
    running = slow.begin_load(server, names, folder, "-c", 50, "-n", 50, "-b", 1428)
    during = slow.block_latencies(server.address(), "hot0")
    all_arrived(slow.end_load(running), 50)
    got = slow.numbers(server)
    read_us = max(got["read_threads_us_max"], got["read_io_uring_us_max"])
    assert read_us >= DISK_MS * 1000, got
    assert got["turn_us_p99"] <= 2000 and got["turn_us_max"] < DISK_MS * 1000, got
    # What the loop spends inside a system call is seen from outside.
    assert slow.quantile(during, 0.99) < DISK_MS / 1000, slow.quantile(during, 0.99)


# ---- One read for all, and memory ----

@pytest.mark.parametrize("files", (pytest.param("threads", marks=pytest.mark.plain), "io_uring"))
def test_one_file_is_read_once(start, tmp_path, files):
    size = 20 << 20
    (name,) = slow.make_files(tmp_path, 1, size)
    server = begin(start, tmp_path, files, "mmsg")
    if not slow.drop_from_page_cache(tmp_path):
        pytest.skip("this file system keeps its files in the page cache")
    before = slow.bytes_from_disk(server)
    all_arrived(slow.load(server, [name], tmp_path, "-c", 200, "-n", 200, "-b", 32768), 200)
    assert slow.numbers(server)["bytes_read"] <= 1.1 * size
    assert size / 2 <= slow.bytes_from_disk(server) - before <= 1.1 * size


def hold(server, names, blksize=1428, blocks=3):
    """Opens a transfer for each name and leaves it there after some blocks."""
    peers = []
    for name in names:
        peer = tftp.Peer(server.address())
        peers.append(peer)
        packet = peer.ask(tftp.rrq(name, options=(("blksize", blksize),)))
        for n in range(blocks):
            assert packet is not None and packet.opcode != tftp.ERROR, packet
            peer.reply(tftp.ack(n))
            packet = peer.receive()
    return peers


@pytest.mark.skipif(conftest.SANITIZED, reason="the checks need memory of their own")
@pytest.mark.parametrize("files,engine", (("threads", "mmsg"), ("io_uring", "io_uring")))
@pytest.mark.parametrize("distinct", (True, False), ids=("distinct", "one"))
def test_memory_of_transfers(start, tmp_path, files, engine, distinct):
    count = 1000  # up to 512 files each reader also holds a chunk read ahead
    slow.make_files(tmp_path, 1, 600_000, "warm")
    names = slow.make_files(tmp_path, count if distinct else 1, 100_000)
    if not distinct:
        names *= count
    server = begin(start, tmp_path, files, engine)
    # What comes into being once: the ring's 1,024 receive buffers as datagrams fill them one after
    # the other, the first pages of every pool, and what the cache holds for all.
    slow.block_latencies(server.address(), "warm0")
    if not distinct:
        slow.block_latencies(server.address(), names[0])
    peers = hold(server, ["warm0"] * 200)
    before = server.rss_kib()
    peers += hold(server, names)
    each = (server.rss_kib() - before) * 1024 / count
    for peer in peers:
        peer.socket.close()
    assert each <= (64_000 if distinct else 2_048), each


# ---- Everything at once ----

@pytest.mark.sanitize
@BOTH
@ENGINES
def test_soak(start, small, files, engine):
    """500 transfers, some of them by clients that vanish, stay silent or ask again."""
    root, names = small
    server = begin(start, root, files, engine, "performance.cache_size=4194304")
    for misbehaviour in ("vanish:30", "repeat-request:30", "late-ack:20"):
        result = slow.load(server, names, root, "-c", 50, "-n", 170, "-b", 1428, "--misbehave",
                           misbehaviour, "--hold", 0.05)
        failed = result["failures"]
        assert failed["content"] == failed["protocol"] == failed["refused"] == 0, str(failed)
    assert server.process.poll() is None
    server.works()
