"""The catalogue of bad input, groups 9.1 to 9.3: one datagram of a stranger and what it may draw.

All rows go to one server at once, each from its own port; then each row is judged by itself. The
same rows are judged by the parser alone, which must agree with the server.
"""

import os
import select
import socket
import stat
import subprocess
import time

import pytest

import catalogue
import conftest
import tftp

pytestmark = pytest.mark.sanitize

CONTENT = conftest.pattern(catalogue.SIZE)
FILES = ("file", "other", "dir/sub/deep", "with space", "b\\ack:slash%2e", "-dash", "dot.",
         "trailing ", "caf\u00e9", "l" * 255, b"byte-\xff")
# An answer to a busy machine's request may be late; then, what else comes is waited for.
LATE, QUIET = 10, 0.5


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("catalogue")
    outside = tmp_path_factory.mktemp("outside")
    (outside / "secret").write_bytes(b"secret")
    (outside / "secret").chmod(0o644)
    (root / "dir" / "sub").mkdir(parents=True)
    for name in FILES:
        path = os.path.join(os.fsencode(root), os.fsencode(name))
        with open(path, "wb") as file:
            file.write(CONTENT)
            os.fchmod(file.fileno(), 0o644)
    (root / "private").write_bytes(CONTENT)
    (root / "private").chmod(0o640)
    os.mkfifo(root / "fifo", 0o644)
    with socket.socket(socket.AF_UNIX) as own:
        folder = os.open(root, os.O_PATH)
        own.bind(f"/proc/self/fd/{folder}/socket")
        os.close(folder)
    try:
        os.mknod(root / "zero", stat.S_IFCHR | 0o644, os.makedev(1, 5))
    except PermissionError:
        os.mkfifo(root / "zero", 0o644)  # not root: the next best
    for link, target in (("inside", "dir/sub/deep"), ("linked-dir", "dir"), ("dangling", "nothing"),
                         ("outside", outside / "secret"), ("absolute", root / "file"),
                         ("climbs", f"../{outside.name}/secret"), ("magic", "/proc/self/exe")):
        (root / link).symlink_to(target)
    return root


class Round:
    """What each row drew, and what was in the folder before and after."""

    def __init__(self, server):
        self.server = server
        before = sorted(os.listdir(os.fsencode(server.root)))
        self.packets = {title: [] for title in catalogue.ROWS}
        self.peers = {title: tftp.Peer(server.address()) for title in catalogue.ROWS}
        self.begin = time.monotonic()
        try:
            for count, (title, (raw, expect)) in enumerate(catalogue.ROWS.items()):
                self.peers[title].send(raw)
                if expect is catalogue.SILENCE:
                    # Answered after what came before it: then that is not answered.
                    self.peers[title].send(tftp.rrq("does-not-exist"))
                if count % 20 == 19:
                    self._receive(0.02)
            self._receive(LATE, lambda: all(self.packets.values()))
            self._receive(QUIET)
            self.seconds = self._confirm()
            for title, packets in self.packets.items():
                for packet in packets:
                    if packet.opcode != tftp.ERROR:
                        self.peers[title].send(tftp.error(0), packet.peer)
        finally:
            for peer in self.peers.values():
                peer.socket.close()
        server.works()
        (server.root / "still-alive.txt").unlink()
        self.left = set(os.listdir(os.fsencode(server.root))) - set(before)

    def _confirm(self):
        """ACK 0 to each OACK of a download; {title: what came for it}."""
        asked = {title: packets[0].peer for title, packets in self.packets.items()
                 if packets and packets[0].opcode == tftp.OACK
                 and catalogue.ROWS[title][0][1] == tftp.RRQ}
        before = {title: len(self.packets[title]) for title in asked}
        for title, tid in asked.items():
            self.peers[title].send(tftp.ack(0), tid)

        def second(title):
            return next((p for p in self.packets[title][before[title]:] if p.opcode == tftp.DATA),
                        None)

        self._receive(LATE, lambda: all(second(title) for title in asked))
        return {title: second(title) for title in asked}

    def _receive(self, seconds, enough=lambda: False):
        titles = {peer.socket: title for title, peer in self.peers.items()}
        end = time.monotonic() + seconds
        while not enough() and time.monotonic() < end:
            ready = select.select(list(titles), [], [], 0.05)[0]
            for each in ready:
                title = titles[each]
                self.packets[title].append(self.peers[title].receive(0))


# Both engines, both file back ends, both kinds of ports.
PORTS = {"threads-mmsg": "shared", "uring-mmsg": "private", "threads-uring": "private",
         "uring-uring": "shared", "denied-EPERM": "shared", "denied-ENOSYS": "private"}


@pytest.fixture(scope="module")
def drawn(backend, module_servers, root):
    return Round(module_servers(root, backend, (f"network.transfer_ports={PORTS[backend]}",
                                                "write.enabled=true")))


@pytest.mark.parametrize("title", catalogue.ROWS)
def test_drawn(drawn, title):
    """What the server says to it."""
    expect = catalogue.ROWS[title][1]
    packets = drawn.packets[title]
    assert packets, "no answer"
    first = packets[0]
    assert first.peer[0] == drawn.server.address()[0]
    assert first.peer != drawn.server.address(), "from the listening port"
    if expect is catalogue.SILENCE:
        assert [(p.opcode, p.code) for p in packets] == [(tftp.ERROR, tftp.E_NOT_FOUND)], packets
    elif isinstance(expect, catalogue.Error):
        assert len(packets) == 1 and first.opcode == tftp.ERROR, packets
        assert first.code in expect.codes, first
        tells_nothing(first, drawn.server)
    elif first.opcode == tftp.OACK:
        assert isinstance(expect, catalogue.Oack), first
        assert first.options == expect.options
        assert {p.raw for p in packets if p.opcode != tftp.DATA} == {first.raw}, packets
        if catalogue.ROWS[title][0][1] == tftp.RRQ:
            blksize = int({k.lower(): v for k, v in first.options}.get(b"blksize", 512))
            second = drawn.seconds[title]
            assert second is not None and second.block == 1
            assert second.payload == content(title)[:blksize]
    else:
        assert expect is catalogue.SERVED or expect.options == [], first
        assert len(packets) == 1, packets
        if catalogue.ROWS[title][0][1] == tftp.WRQ:
            assert (first.opcode, first.block) == (tftp.ACK, 0), first
        else:
            assert (first.opcode, first.block) == (tftp.DATA, 1), first
            assert first.payload == content(title)[:512]


def content(title):
    """The file as it goes over the wire in the mode of that row."""
    return tftp.to_netascii(CONTENT) if "netascii" in title.lower() else CONTENT


def tells_nothing(packet, server):
    """An ERROR has at most 64 bytes, a whole text, and no name, path or version in it."""
    assert len(packet.raw) <= 64 and packet.raw.endswith(b"\0")
    assert os.fsencode(server.root) not in packet.raw
    for word in (b"secret", b"passwd", b"ringtftp", b"0.1"):
        assert word not in packet.raw


def test_nothing_was_made(drawn):
    """No row left a file, and nothing was opened for those that are refused by name."""
    assert drawn.left == set()


# ---- The parser alone ----

@pytest.fixture(scope="module")
def judged():
    lines = "".join(raw.hex() + "\n" for raw, _ in catalogue.ROWS.values())
    result = subprocess.run([conftest.BUILD / "tests" / "helpers" / "judge"], input=lines,
                            capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr
    return dict(zip(catalogue.ROWS, result.stdout.splitlines()))


@pytest.mark.parametrize("title", catalogue.ROWS)
def test_judged(judged, title):
    """What the parser, the rule for names and the negotiation say to it."""
    raw, expect = catalogue.ROWS[title]
    words = judged[title].split()
    if expect is catalogue.SILENCE:
        assert words == ["silence"]
    elif isinstance(expect, catalogue.Error) and not expect.judged:
        assert words[0] == "error" and int(words[1]) in expect.codes
    else:
        assert words[0] == ("write" if raw[1] == tftp.WRQ else "read")
        path = bytes.fromhex(words[1])
        assert b".." not in path.split(b"/") and not path.startswith(b"/")
        if isinstance(expect, catalogue.Oack):
            granted = bytes.fromhex(words[2]) if words[2] != "-" else b""
            wanted = b"".join(k + b"\0" + v + b"\0" for k, v in expect.options)
            assert granted == (b"\0\6" + wanted if wanted else b"")
            assert len(granted) <= len(raw) + 20
