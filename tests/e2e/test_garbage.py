"""Bytes that no client should send: the server stays, answers only what deserves an answer, keeps
no memory of it, and serves the next one."""

import random
import struct

import pytest

import conftest
import tftp

pytestmark = pytest.mark.sanitize

# Growth of the resident set that is still reasonable; address checks keep freed memory.
GROWTH_KIB = 400 << 10 if conftest.SANITIZED else 24 << 10


@pytest.fixture(scope="module", params=["shared", "private"])
def ports(request):
    return request.param


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("garbage")
    (root / "file").write_bytes(conftest.pattern(100_000))
    (root / "file").chmod(0o644)
    (root / ("n" * 200)).write_bytes(b"long")
    (root / ("n" * 200)).chmod(0o644)
    return root


@pytest.fixture(scope="module")
def server(backend, ports, module_servers, root):
    return module_servers(root, backend, (f"network.transfer_ports={ports}", "write.enabled=true"))


@pytest.fixture
def peer(server):
    with tftp.Peer(server.address()) as own:
        yield own
    server.works()


def quiet(peer, seconds=0.25):
    """Nothing came. A valid request behind the silence proves that all was read."""
    peer.send(tftp.rrq("does-not-exist"))
    packets = peer.answers(seconds)
    assert [(p.opcode, p.code) for p in packets] == [(tftp.ERROR, tftp.E_NOT_FOUND)], packets


def test_all_opcodes(peer):
    """Only 1 and 2 are requests; each other one is followed by silence."""
    for opcode in [*range(256), 0x0100, 0x0200, 0x0101, 0x8001, 65535]:
        if opcode not in (tftp.RRQ, tftp.WRQ):
            peer.send(struct.pack("!H", opcode) + b"file\0octet\0")
    quiet(peer, 0.5)


def _mutated(rng):
    """Something that was a packet before bytes were changed, cut and added."""
    raw = bytearray(rng.choice((
        tftp.rrq("file", "octet", [("blksize", 1428), ("windowsize", 4), ("tsize", 0)]),
        tftp.rrq("file", "netascii", [("timeout", 3)]),
        tftp.wrq("never-there/x", "octet", [("tsize", 1000)]),
        tftp.rrq("n" * 200),
        tftp.ack(rng.randrange(65536)), tftp.data(rng.randrange(65536), b"z" * 100),
        tftp.error(rng.randrange(10), "x"), b"\0\6blksize\x001428\0",
    )))
    for _ in range(rng.randrange(4)):
        what = rng.randrange(3)
        at = rng.randrange(len(raw)) if raw else 0
        if what == 0 and raw:
            raw[at] = rng.randrange(256)
        elif what == 1:
            del raw[at:at + rng.randrange(1, 20)]
        else:
            raw[at:at] = rng.randbytes(rng.randrange(1, 20))
    return bytes(raw)


def _drain(peer):
    count = 0
    while peer.receive(0) is not None:
        count += 1
    return count


def test_flood_listening_port(server):
    """20,000 random and mutated packets: nothing is remembered of them. A few sources and many,
    and transfers that are never taken up among them."""
    rng = random.Random(7440)
    server.works()
    before, descriptors = server.rss_kib(), server.descriptors()
    peers = [tftp.Peer(server.address()) for _ in range(40)]
    try:
        for n in range(20_000):
            own = peers[n % len(peers)]
            own.send(rng.randbytes(rng.randrange(0, 2049)) if n % 2 else _mutated(rng))
            if n % 100 == 99:
                for each in peers:
                    _drain(each)
                tftp.fetch(server.address(), "n" * 200)  # as fast as the server reads, no faster
    finally:
        for own in peers:
            own.socket.close()
    server.works()
    assert server.rss_kib() - before < GROWTH_KIB
    # What was started stays for its patience; each may hold its own socket, no more.
    assert server.descriptors() - descriptors <= len(peers) + 8


def test_flood_transfer_port(server):
    """The same at the port of a running transfer, from its own peer and from strangers: the
    transfer still ends, with every byte."""
    rng = random.Random(1350)
    before = server.rss_kib()
    content = conftest.pattern(100_000)
    with tftp.Peer(server.address()) as own, tftp.Peer(server.address()) as stranger:
        packet = own.ask(tftp.rrq("file", "octet", [("blksize", 1024)]))
        assert packet.opcode == tftp.OACK
        own.reply(tftp.ack(0))
        got = []
        while not got or len(got[-1]) == 1024:
            block = len(got) + 1
            packet = own.receive()
            assert packet is not None, f"no DATA {block}"
            if packet.opcode != tftp.DATA or packet.block != block:
                continue
            got.append(packet.payload)
            for _ in range(100):
                stranger.send(_mutated(rng), own.tid)
                stranger.send(rng.randbytes(rng.randrange(0, 600)), own.tid)
                for raw in (_harmless(rng, block), b"", b"\0", b"\0\4", b"\0\4\0"):
                    own.reply(raw)
            _drain(stranger)
            own.reply(tftp.ack(block))
        assert b"".join(got) == content
    server.works()
    assert server.rss_kib() - before < GROWTH_KIB


def _harmless(rng, block):
    """From the right peer: everything but a request, an ERROR and the ACKs that mean something
    now."""
    while True:
        raw = _mutated(rng) if rng.random() < 0.5 else rng.randbytes(rng.randrange(0, 100))
        if raw[:2] in (b"\0\1", b"\0\2", b"\0\5"):
            continue
        if raw[:2] == b"\0\4" and len(raw) >= 4:
            if struct.unpack("!H", raw[2:4])[0] in (block, block - 1):
                continue
        return raw


@pytest.mark.parametrize("raw", [b"\0\5", b"\0\5\0", b"\0\5\0\1", b"\0\5\0\1text",
                                 b"\0\5\0\0" + b"%n\x1b" * 20000, tftp.error(9), tftp.error(999),
                                 tftp.error(65535)],
                         ids=["no-code", "half", "no-text", "unterminated", "60KB", "9", "999",
                              "65535"])
def test_error_ends_transfer(server, peer, raw):
    """An ERROR closes the transfer without an answer, however it is spelled."""
    packet = peer.ask(tftp.rrq("file"))
    assert packet.opcode == tftp.DATA
    peer.reply(tftp.ack(1))
    assert peer.receive().block == 2
    peer.reply(raw)
    if len(raw) < 4:
        # Too short to be an ERROR: ignored, and the transfer goes on.
        peer.reply(tftp.ack(2))
        while packet.block != 3:
            packet = peer.receive()
            assert packet is not None
        peer.reply(tftp.error(0))
        return
    peer.reply(tftp.ack(2))
    assert [p for p in peer.collect(0.4) if p.opcode != tftp.DATA or p.block > 2] == []
