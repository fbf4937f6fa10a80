"""Floods of forged requests and of garbage: true clients are served meanwhile, and afterwards the
server is as large as before.

ENGINES: what carries the packets, "mmsg", "io_uring" or both; files are read by threads or by the
ring as well.
"""

import functools
import os
import pathlib
import re
import resource
import subprocess
import threading
import time

import pytest

import conftest
import reflect
import tftp
from test_amplification import lab  # noqa: F401  (a fixture)

CONTENT = conftest.pattern(40_000)
LONG = bool(os.environ.get("RINGTFTP_LONG"))  # `make floods`: more and longer, on a quiet machine
ENGINES = os.environ.get("ENGINES", "mmsg io_uring" if LONG else "mmsg").split()
BACKENDS = {"mmsg": "threads-mmsg", "io_uring": "uring-uring"}
SOURCES = 10_000
GROWTH_KIB = 4 << 10  # the tables of limits and of finished transfers, touched for the first time
LARGE_PAGES_KIB = 2048 * len(os.sched_getaffinity(0))  # one of each worker
GARBAGE_SECONDS = 10 if LONG else 1.5


@pytest.fixture(params=ENGINES)
def engine(request):
    return request.param


@pytest.fixture
def start(start, engine):  # pylint: disable=redefined-outer-name
    return functools.partial(start, backend=BACKENDS[engine])


@pytest.fixture
def root(tmp_path):
    for name in ("file", "other"):
        (tmp_path / name).write_bytes(CONTENT)
        (tmp_path / name).chmod(0o644)
    return tmp_path


def launch(start, lab, root, *options, **rest):  # noqa: F811
    return start(root, program=(*lab.server.prefix, conftest.PROGRAM), listen=("0.0.0.0:69",),
                 options=("log.level=notice", *options), **rest)


class Client(threading.Thread):
    """A true client that downloads again and again until it is told to stop."""

    def __init__(self, lab):  # noqa: F811
        super().__init__(daemon=True)
        self.lab = lab
        self.times = []
        self.problem = None
        self.ended = threading.Event()
        self.started = threading.Event()
        self.start()
        self.started.wait(20)

    def run(self):
        try:
            while not self.ended.is_set():
                begin = time.monotonic()
                done = subprocess.run(
                    [*self.lab.client.prefix, conftest.BUILD / "src" / "cli" / "ringtftp", "get",
                     "-q", f"{reflect.SERVER[4]}:file", "-o", "-"], stdin=subprocess.DEVNULL,
                    capture_output=True, check=False)
                assert done.stdout == CONTENT, done.stderr
                self.times.append(time.monotonic() - begin)
                self.started.set()
        except BaseException as error:  # pylint: disable=broad-except
            self.problem = error
            self.started.set()

    def stop(self):
        """The duration of each download."""
        self.ended.set()
        self.join(60)
        if self.problem:
            raise self.problem
        return self.times


def resident_kib(server):
    """Without the large pages that the pools of outgoing datagrams ask for: one lies within each
    pool or none, as addresses fall, and all of it is memory when its first byte is used."""
    text = pathlib.Path(f"/proc/{server.process.pid}/smaps_rollup").read_text(encoding="ascii")
    rss, large = (int(re.search(rf"^{name}:\s+(\d+)", text, re.MULTILINE).group(1))
                  for name in ("Rss", "AnonHugePages"))
    return rss - min(large, LARGE_PAGES_KIB)


def settle(server):
    """No transfer runs; what was used for them has been given back."""
    end = time.monotonic() + 40
    while time.monotonic() < end:
        if server.counters()["transfers_active"] == 0:
            return
        time.sleep(0.1)
    raise AssertionError("transfers are still running")


def touch_buffers(server, lab):  # noqa: F811
    """The ring's receive buffers become memory one after the other, and stay it; now rather than
    while something else is looked at."""
    for n in range(1, 6001, 500):
        lab.send(reflect.frame(reflect.numbered("100.64.0.0", m), 1024 + m, tftp.ack(0))
                 for m in range(n, n + 500))
        lab.watch(10, lambda n=n: server.counters()["listen_ignored_total"] >= n + 499)
    assert server.counters()["listen_ignored_total"] == 6000


def forge(lab, source_base, count, raw, at_once=100):  # noqa: F811
    """One request each in the name of so many, not faster than they are answered."""
    for n in range(1, count + 1, at_once):
        seen = len(lab.seen)
        lab.send(reflect.frame(reflect.numbered(source_base, m), 2000, raw)
                 for m in range(n, min(n + at_once, count + 1)))
        lab.watch(0.2, lambda seen=seen: len(lab.seen) >= seen + at_once)


def half_open(server, client, lab, base, limit_kib):  # noqa: F811
    """10,000 requests in the name of as many addresses, none of which ever answers. Durations of
    the true client's downloads meanwhile, resident KiB at the height and when all is over."""
    forge(lab, base, SOURCES, tftp.rrq("other"))
    assert server.counters()["transfers_active"] > SOURCES * 0.9
    served = len(client.times)
    end = time.monotonic() + 2
    while time.monotonic() < end and len(client.times) < served + 5:
        time.sleep(0.05)
    high = resident_kib(server)
    settle(server)
    end = time.monotonic() + 30  # it looks every ten seconds
    while time.monotonic() < end and resident_kib(server) > limit_kib:
        time.sleep(0.1)
    return client.times[served:], high, resident_kib(server)


def test_10000_half_open_requests(start, engine, lab, root):  # noqa: F811
    """A true client is served meanwhile. Memory comes back; of what the first flood leaves, which
    is tables touched for the first time, a second one adds nothing."""
    server = launch(start, lab, root, "protocol.patience=8")
    touch_buffers(server, lab)
    client = Client(lab)
    before = resident_kib(server), server.descriptors()
    resident, slowest = [before[0]], 0
    for base, growth in (("100.64.0.0", GROWTH_KIB), ("100.96.0.0", 512))[:2 if LONG else 1]:
        times, high, after = half_open(server, client, lab, base, resident[-1] + growth)
        assert len(times) >= 5 and after <= resident[-1] + growth
        resident += [high, after]
        slowest = max(slowest, *times)
    downloads = len(client.stop())
    descriptors = server.descriptors()
    print(f"{engine}: half open: {downloads} downloads, the slowest {slowest:.3f} s; resident KiB "
          f"before, meanwhile, after and again {resident}; descriptors {before[1]}, {descriptors}")
    assert slowest < (1 if LONG else 3)
    assert descriptors <= before[1] + 8


def test_more_half_open_than_places(start, lab, root):  # noqa: F811
    """Forged requests have taken every place, and every descriptor: the oldest one gives way."""
    def few_descriptors():
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))

    for options, prepare in ((("limits.transfers_max=64",), None), ((), few_descriptors)):
        server = launch(start, lab, root, *options, prepare=prepare)
        client = Client(lab)
        forge(lab, "100.64.0.0", 400, tftp.rrq("other"), at_once=8)
        served = len(client.times)
        end = time.monotonic() + 10
        while time.monotonic() < end and len(client.times) < served + 3 and not client.problem:
            time.sleep(0.05)
        assert len(client.stop()) >= served + 3
        assert server.counters()["transfers_evicted_total"] > 0
        server.stop()


GARBAGE = [b"", b"\0", b"\0\1", b"\0\1file", b"\0\3\0\1" + b"x" * 512, b"\0\4\0\1", b"\0\5\0\1x\0",
           b"\0\6blksize\x00512\0", b"\xff" * 40, b"\0\1\0octet\0", b"\0\2" + b"\0" * 300]


def test_garbage(start, engine, lab, root):  # noqa: F811
    """100,000 packets of garbage each second: true transfers finish, and nothing grows."""
    server = launch(start, lab, root)
    frames = [reflect.frame(reflect.numbered("100.64.0.0", n), 1024 + n, GARBAGE[n % len(GARBAGE)])
              for n in range(1, 2000)]
    client = Client(lab)
    lab.send(frames)
    settle(server)
    before = resident_kib(server), server.descriptors()
    served = len(client.times)
    count, begin = 0, time.monotonic()
    while time.monotonic() < begin + GARBAGE_SECONDS:
        for n in range(200):
            lab.raw.send(frames[(count + n) % len(frames)])
        count += 200
        ahead = count / 100_000 - (time.monotonic() - begin)
        if ahead > 0:
            time.sleep(ahead)
    rate = count / (time.monotonic() - begin)
    settle(server)
    times = client.stop()[served:]
    after = resident_kib(server), server.descriptors()
    seen = server.counters()
    print(f"{engine}: garbage: {rate:.0f} packets/s for {GARBAGE_SECONDS} s, {len(times)} downloads, the "
          f"slowest {max(times):.3f} s; resident {before[0]} KiB before, {after[0]} after; ignored "
          f"{seen['listen_ignored_total']}, malformed {seen['requests_malformed_total']}")
    assert times and seen["listen_ignored_total"] > 0
    assert rate > 90_000 or not LONG
    assert after[0] < before[0] + GROWTH_KIB
    assert after[1] <= before[1] + 8
