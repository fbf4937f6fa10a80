"""The catalogue's entries about sessions, sources and load that have no better place: each names its
number. docs/catalogue.md says where the others are."""

import os
import socket
import struct
import threading
import time

import pytest

import conftest
import network
import tftp
from network import cable  # noqa: F401

CONTENT = conftest.pattern(100_000)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("sessions")
    for name, content in (("file", CONTENT), ("still-there", b"still there\n")):
        (root / name).write_bytes(content)
        (root / name).chmod(0o644)
    return root


@pytest.fixture(scope="module")
def server(module_servers, root):
    return module_servers(root, options=("write.enabled=true", "write.allow_overwrite=true"))


@pytest.fixture
def peer(server):
    with tftp.Peer(server.address()) as own:
        yield own
        if own.tid:
            own.reply(tftp.error(0))


# ---- Files that change while they are served ----

LARGE = conftest.pattern(1 << 20)


def begin(start, root, backend):
    """A download of LARGE that has come to block 3; little of the file has been read."""
    (root / "large").write_bytes(LARGE)
    (root / "large").chmod(0o644)
    server = start(root, backend, options=("performance.read_ahead=0", "performance.workers=1",
                                           "performance.chunk_size=16384"))
    own = tftp.Peer(server.address())
    own.ask(tftp.rrq("large", "octet", [("tsize", 0), ("blksize", 1024)]))
    return server, own


def rest(own, limit=LARGE):
    """To the end: (the bytes, the ERROR that ended it or None)."""
    got = []
    own.reply(tftp.ack(0))
    while True:
        packet = own.receive()
        assert packet is not None, "nothing more comes"
        if packet.opcode == tftp.ERROR:
            return b"".join(got), packet
        if packet.opcode == tftp.DATA and packet.block == (len(got) + 1) & 0xFFFF:
            got.append(packet.payload)
            own.reply(tftp.ack(len(got)))
            if len(packet.payload) < 1024:
                return b"".join(got), None
        assert len(got) <= len(limit) // 1024 + 1


@pytest.mark.thorough
def test_B53_grows(start, backend, tmp_path):
    """The bytes up to the size that was told."""
    _, own = begin(start, tmp_path, backend)
    with own:
        with open(tmp_path / "large", "ab") as file:
            file.write(b"more" * 5000)
        got, error = rest(own)
        # What was changed in place may not be whole, and an honest ERROR is better than a mixture.
        assert (got == LARGE and error is None) or (error.code == 0 and LARGE.startswith(got))


@pytest.mark.thorough
def test_B54_is_cut(start, backend, tmp_path):
    """An ERROR, and never a short block that looks like the last one."""
    server, own = begin(start, tmp_path, backend)
    with own:
        os.truncate(tmp_path / "large", 300_000)
        got, error = rest(own)
        assert error is not None and error.code == 0
        assert LARGE.startswith(got) and len(got) <= 300_000 + 16384
    server.works()


@pytest.mark.thorough
def test_B55_is_replaced_or_removed(start, backend, tmp_path):
    """The file that was opened, whole."""
    _, own = begin(start, tmp_path, backend)
    with own:
        (tmp_path / "new").write_bytes(b"new" * 1000)
        os.rename(tmp_path / "new", tmp_path / "large")
        assert rest(own) == (LARGE, None)
    server, own = begin(start, tmp_path, backend)
    with own:
        os.unlink(tmp_path / "large")
        assert rest(own) == (LARGE, None)


# ---- Sessions ----

@pytest.mark.sanitize
def test_B85_ack_from_another_host(server, peer):
    """ERROR 5 there; the transfer does not notice."""
    peer.ask(tftp.rrq("file", "octet", [("blksize", 8192), ("tsize", 0)]))
    with tftp.Peer(server.address(), bind=("127.0.0.9", peer.port)) as stranger:
        stranger.send(tftp.ack(0), peer.tid)
        answer = stranger.receive()
        assert answer is not None and (answer.opcode, answer.code) == (tftp.ERROR,
                                                                       tftp.E_UNKNOWN_TID)
    peer.reply(tftp.ack(0))
    packet = peer.receive()
    while packet.opcode == tftp.OACK:
        packet = peer.receive()
    parts = []
    while True:
        if packet.opcode == tftp.DATA and packet.block == len(parts) + 1:
            parts.append(packet.payload)
            peer.reply(tftp.ack(len(parts)))
            if len(packet.payload) < 8192:
                break
        packet = peer.receive()
        assert packet is not None
    assert b"".join(parts) == CONTENT


@pytest.mark.sanitize
def test_B89_long_error_is_one_line(server, peer):
    """60 KB of directives and escapes: one line, cut, nothing of it raw."""
    peer.ask(tftp.rrq("file"))
    peer.reply(tftp.ack(1))
    assert peer.receive().block == 2
    peer.reply(b"\0\5\0\1" + b"%n\x1b[2J\n" * 8000)
    own = f":{peer.port}"
    server.wait_event("transfer", lambda e: e["peer"].endswith(own))
    server.works()
    lines = [line for line in server.lines if own + '"' in line]
    assert len(lines) == 1 and len(lines[0]) < 1000 and "\x1b" not in lines[0]


@pytest.mark.sanitize
def test_B91_old_acks(peer):
    """ACK 0 behind DATA 1, and one of seven blocks ago: nothing comes of them."""
    peer.ask(tftp.rrq("file"))
    peer.reply(tftp.ack(0))
    assert {p.block for p in peer.collect(0.15)} <= {1}
    for block in range(1, 9):
        peer.reply(tftp.ack(block))
        packet = peer.receive()
        while packet.block != block + 1:
            packet = peer.receive()
    peer.reply(tftp.ack(1))
    assert {p.block for p in peer.collect(0.15)} <= {9}


@pytest.mark.parametrize("rollover", [0, 1])
def test_B104_rollover(start, tmp_path, rollover):
    """65,540 blocks of 8 bytes; what comes after 65535 is the knob's."""
    content = conftest.pattern(65_540 * 8 + 3)
    (tmp_path / "file").write_bytes(content)
    (tmp_path / "file").chmod(0o644)
    server = start(tmp_path, options=(f"protocol.rollover={rollover}",))
    with tftp.Peer(server.address()) as own:
        own.ask(tftp.rrq("file", "octet", [("blksize", 8), ("windowsize", 64)]))
        own.reply(tftp.ack(0))
        got, number, since = [], 1, 0
        while not got or len(got[-1]) == 8:
            packet = own.receive()
            assert packet is not None
            if packet.opcode == tftp.DATA and packet.block == number:
                got.append(packet.payload)
                last, since = number, since + 1
                number = number + 1 if number < 65535 else rollover
                if since == 64 or len(packet.payload) < 8:
                    own.reply(tftp.ack(last))
                    since = 0
            elif packet.opcode == tftp.DATA:
                own.reply(tftp.ack(last))
                since = 0
        assert b"".join(got) == content


@pytest.mark.sanitize
@pytest.mark.parametrize("options", [(), (("blksize", 600),)], ids=["plain", "options"])
def test_B116_repeated_write_request(server, peer, options):
    """One session; the same answer again, ACK 0 or the OACK, from the same port."""
    raw = tftp.wrq("again", "octet", options)
    for _ in range(10):
        peer.send(raw)
    packets = peer.answers(0.15)
    assert 1 <= len(packets) <= 3
    assert len({(p.raw, p.peer) for p in packets}) == 1
    assert packets[0].raw == (b"\0\6blksize\x00600\0" if options else tftp.ack(0))


@pytest.mark.sanitize
def test_B118_not_what_was_announced(server, peer):
    """An octet upload of another size than its tsize: refused at its end, nothing published."""
    peer.ask(tftp.wrq("short", "octet", [("tsize", 1000)]))
    peer.reply(tftp.data(1, b"x" * 100))
    packet = peer.receive()
    while packet.opcode == tftp.OACK:
        packet = peer.receive()
    assert (packet.opcode, packet.code) == (tftp.ERROR, 0)
    assert not (server.root / "short").exists()
    peer.tid = None


def test_B120_writer_disappears(start, tmp_path):
    """Nothing is left of it, and its place is free."""
    server = start(tmp_path, options=("write.enabled=true", "protocol.patience=1"))
    with tftp.Peer(server.address()) as own:
        own.ask(tftp.wrq("gone"))
        own.reply(tftp.data(1, b"x" * 512))
        assert own.receive().block == 1
        event = server.wait_event("transfer", timeout=20)
    assert event["outcome"] == "timeout"
    assert os.listdir(tmp_path) == []


# ---- Sources ----

def udp(source, target, payload):
    """An IPv4 datagram from wherever it says."""
    length = 8 + len(payload)
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + length, 0, 0, 64, socket.IPPROTO_UDP, 0,
                       socket.inet_aton(source[0]), socket.inet_aton(target[0]))
    return head + struct.pack("!HHHH", source[1], target[1], length, 0) + payload


@pytest.fixture(scope="module")
def raw_socket():
    try:
        own = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    except PermissionError:
        pytest.skip("no right to forge a source (raw sockets)")
    with own:
        yield own


def test_B124_B127_no_source(server, raw_socket):
    """Port 0, everybody, a group, ourselves: silence, and no transfer. (The kernel fills in what
    has no address at all, and lets nothing out to the broadcast address of a network.)"""
    before = len(server.events("transfer"))
    target = server.address()
    for host, port in (("127.0.0.1", 0), ("255.255.255.255", 5000), ("224.0.0.1", 5000), target):
        for name in ("file", "missing"):
            try:
                raw_socket.sendto(udp((host, port), target, tftp.rrq(name)), target)
            except OSError:
                pass  # the kernel does not even let it out
    server.works()
    peers = [event["peer"] for event in server.events("transfer")[before:]]
    assert all(peer.startswith("127.0.0.1:") and not peer.endswith(":0") for peer in peers), peers
    assert f"{target[0]}:{target[1]}" not in peers


@pytest.mark.thorough
@pytest.mark.parametrize("listen", [("0.0.0.0:0",), ("127.0.0.1:0", "127.0.0.2:0")],
                         ids=["everywhere", "named"])
def test_B127_another_address_of_ours(start, root, raw_socket, backend, listen):
    """The server's own port at another address of this machine is the server as well."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("0.0.0.0", 0))
        port = free.getsockname()[1]
    server = start(root, backend, listen=[f"{each.split(':')[0]}:{port}" for each in listen])
    for source, number in (("127.0.0.2", port), ("127.0.0.2", port ^ 1)):
        raw_socket.sendto(udp((source, number), ("127.0.0.1", port), tftp.rrq("missing")),
                          ("127.0.0.1", port))
    server.wait_event("transfer", lambda e: e["peer"] == f"127.0.0.2:{port ^ 1}")
    total = server.counters()
    assert (total["listen_bad_source_total"], total["requests_not_found_total"]) == (1, 1)


@pytest.mark.parametrize("port", [7, 19, 53, 123, 161])
def test_B126_service_ports(server, port):
    """An echo service sends back what it gets: no more than the budget, and no session of its own."""
    try:
        own = tftp.Peer(server.address(), bind=("127.0.0.78", port))
    except OSError as error:
        pytest.skip(f"port {port} cannot be bound here: {error.strerror}")
    with own:
        request = tftp.rrq("file")
        packet = own.ask(request)
        sent = 0
        end = time.monotonic() + 0.5
        while packet is not None and time.monotonic() < end:
            sent += len(packet.raw)
            own.send(packet.raw, packet.peer)
            packet = own.receive(0.3)
        assert sent <= max(3 * len(request), 516)


def test_B128_broadcast(start, root):
    """RFC 1123 section 4.2.3.5: silence."""
    server = start(root, listen=("0.0.0.0:0", "[::]:0"))
    port = server.address()[1]
    with tftp.Peer(("127.255.255.255", port)) as own:
        own.socket.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        for name in ("file", "missing"):
            own.send(tftp.rrq(name))
        assert own.collect(0.4) == []
        # A request to the host itself is answered, behind the two others.
        own.send(tftp.rrq("missing"), ("127.0.0.1", port))
        assert own.receive().code == tftp.E_NOT_FOUND


# ---- Load ----

class Flood:
    """Datagrams as fast as one thread makes them, until it is left."""

    def __init__(self, send):
        self.send, self.count, self.stop = send, 0, threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        while not self.stop.is_set():
            for _ in range(100):
                self.send()
            self.count += 100

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()


def others_are_served(server, flood):
    """Ten downloads meanwhile, while at least some thousands of packets of the flood come in."""
    done = 0
    end = time.monotonic() + 60
    while done < 10 or flood.count < 20_000:
        assert tftp.fetch(server.address(), "file", "octet", [("blksize", 8192)])[0] == CONTENT
        done += 1
        assert time.monotonic() < end, f"{done} downloads in a minute"


def test_B25_one_request_without_end(start, root):
    """One session, at most three answers; the others are served."""
    server = start(root, options=("performance.workers=1",))
    with tftp.Peer(server.address()) as own:
        raw = tftp.rrq("file")
        with Flood(lambda: own.send(raw)) as flood:
            others_are_served(server, flood)
        packets = own.collect(0.1)
        assert 1 <= len(packets) <= 3 and len({p.peer for p in packets}) == 1


def test_B110_one_ack_without_end(start, root):
    """Repeated ACKs bring nothing; the others are served."""
    server = start(root, options=("performance.workers=1",))
    with tftp.Peer(server.address()) as own:
        own.ask(tftp.rrq("file"))
        own.reply(tftp.ack(1))
        assert own.receive().block == 2
        raw = tftp.ack(1)
        with Flood(lambda: own.reply(raw)) as flood:
            others_are_served(server, flood)
        packets = own.collect(0.1)
        # By its timer only: not one for a thousand of the ACKs.
        assert {p.block for p in packets} <= {2} and len(packets) < 20


def test_B130_many_sources(cable, start, root):  # noqa: F811
    """Ten thousand sources at once, none of which is there: memory stays, a real client is served."""
    server = start(root, options=("limits.transfers_max=5000",), listen=("0.0.0.0:69",),
                   program=(*cable.server.inside, conftest.PROGRAM))
    before = server.rss_kib()
    # Everything towards the sources ends in nothing, and nobody answers that they are not there.
    cable.server.run("ip", "route", "add", "198.18.0.0/15", "via", network.CLIENT)
    cable.client.run("ip", "route", "add", "blackhole", "198.18.0.0/15")
    forge = ("import socket, sys\n"
             "s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)\n"
             "for line in sys.stdin:\n"
             f"    s.sendto(bytes.fromhex(line), ('{network.SERVER}', 69))\n")
    raw = tftp.rrq("file", "octet", [("blksize", 1000), ("tsize", 0)])
    lines = "".join(udp((f"198.18.{n // 250}.{n % 250 + 1}", 1024 + n), (network.SERVER, 69),
                        raw).hex() + "\n" for n in range(10_000))
    cable.client.run("/usr/bin/python3", "-c", forge, text=lines)
    begin_at = time.monotonic()
    got = cable.client.run(conftest.BUILD / "src" / "cli" / "ringtftp", "get", "--quiet", "-o", "-",
                           f"{network.SERVER}:69:still-there")
    # Its first request may be among those that the socket had no room for; then the client repeats.
    assert got == "still there\n" and time.monotonic() - begin_at < 5
    assert server.rss_kib() - before < 64 << 10
