"""What is on the wire, packet by packet, for requests and for the rules of a transfer."""

import os
import socket
import stat

import pytest

import conftest
import tftp

pytestmark = pytest.mark.sanitize

CONTENT = conftest.pattern(5000)


@pytest.fixture(scope="module", params=["shared", "private"])
def ports(request):
    return request.param


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("requests")
    outside = tmp_path_factory.mktemp("outside")
    (outside / "secret").write_bytes(b"secret")
    os.chmod(outside / "secret", 0o644)
    (root / "dir" / "sub").mkdir(parents=True)
    for name in ("file", "other", "dir/sub/deep", "with space", "b\\ack:slash%2e", "-dash", "dot.",
                 "caf\u00e9", "l" * 255):
        (root / name).write_bytes(CONTENT)
        (root / name).chmod(0o644)
    with open(os.path.join(os.fsencode(root), b"byte-\xff"), "wb") as file:
        file.write(CONTENT)
        os.fchmod(file.fileno(), 0o644)
    (root / "empty").write_bytes(b"")
    (root / "empty").chmod(0o644)
    (root / "private").write_bytes(CONTENT)
    (root / "private").chmod(0o640)
    os.mkfifo(root / "fifo", 0o644)
    own = socket.socket(socket.AF_UNIX)
    here = os.getcwd()
    os.chdir(root)
    try:
        own.bind("socket")
    finally:
        os.chdir(here)
        own.close()
    (root / "inside").symlink_to("dir/sub/deep")
    (root / "outside").symlink_to(outside / "secret")
    (root / "climbs").symlink_to("../" + outside.name + "/secret")
    (root / "dangling").symlink_to("nothing")
    (root / "linked-dir").symlink_to("dir")
    return root


@pytest.fixture(scope="module")
def server(module_servers, root, ports):
    return module_servers(root, options=(f"network.transfer_ports={ports}",))


@pytest.fixture
def peer(server):
    with tftp.Peer(server.address()) as own:
        yield own
        if own.tid:
            own.reply(tftp.error(0))


# ---- Names ----

@pytest.mark.parametrize("name", [
    "file", "/file", "//file", "///file", "dir/sub/deep", "/dir//sub///deep", "with space",
    "b\\ack:slash%2e", "-dash", "dot.", "caf\u00e9".encode(), b"byte-\xff", "l" * 255, "inside",
    "linked-dir/sub/deep",
])
def test_served(server, name):
    assert tftp.fetch(server.address(), name)[0] == CONTENT


REFUSED = {
    "missing": ("nothing", tftp.E_NOT_FOUND),
    "missing in a folder": ("dir/nothing", tftp.E_NOT_FOUND),
    "missing folder": ("nodir/file", tftp.E_NOT_FOUND),
    "file as folder": ("file/x", tftp.E_NOT_FOUND),
    "file with slash": ("file/", tftp.E_NOT_FOUND),
    "wrong case": ("FILE", tftp.E_NOT_FOUND),
    "space": (" ", tftp.E_NOT_FOUND),
    "256 bytes": ("m" * 256, tftp.E_NOT_FOUND),
    "one-letter folders": ("a/" * 244 + "a", tftp.E_NOT_FOUND),
    "absolute": ("/etc/passwd", tftp.E_NOT_FOUND),
    "dots": ("....//x", tftp.E_NOT_FOUND),
    "three dots": (".../x", tftp.E_NOT_FOUND),
    "backslashes": ("..\\x", tftp.E_NOT_FOUND),
    "drive": ("C:\\x", tftp.E_NOT_FOUND),
    "percent": ("%2e%2e%2ffile", tftp.E_NOT_FOUND),
    "overlong": (b"\xc0\xae\xc0\xae/file", tftp.E_NOT_FOUND),
    "shell": ("$(id)|;`id`", tftp.E_NOT_FOUND),
    "format": ("%n%s%x" * 80, tftp.E_NOT_FOUND),
    "staged": (".ringtftp-x", tftp.E_NOT_FOUND),
    "climb": ("../etc/passwd", tftp.E_ACCESS),
    "climb inside": ("dir/../file", tftp.E_ACCESS),
    "climb with slashes": ("..//file", tftp.E_ACCESS),
    "dot": ("dir/./sub/deep", tftp.E_ACCESS),
    "only dot": (".", tftp.E_ACCESS),
    "only dots": ("..", tftp.E_ACCESS),
    "slashes": ("///", tftp.E_ACCESS),
    "line feed": ("a\nb", tftp.E_ACCESS),
    "escape": ("\x1b[2J", tftp.E_ACCESS),
    "delete": ("a\x7f", tftp.E_ACCESS),
    "directory": ("dir", tftp.E_ACCESS),
    "fifo": ("fifo", tftp.E_ACCESS),
    "socket": ("socket", tftp.E_ACCESS),
    "symlink outside": ("outside", tftp.E_ACCESS),
    "symlink climbing": ("climbs", tftp.E_ACCESS),
    "not world readable": ("private", tftp.E_ACCESS),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(server, peer, case):
    """One short ERROR that names nothing; also when options were asked for, never an OACK."""
    name, code = REFUSED[case]
    secret = os.fsencode(server.root)
    for options in ((), (("tsize", 0), ("blksize", 1428))):
        raw = tftp.rrq(name, "octet", options if len(name) < 400 else ())
        peer.tid = None
        peer.send(raw)
        packets = peer.answers(0.15)
        assert [(p.opcode, p.code) for p in packets] == [(tftp.ERROR, code)], packets
        assert len(packets[0].raw) <= 64 and packets[0].raw.endswith(b"\0")
        assert secret not in packets[0].raw and b"secret" not in packets[0].raw
    peer.tid = None


@pytest.mark.parametrize("name", ["dangling", "dir/"])
def test_refused_either_way(peer, name):
    """Not there, or not allowed: both are true of these."""
    packet = peer.ask(tftp.rrq(name))
    assert packet.opcode == tftp.ERROR and packet.code in (tftp.E_NOT_FOUND, tftp.E_ACCESS)
    peer.tid = None


def test_fifo_harms_nobody(server, peer):
    """Asking for a FIFO without a writer blocks nothing."""
    for _ in range(8):
        assert peer.ask(tftp.rrq("fifo"), timeout=1).code == tftp.E_ACCESS
    assert stat.S_ISFIFO(os.stat(server.root / "fifo").st_mode)
    server.works()
    peer.tid = None


def test_symlinks_never(start, root):
    server = start(root, options=("symlinks=never",))
    with tftp.Peer(server.address()) as own:
        assert own.ask(tftp.rrq("inside")).code == tftp.E_ACCESS
        assert own.ask(tftp.rrq("linked-dir/sub/deep")).code == tftp.E_ACCESS
    assert tftp.fetch(server.address(), "dir/sub/deep")[0] == CONTENT


def test_not_world_readable_allowed(start, root):
    server = start(root, options=("world_readable_only=false",))
    assert tftp.fetch(server.address(), "private")[0] == CONTENT


# ---- Options ----

SIZE = str(len(CONTENT))
OPTIONS = {
    "none": ([], []),
    "blksize": ([("blksize", 1428)], [("blksize", 1428)]),
    "all": ([("tsize", 0), ("blksize", 1468), ("windowsize", 4), ("timeout", 5)],
            [("tsize", SIZE), ("blksize", 1468), ("windowsize", 4), ("timeout", 5)]),
    "order": ([("timeout", 5), ("windowsize", 4), ("blksize", 1468), ("tsize", 0)],
              [("timeout", 5), ("windowsize", 4), ("blksize", 1468), ("tsize", SIZE)]),
    "spelling": ([("BLKSIZE", 1000), ("tSiZe", 0)], [("BLKSIZE", 1000), ("tSiZe", SIZE)]),
    "only unknown": ([("multicast", ""), ("utimeout", 1000), ("rollover", 0), ("blksize2", 1024)],
                     []),
    "unknown among known": ([("x", "y"), ("blksize", 600), ("z", "")], [("blksize", 600)]),
    "similar names": ([("blksizeFOO", 600), ("foo_blksize", 600), ("blk", 600)], []),
    "empty name": ([("", "5"), ("blksize", 600)], [("blksize", 600)]),
    "empty value": ([("blksize", ""), ("tsize", ""), ("windowsize", "")], []),
    "blksize 0": ([("blksize", 0)], []),
    "blksize 1": ([("blksize", 1)], []),
    "blksize 7": ([("blksize", 7)], []),
    "blksize 8": ([("blksize", 8), ("timeout", 3), ("tsize", 0)],
                  [("blksize", 8), ("timeout", 3), ("tsize", SIZE)]),
    "blksize 65464": ([("blksize", 65464)], [("blksize", 65464)]),
    "blksize 65465": ([("blksize", 65465)], [("blksize", 65464)]),
    "blksize 99999": ([("blksize", 99999)], [("blksize", 65464)]),
    "blksize negative": ([("blksize", -1)], []),
    "blksize plus": ([("blksize", "+8")], []),
    "blksize space": ([("blksize", " 512")], []),
    "blksize tail": ([("blksize", "512x")], []),
    "blksize hex": ([("blksize", "0x200")], []),
    "blksize exponent": ([("blksize", "1e3")], []),
    "blksize zeros": ([("blksize", "000512")], [("blksize", 512)]),
    "windowsize 0": ([("windowsize", 0)], []),
    "windowsize word": ([("windowsize", "abc")], []),
    "windowsize 1": ([("windowsize", 1)], [("windowsize", 1)]),
    "windowsize 65535": ([("windowsize", 65535)], [("windowsize", 64)]),
    "timeout 0": ([("timeout", 0)], []),
    "timeout 256": ([("timeout", 256)], []),
    "timeout negative": ([("timeout", -1)], []),
    "timeout fraction": ([("timeout", "1.5")], []),
    "timeout 1": ([("timeout", 1)], [("timeout", 1)]),
    "timeout 255": ([("timeout", 255)], [("timeout", 255)]),
    "tsize 5": ([("tsize", 5)], [("tsize", SIZE)]),
    "tsize word": ([("tsize", "abc")], []),
    "hostile value": ([("blksize", "%n\x1b[2J"), ("tsize", 0)], [("tsize", SIZE)]),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_options(peer, case):
    """The OACK is the subset that is granted, in the request's order and spelling; none of them:
    DATA 1 at once."""
    asked, granted = OPTIONS[case]
    packet = peer.ask(tftp.rrq("file", "octet", asked))
    if not granted:
        assert (packet.opcode, packet.block) == (tftp.DATA, 1)
        assert packet.payload == CONTENT[:512]
        return
    assert packet.opcode == tftp.OACK, packet
    assert packet.options == [(str(k).encode(), str(v).encode()) for k, v in granted]
    blksize = int({k.lower(): v for k, v in granted}.get("blksize", 512))
    peer.reply(tftp.ack(0))
    while packet.opcode == tftp.OACK:
        packet = peer.receive()
    assert (packet.opcode, packet.block) == (tftp.DATA, 1)
    assert packet.payload == CONTENT[:blksize]


@pytest.mark.parametrize("value", ["4294967808", "18446744073709552128", "9" * 400],
                         ids=["2^32+512", "2^64+512", "400-digits"])
def test_blksize_no_wrap(peer, value):
    """Granted as our largest or left out, never 512 by a number that wraps."""
    packet = peer.ask(tftp.rrq("file", "octet", [("blksize", value)]))
    assert packet.opcode == tftp.DATA or packet.options == [(b"blksize", b"65464")], packet


def test_windowsize_above_range(peer):
    packet = peer.ask(tftp.rrq("file", "octet", [("windowsize", 65536)]))
    assert packet.opcode == tftp.DATA or packet.options == [(b"windowsize", b"64")], packet


def test_window_times_blksize_bounded(peer):
    packet = peer.ask(tftp.rrq("file", "octet", [("blksize", 65464), ("windowsize", 65535)]))
    granted = dict(packet.options)
    assert int(granted[b"blksize"]) * int(granted[b"windowsize"]) <= 1 << 20


@pytest.mark.parametrize("values", [(512, 512), (512, 1024)])
def test_option_twice(peer, values):
    packet = peer.ask(tftp.rrq("file", "octet", [("blksize", v) for v in values]))
    assert (packet.opcode, packet.code) == (tftp.ERROR, tftp.E_OPTION)
    peer.tid = None


@pytest.mark.parametrize("tail", [b"tsize\0", b"tsize", b"tsize\x000", b"\xff\xff", b"x"])
def test_odd_tail(peer, tail):
    """A tail that is no pair ends the list and is no error; what was before it counts."""
    packet = peer.ask(tftp.rrq("file", "octet", [("blksize", 600)]) + tail)
    assert packet.opcode == tftp.OACK
    assert packet.options == [(b"blksize", b"600")]


def test_netascii_no_tsize(peer):
    """The converted size is not known, so none is told."""
    packet = peer.ask(tftp.rrq("file", "netascii", [("tsize", 0), ("blksize", 600)]))
    assert packet.options == [(b"blksize", b"600")]


def test_empty_file(peer):
    packet = peer.ask(tftp.rrq("empty", "octet", [("blksize", 600)]))
    assert packet.opcode == tftp.OACK
    peer.reply(tftp.ack(0))
    packet = peer.receive()
    assert (packet.opcode, packet.block, packet.payload) == (tftp.DATA, 1, b"")
    peer.reply(tftp.ack(1))
    assert peer.collect(0.4) == []
    peer.tid = None


def test_options_off(start, root):
    server = start(root, options=("protocol.options=false",))
    with tftp.Peer(server.address()) as own:
        packet = own.ask(tftp.rrq("file", "octet", [("blksize", 1428), ("tsize", 0)]))
        assert (packet.opcode, packet.block) == (tftp.DATA, 1)
        own.reply(tftp.error(0))


def test_many_options(peer):
    raw = b"\0\1file\0octet\0" + b"a\0b\0" * 123
    assert len(raw) <= 512
    packet = peer.ask(raw)
    assert (packet.opcode, packet.block) == (tftp.DATA, 1)
