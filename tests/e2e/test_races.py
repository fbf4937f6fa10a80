"""S08: somebody changes what a name leads to, again and again, while it is asked for and uploaded to.
Bytes of the inside or an ERROR, and nothing is written outside.

Without Landlock, which would stop what gets through, so the names alone have to hold. In `make test`
some thousand swaps, in `make races` a million for each file back end.
"""

import collections
import ctypes
import errno
import os
import threading

import pytest

import conftest
import tftp
from test_sandbox import passable, serve_root  # noqa: F401

SWAPS = int(os.environ.get("RINGTFTP_RACE_SWAPS", "30000"))
RENAME_EXCHANGE = 2
OPTIONS = ("security.landlock=off", "write.enabled=true", "write.allow_overwrite=true",
           "write.durable=false")
PATIENCE = 30  # other work of the machine may hold up its disk


class Racer(threading.Thread):
    """Exchanges a file with a link out, and a folder with a link to one; puts a link out where an
    upload is about to be published, and takes it away. Without a pause."""

    def __init__(self, root):
        super().__init__(daemon=True)
        self.root = root
        self.swaps = 0
        self.failures = collections.Counter()
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.start()

    def swap(self, result):
        if result == 0:
            self.swaps += 1
        else:
            self.failures[errno.errorcode[ctypes.get_errno()]] += 1

    def run(self):
        at = os.open(self.root, os.O_PATH | os.O_DIRECTORY)
        while self.swaps < SWAPS:
            for one, other in ((b"name", b"link"), (b"d", b"linkdir")):
                self.swap(self.libc.renameat2(at, one, at, other, RENAME_EXCHANGE))
            self.libc.symlinkat(b"../outside/new", at, b"planted")
            self.swap(self.libc.renameat(at, b"planted", at, b"new"))
            self.swap(self.libc.unlinkat(at, b"new", 0))
        os.close(at)


def source(count):
    """An address for each: what comes again from one port is a late copy."""
    return f"127.{1 + (count >> 16)}.{count >> 8 & 255}.{count & 255}", 0


def download(server, name, count):
    """What a name holds, or None for an ERROR."""
    with tftp.Peer(server.address(), source(count)) as peer:
        answer = peer.ask(tftp.rrq(name), PATIENCE)
        if answer.opcode == tftp.DATA:
            peer.reply(tftp.ack(1))
            return answer.payload
        assert answer.opcode == tftp.ERROR and answer.code in (1, 2), answer
        return None


def upload(server, name, count):
    """True when it was accepted to the end."""
    with tftp.Peer(server.address(), source(count)) as peer:
        answer = peer.ask(tftp.wrq(name), PATIENCE)
        if answer.opcode == tftp.ACK:
            peer.reply(tftp.data(1, b"uploaded"))
            answer = peer.receive(PATIENCE)
        # Also what has appeared only now may not be made or replaced: ERROR 6.
        assert answer.opcode == tftp.ACK or answer.code in (1, 2, 6), answer
        return answer.opcode == tftp.ACK


@pytest.fixture
def root(passable):  # noqa: F811  pylint: disable=redefined-outer-name
    root, outside = serve_root(passable), passable / "outside"
    outside.mkdir()
    (root / "d").mkdir()
    for path, content in ((outside / "f", b"secret"), (outside / "file", b"secret"),
                          (root / "name", b"inside"), (root / "d" / "f", b"inside")):
        path.write_bytes(content)
        path.chmod(0o666)
    outside.chmod(0o777)  # only the names are against writing there
    (root / "link").symlink_to("../outside/file")
    (root / "linkdir").symlink_to("../outside")
    return root


@pytest.mark.thorough
def test_races(start, root, backend):
    server = start(root, backend, (*OPTIONS, "log.level=notice"))
    seen = dict.fromkeys(("downloads", "refused downloads", "uploads", "refused uploads"), 0)
    racer, count = Racer(root), 0
    while racer.is_alive() or count < 500:
        for name in ("name", "d/f"):
            count += 1
            content = download(server, name, count)
            assert content in (b"inside", None), content
            seen["refused downloads" if content is None else "downloads"] += 1
        for name in ("d/up", "new"):
            count += 1
            seen["uploads" if upload(server, name, count) else "refused uploads"] += 1
    racer.join()
    outside = {path.name: path.read_bytes() for path in (root.parent / "outside").iterdir()}
    assert outside == {"f": b"secret", "file": b"secret"}
    kept = {"file", "inside", "name", "link", "d", "linkdir"}
    assert kept <= {path.name for path in root.iterdir()} <= kept | {"new"}, "left behind"
    print(f"{racer.swaps} swaps (failed: {dict(racer.failures)}); {seen}")
    assert racer.swaps >= SWAPS and min(seen.values()) > 10, seen
