"""Uploads on the wire: what is allowed, what the answers are, what is left in the folder."""

import functools
import os
import resource

import pytest

import conftest
import tftp

pytestmark = [pytest.mark.sanitize, pytest.mark.thorough]

CONTENT = conftest.pattern(3000)


@pytest.fixture
def start(start, backend):
    return functools.partial(start, backend=backend)


def begin(start, root, *options, **rest):
    return start(root, options=("write.enabled=true", *options), **rest)


def names(root):
    """Everything in the folder, hidden names too."""
    return sorted(os.listdir(root))


def test_off_by_default(start, tmp_path):
    server = start(tmp_path)
    refused = tftp.store(server.address(), "new", CONTENT)
    assert (refused.opcode, refused.code) == (tftp.ERROR, tftp.E_ACCESS)
    assert names(tmp_path) == []


@pytest.mark.plain
def test_new_file(start, tmp_path):
    """In place, whole and with the right mode before the last ACK comes."""
    server = begin(start, tmp_path)
    assert tftp.store(server.address(), "/new", CONTENT, options=[("blksize", 1000)]) is None
    assert (tmp_path / "new").read_bytes() == CONTENT
    assert (tmp_path / "new").stat().st_mode & 0o7777 == 0o644
    assert names(tmp_path) == ["new"]


def test_existing_file_is_kept(start, tmp_path):
    (tmp_path / "old").write_bytes(b"old")
    server = begin(start, tmp_path)
    refused = tftp.store(server.address(), "old", CONTENT)
    assert (refused.opcode, refused.code) == (tftp.ERROR, tftp.E_EXISTS)
    assert (tmp_path / "old").read_bytes() == b"old"
    assert names(tmp_path) == ["old"]


def test_overwrite(start, tmp_path):
    """The old content stays readable until the new one is complete."""
    (tmp_path / "old").write_bytes(b"old")
    (tmp_path / "old").chmod(0o644)
    server = begin(start, tmp_path, "write.allow_overwrite=true")
    with tftp.Peer(server.address()) as own:
        assert own.ask(tftp.wrq("old")).opcode == tftp.ACK
        own.reply(tftp.data(1, CONTENT[:512]))
        assert own.receive().block == 1
        assert (tmp_path / "old").read_bytes() == b"old"
        assert tftp.fetch(server.address(), "old")[0] == b"old"
        own.reply(tftp.data(2, b"end"))
        assert own.receive().block == 2
        assert (tmp_path / "old").read_bytes() == CONTENT[:512] + b"end"


def test_create_off(start, tmp_path):
    (tmp_path / "old").write_bytes(b"old")
    server = begin(start, tmp_path, "write.allow_create=false", "write.allow_overwrite=true")
    refused = tftp.store(server.address(), "new", CONTENT)
    assert refused.opcode == tftp.ERROR and refused.code in (tftp.E_ACCESS, tftp.E_NOT_FOUND)
    assert tftp.store(server.address(), "old", CONTENT) is None
    assert names(tmp_path) == ["old"]


def test_patterns(start, tmp_path):
    (tmp_path / "up" / "deep").mkdir(parents=True)
    server = begin(start, tmp_path, 'write.allowed_patterns=["up/**", "*.cfg"]')
    for name in ("up/a", "up/deep/b", "switch.cfg"):
        assert tftp.store(server.address(), name, CONTENT) is None, name
        assert (tmp_path / name).read_bytes() == CONTENT
    for name in ("a", "deep/x.cfg", "x.cfg.exe"):
        assert tftp.store(server.address(), name, CONTENT).code == tftp.E_ACCESS, name


@pytest.mark.parametrize("name", ["../x", "dir", "link", "nodir/x", ".ringtftp-x", "m" * 256,
                                  "file/", "a\nb"],
                         ids=["climb", "folder", "link", "no-folder", "staged", "256-bytes",
                              "slash", "line-feed"])
def test_refused_names(start, tmp_path, name):
    """Refused as an access error, and nothing is made anywhere."""
    root = tmp_path / "root"
    (root / "dir").mkdir(parents=True)
    (root / "link").symlink_to("../target")
    server = begin(start, root, "write.allow_overwrite=true")
    refused = tftp.store(server.address(), name, CONTENT)
    assert refused is not None and refused.opcode == tftp.ERROR
    assert refused.code == tftp.E_ACCESS, refused
    assert names(root) == ["dir", "link"] and names(tmp_path) == ["root"]


def test_abandoned_upload_leaves_nothing(start, tmp_path):
    """The client says ERROR in the middle, or the server ends: no partial file."""
    server = begin(start, tmp_path)
    with tftp.Peer(server.address()) as own, tftp.Peer(server.address()) as other:
        own.ask(tftp.wrq("partial"))
        own.reply(tftp.data(1, CONTENT[:512]))
        assert own.receive().block == 1
        assert names(tmp_path) == []
        own.reply(tftp.error(0, "changed my mind"))
        port = f":{own.port}"
        server.wait_event("transfer", lambda e: e["peer"].endswith(port))
        other.ask(tftp.wrq("partial"))
        other.reply(tftp.data(1, CONTENT[:512]))
        assert other.receive().block == 1
        server.stop()
    assert names(tmp_path) == []


def test_max_size(start, tmp_path):
    server = begin(start, tmp_path, "write.max_size=1000")
    refused = tftp.store(server.address(), "a", CONTENT)
    assert (refused.opcode, refused.code) == (tftp.ERROR, tftp.E_DISK_FULL)
    refused = tftp.store(server.address(), "a", CONTENT, options=[("tsize", 3000)])
    assert (refused.opcode, refused.code) == (tftp.ERROR, tftp.E_DISK_FULL)
    assert tftp.store(server.address(), "b", CONTENT[:1000], options=[("tsize", 1000)]) is None
    assert names(tmp_path) == ["b"]
    server.stop()
    assert [(e["outcome"], e.get("reason")) for e in server.events("transfer")] == [
        ("error", "File too large"), ("denied", "EFBIG"), ("ok", None)]


def small_files_only():
    resource.setrlimit(resource.RLIMIT_FSIZE, (2048, 2048))


@pytest.mark.parametrize("options", [(), [("tsize", 3000)]], ids=["unannounced", "announced"])
def test_file_size_limit_of_the_process(start, tmp_path, options):
    """RLIMIT_FSIZE: an ERROR to this client; the signal that comes with it kills nobody."""
    server = begin(start, tmp_path, prepare=small_files_only)
    refused = tftp.store(server.address(), "a", CONTENT, options=options)
    assert (refused.opcode, refused.code) == (tftp.ERROR, tftp.E_DISK_FULL)
    assert tftp.store(server.address(), "b", CONTENT[:2000]) is None
    assert names(tmp_path) == ["b"]


@pytest.mark.parametrize("size", [1 << 63, 1 << 64, "9" * 400], ids=["2^63", "2^64", "400-digits"])
def test_absurd_tsize(start, tmp_path, size):
    server = begin(start, tmp_path)
    refused = tftp.store(server.address(), "a", CONTENT, options=[("tsize", size)])
    assert (refused.opcode, refused.code) == (tftp.ERROR, tftp.E_DISK_FULL)
    assert names(tmp_path) == []


def test_tsize_echoed(start, tmp_path):
    server = begin(start, tmp_path)
    with tftp.Peer(server.address()) as own:
        packet = own.ask(tftp.wrq("a", "octet", [("tsize", 3000), ("blksize", 700)]))
        assert packet.options == [(b"tsize", b"3000"), (b"blksize", b"700")]
        own.reply(tftp.error(0))


def test_repeated_data(start, tmp_path):
    """Each DATA twice: stored once, acknowledged, and also the last one after the end."""
    server = begin(start, tmp_path)
    with tftp.Peer(server.address()) as own:
        own.ask(tftp.wrq("a"))
        for n in range(6):
            raw = tftp.data(n + 1, CONTENT[n * 512:(n + 1) * 512])
            own.reply(raw)
            own.reply(raw)
            packet = own.receive()
            while packet.block != n + 1:
                packet = own.receive()
            assert packet.opcode == tftp.ACK
        assert (tmp_path / "a").read_bytes() == CONTENT
        own.collect(0.1)
        own.reply(tftp.data(6, b"changed"))
        packet = own.receive()
        assert packet is not None and (packet.opcode, packet.block) == (tftp.ACK, 6)
    assert (tmp_path / "a").read_bytes() == CONTENT


def test_out_of_order_data(start, tmp_path):
    """Only the block that is due is taken."""
    server = begin(start, tmp_path)
    with tftp.Peer(server.address()) as own:
        own.ask(tftp.wrq("a"))
        for block in (0, 2, 7, 65535):
            own.reply(tftp.data(block, b"wrong"))
        own.collect(0.1)
        own.reply(tftp.data(1, b"right"))
        packet = own.receive()
        while packet.block != 1:
            packet = own.receive()
    assert (tmp_path / "a").read_bytes() == b"right"


def test_data_too_long(start, tmp_path):
    server = begin(start, tmp_path)
    with tftp.Peer(server.address()) as own:
        own.ask(tftp.wrq("a"))
        own.reply(tftp.data(1, b"x" * 600))
        packet = own.receive()
        assert (packet.opcode, packet.code) == (tftp.ERROR, tftp.E_ILLEGAL)
    assert names(tmp_path) == []


def answer_behind(own, block):
    """The next answer; that of this block comes again when the machine is slow."""
    while True:
        packet = own.receive()
        if packet.opcode != tftp.ACK or packet.block != block:
            return packet


def test_two_writers(start, tmp_path):
    """One name, two uploads: the first that is complete wins, the other is told; nothing mixes."""
    server = begin(start, tmp_path)
    with tftp.Peer(server.address()) as one, tftp.Peer(server.address()) as two:
        for own, byte in ((one, b"1"), (two, b"2")):
            assert own.ask(tftp.wrq("a")).opcode == tftp.ACK
            own.reply(tftp.data(1, byte * 512))
            assert own.receive().block == 1
        one.reply(tftp.data(2, b"1"))
        assert answer_behind(one, 1).block == 2
        two.reply(tftp.data(2, b"2"))
        packet = answer_behind(two, 1)
        assert (packet.opcode, packet.code) == (tftp.ERROR, tftp.E_EXISTS)
    assert (tmp_path / "a").read_bytes() == b"1" * 513
    assert names(tmp_path) == ["a"]


def test_folder_links_are_not_followed(start, tmp_path):
    """A name within the patterns must not lead to a file that is outside of them, or of the root,
    whatever links somebody has put there."""
    root = tmp_path / "root"
    for folder in (root / "up", root / "private", tmp_path / "outside"):
        folder.mkdir(parents=True)
    for name, target in (("in", "../private"), ("out", "../../outside"), ("abs", str(root))):
        (root / "up" / name).symlink_to(target)
    (root / "private" / "old").write_bytes(b"old")
    server = begin(start, root, 'write.allowed_patterns=["up/**"]', "write.allow_overwrite=true")
    for name in ("up/in/x", "up/in/old", "up/out/x", "up/abs/x", "up/in/../x"):
        refused = tftp.store(server.address(), name, CONTENT)
        assert refused is not None and refused.code == tftp.E_ACCESS, name
    assert names(root / "private") == ["old"] and names(tmp_path / "outside") == []
    assert names(root / "up") == ["abs", "in", "out"] and names(root) == ["private", "up"]
    assert (root / "private" / "old").read_bytes() == b"old"


def test_two_writers_one_replaces_the_other(start, tmp_path):
    """With overwriting allowed the last that is complete wins, whole."""
    server = begin(start, tmp_path, "write.allow_overwrite=true")
    with tftp.Peer(server.address()) as one, tftp.Peer(server.address()) as two:
        for own, byte in ((one, b"1"), (two, b"2")):
            assert own.ask(tftp.wrq("a")).opcode == tftp.ACK
            own.reply(tftp.data(1, byte * 512))
            assert own.receive().block == 1
        for own, byte in ((two, b"2"), (one, b"1")):
            own.reply(tftp.data(2, byte))
            assert answer_behind(own, 1).block == 2
            assert (tmp_path / "a").read_bytes() == byte * 513
    assert names(tmp_path) == ["a"]
