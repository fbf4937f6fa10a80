"""Transfers step by step: repeated packets, wrong ports, losses, addresses."""

import socket
import time

import pytest

import conftest
import tftp

pytestmark = pytest.mark.sanitize

CONTENT = conftest.pattern(100_000)


@pytest.fixture(scope="module", params=["shared", "private"])
def ports(request):
    return request.param


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("sessions")
    for name, content in (("file", CONTENT), ("other", CONTENT[::-1]), ("short", CONTENT[:700])):
        (root / name).write_bytes(content)
        (root / name).chmod(0o644)
    return root


@pytest.fixture(scope="module")
def server(module_servers, root, ports):
    return module_servers(root, options=(f"network.transfer_ports={ports}", "write.enabled=true",
                                         "write.allow_overwrite=true"))


@pytest.fixture
def peer(server):
    with tftp.Peer(server.address()) as own:
        yield own
        if own.tid:
            own.reply(tftp.error(0))


# ---- Repeated and changed requests ----

@pytest.mark.parametrize("options", [(), (("tsize", 0), ("blksize", 1000))],
                         ids=["plain", "options"])
def test_repeated_request(peer, options):
    """Ten copies are one transfer: the same answer from the same port, a few times at most."""
    raw = tftp.rrq("file", "octet", options)
    for _ in range(10):
        peer.send(raw)
    packets = peer.answers(0.15)
    assert 1 <= len(packets) <= 3, packets
    assert len({p.peer for p in packets}) == 1
    assert len({p.raw for p in packets}) == 1
    assert (packets[0].opcode == tftp.OACK) == bool(options)
    assert tftp.take(peer, packets[0])[0] == CONTENT


def test_repeated_write_request(server, peer):
    raw = tftp.wrq("repeated", "octet", [("blksize", 600)])
    for _ in range(10):
        peer.send(raw)
    packets = peer.answers(0.15)
    assert 1 <= len(packets) <= 3, packets
    assert {p.raw for p in packets} == {b"\0\6blksize\x00600\0"}
    assert len({p.peer for p in packets}) == 1
    peer.reply(tftp.data(1, b"content"))
    packet = peer.receive()
    while packet.opcode == tftp.OACK:
        packet = peer.receive()
    assert (packet.opcode, packet.block) == (tftp.ACK, 1)
    assert (server.root / "repeated").read_bytes() == b"content"


def test_request_repeated_later(peer):
    """The request arrives once more when the transfer is under way: no second transfer, nothing
    starts anew."""
    raw = tftp.rrq("file", "octet", [("blksize", 1000)])
    packet = peer.ask(raw)
    peer.reply(tftp.ack(0))
    assert peer.receive().block == 1
    peer.reply(tftp.ack(1))
    tid = peer.tid
    peer.send(raw)
    peer.reply(raw)
    seen = peer.answers(0.15)
    assert seen and {(p.opcode, p.block, p.peer) for p in seen} == {(tftp.DATA, 2, tid)}
    assert packet.opcode == tftp.OACK


def test_other_request_replaces(peer):
    """A reset machine comes back with the same port and another wish (GRUB, U-Boot)."""
    first = peer.ask(tftp.rrq("file", "octet", [("blksize", 1000)]))
    assert first.opcode == tftp.OACK
    peer.tid = None
    peer.send(tftp.rrq("other"))
    packet = peer.receive()
    while packet.opcode == tftp.OACK:
        packet = peer.receive()
    peer.tid = packet.peer
    assert tftp.take(peer, packet)[0] == CONTENT[::-1]
    assert peer.collect(0.4) == [], "the first transfer still sends"


def test_same_port_again(peer):
    """One client socket for several files, one after the other (lpxelinux)."""
    for name, content in (("file", CONTENT), ("short", CONTENT[:700]), ("short", CONTENT[:700]),
                          ("file", CONTENT)):
        packet = peer.ask(tftp.rrq(name))
        assert tftp.take(peer, packet)[0] == content


SHORT = tftp.rrq("short", "octet", [("tsize", 0)])
OTHER = tftp.rrq("other", "octet", [("tsize", 0)])


def get_short(peer, how):
    """Downloads "short" as somebody who has repeated the request, or waited long enough to do so:
    another copy may be on its way."""
    peer.tid = None
    peer.send(SHORT)
    if how == "repeated":
        peer.send(SHORT)
    packet = peer.answers(0.1)[0]
    if how == "slow":
        time.sleep(0.1)
    assert tftp.take(peer, packet)[0] == CONTENT[:700]


@pytest.mark.parametrize("how", ["repeated", "slow"])
def test_late_copy_of_ended_request(peer, how):
    """A copy of a request that has been served starts no transfer, whose answer a client that now
    asks for something else from the same port would take for its own."""
    get_short(peer, how)
    peer.send(SHORT)
    assert peer.collect(0.15) == []
    packet = peer.ask(OTHER)
    assert packet.options == [(b"tsize", b"%d" % len(CONTENT))]
    assert tftp.take(peer, packet)[0] == CONTENT[::-1]


def test_late_copy_in_next_transfer(peer):
    """Nor does it end the transfer that came next."""
    get_short(peer, "repeated")
    packet = peer.ask(OTHER)
    peer.send(SHORT)
    assert tftp.take(peer, packet)[0] == CONTENT[::-1]


def test_same_request_again_after_a_while(peer):
    """A machine that has repeated its request and starts over later is served as ever."""
    get_short(peer, "repeated")
    end = time.monotonic() + 10
    packets = []
    while not packets and time.monotonic() < end:
        peer.tid = None
        peer.send(SHORT)
        packets = peer.collect(0.25)
    assert tftp.take(peer, packets[0])[0] == CONTENT[:700]


# ---- Losses and duplicates ----

def test_unproven_peer_gets_one_data(peer):
    """A forged request must not make the server send block after block at its victim."""
    peer.send(tftp.rrq("file"))
    packets = peer.collect(1.5)
    assert [(p.opcode, p.block) for p in packets] == [(tftp.DATA, 1)], packets


def test_unproven_peer_budget(peer):
    """OACKs to a silent peer cost at most three times what the request cost."""
    raw = tftp.rrq("file", "octet", [("blksize", 1000), ("tsize", 0)])
    peer.send(raw)
    packets = peer.collect(1.5)
    assert packets and {p.opcode for p in packets} == {tftp.OACK}
    assert sum(len(p.raw) for p in packets) <= 3 * len(raw)


def test_first_data_again_when_asked_again(peer):
    """DATA 1 got lost: the client repeats its request and gets it again, same port. A repeat
    within 20 ms counts as the network's own copy and gets nothing."""
    first = peer.ask(tftp.rrq("file"))
    again = None
    for _ in range(50):
        peer.send(tftp.rrq("file"))
        again = peer.receive(0.1)
        if again:
            break
    assert again, "no answer to the repeated request"
    assert (again.raw, again.peer) == (first.raw, first.peer)


def test_lost_data_is_sent_again(peer):
    """A proven peer that never repeats itself (GRUB) is served by the server's own timer."""
    peer.ask(tftp.rrq("file"))
    peer.reply(tftp.ack(1))
    second = peer.receive()
    start = time.monotonic()
    again = peer.receive()
    assert again is not None and again.raw == second.raw
    assert time.monotonic() - start < 2


def test_lost_oack_is_sent_again(peer):
    """Boot loaders ask for the size, and GRUB does not repeat its ACK of the OACK."""
    first = peer.ask(tftp.rrq("file", "octet", [("blksize", 1000), ("tsize", 0)]))
    again = peer.receive()
    assert again is not None and (again.raw, again.peer) == (first.raw, first.peer)


@pytest.mark.parametrize("copies", [2, 20])
def test_sorcerers_apprentice(peer, copies):
    """RFC 1123 section 4.2.3.1: an ACK that comes twice does not make DATA go out twice."""
    packet = peer.ask(tftp.rrq("file"))
    blocks = len(CONTENT) // 512 + 1
    received = 0
    expected = 1
    while expected <= blocks:
        assert packet is not None
        assert packet.opcode == tftp.DATA
        received += 1
        if packet.block == expected:
            for _ in range(copies):
                peer.reply(tftp.ack(expected))
            expected += 1
        if expected <= blocks:
            packet = peer.receive()
    received += len([p for p in peer.collect(0.1) if p.opcode == tftp.DATA])
    # Without the rule it is at least twice as many; the timer may add a few on a busy machine.
    assert received <= blocks * 1.1


def test_duplicates_in_windows(peer):
    """With a window the rule is: no more than one window in vain."""
    peer.ask(tftp.rrq("file", "octet", [("windowsize", 8)]))
    for _ in range(2):
        peer.reply(tftp.ack(0))
    blocks = len(CONTENT) // 512 + 1
    received = expected = 0
    while expected < blocks:
        packet = peer.receive()
        assert packet is not None
        if packet.opcode != tftp.DATA:
            continue
        received += 1
        if packet.block == expected + 1:
            expected += 1
            if expected % 8 == 0 or expected == blocks:
                for _ in range(3):
                    peer.reply(tftp.ack(expected))
    received += len([p for p in peer.collect(0.1) if p.opcode == tftp.DATA])
    assert received <= blocks * 1.1 + 8


def test_gap_restarts_window_once(peer):
    """RFC 7440 section 4: block 2 of a window is lost; what follows is the window from there. The
    ACKs of an eager client (EDK2: one for each unexpected block) bring it once."""
    peer.ask(tftp.rrq("file", "octet", [("windowsize", 4)]))
    peer.reply(tftp.ack(0))
    first = [peer.receive() for _ in range(4)]
    assert [p.block for p in first] == [1, 2, 3, 4]
    time.sleep(0.03)  # longer than the hold of what went out just now
    for _ in range(3):
        peer.reply(tftp.ack(1))
    blocks = []
    while not {2, 3, 4, 5} <= set(blocks):  # 5 comes first when the round trip was longer than that
        packet = peer.receive()
        assert packet is not None
        blocks.append(packet.block)
        at = (packet.block - 1) * 512
        assert packet.payload == CONTENT[at:at + 512]
    assert set(blocks) == {2, 3, 4, 5}
    assert len(blocks) <= 8, "more than the gap's restart and one of the timer"
    peer.reply(tftp.ack(5))
    later = peer.receive()
    while later is not None and later.block <= 5:
        later = peer.receive()
    assert later is not None and later.block == 6


def test_first_block_of_window_lost(peer):
    """The gap ACK is then a repeated ACK, which alone brings nothing at once; the timer does."""
    peer.ask(tftp.rrq("file", "octet", [("windowsize", 4)]))
    peer.reply(tftp.ack(0))
    assert [peer.receive().block for _ in range(4)] == [1, 2, 3, 4]
    for _ in range(3):
        peer.reply(tftp.ack(0))
    again = [peer.receive() for _ in range(4)]
    assert [p.block for p in again] == [1, 2, 3, 4]
    peer.reply(tftp.ack(4))
    assert [peer.receive().block for _ in range(4)] == [5, 6, 7, 8]


def test_ack_within_window(peer):
    """An ACK in the middle, without a loss, moves the window on from there."""
    peer.ask(tftp.rrq("file", "octet", [("windowsize", 4)]))
    peer.reply(tftp.ack(0))
    assert [peer.receive().block for _ in range(4)] == [1, 2, 3, 4]
    peer.reply(tftp.ack(2))
    blocks = [peer.receive().block for _ in range(2)]
    assert set(blocks) <= {3, 4, 5, 6}


@pytest.mark.parametrize("block", [7, 100, 40000, 65535])
def test_ack_of_unsent_block(peer, block):
    peer.ask(tftp.rrq("file"))
    peer.reply(tftp.ack(1))
    assert peer.receive().block == 2
    peer.reply(tftp.ack(block))
    assert {p.block for p in peer.collect(0.15)} <= {2}
    peer.reply(tftp.ack(2))
    packet = peer.receive()
    while packet is not None and packet.block == 2:
        packet = peer.receive()
    assert packet is not None and packet.block == 3


def test_ack_with_tail(peer):
    peer.ask(tftp.rrq("file"))
    peer.reply(tftp.ack(1) + b"tail")
    assert peer.receive().block == 2


def test_last_ack_lost(server, peer):
    """The client has everything and is gone: a success, not a failure, after a few tries."""
    packet = peer.ask(tftp.rrq("short"))
    peer.reply(tftp.ack(1))
    packet = peer.receive()
    assert (packet.block, len(packet.payload)) == (2, 188)
    own = f":{peer.port}"
    event = server.wait_event("transfer", lambda e: e["peer"].endswith(own), timeout=60)
    assert event["outcome"] == "ok"
    peer.tid = None


def test_unreachable_ends_transfer(server):
    """The client's port is closed: the transfer ends at once and holds nothing for a minute."""
    with tftp.Peer(server.address()) as own:
        own.ask(tftp.rrq("file"))
        own.reply(tftp.ack(1))
        assert own.receive().block == 2
        port = f":{own.port}"
        own.reply(tftp.ack(2))
    event = server.wait_event("transfer", lambda e: e["peer"].endswith(port), timeout=10)
    assert event["outcome"] in ("aborted", "closed", "timeout", "error")


# ---- Wrong ports ----

def test_wrong_tid(server, peer):
    """RFC 1350 section 4: ERROR 5 to the wrong source, and the transfer is not disturbed."""
    peer.ask(tftp.rrq("file"))
    peer.reply(tftp.ack(1))
    packet = peer.receive()
    with tftp.Peer(server.address()) as stranger:
        stranger.send(tftp.ack(1), peer.tid)
        answer = stranger.receive()
        assert answer is not None
        assert (answer.opcode, answer.code) == (tftp.ERROR, tftp.E_UNKNOWN_TID)
        assert answer.peer == peer.tid and len(answer.raw) <= 64
        for raw in (tftp.error(0, "stop"), tftp.rrq("file"), b"junk", b"", b"\0\6x\0y\0"):
            stranger.send(raw, peer.tid)
        assert stranger.collect(0.2) == []
    content = CONTENT[:512] + _rest(peer, packet)
    assert content == CONTENT


def test_right_address_wrong_port(peer):
    """A client moves its transfer only at the port that answered (RFC 1350 section 4)."""
    peer.ask(tftp.rrq("file"))
    for raw in (tftp.ack(1), tftp.error(0)):
        peer.send(raw)
        assert peer.collect(0.2) == []
    peer.reply(tftp.ack(1))
    assert CONTENT[:512] + _rest(peer, peer.receive()) == CONTENT


def _rest(peer, packet):
    """From DATA 2 to the end of a plain transfer."""
    parts, expected = [], 2
    while True:
        assert packet is not None
        if packet.opcode == tftp.DATA and packet.block == expected:
            parts.append(packet.payload)
            peer.reply(tftp.ack(expected))
            if len(packet.payload) < 512:
                return b"".join(parts)
            expected += 1
        packet = peer.receive()


@pytest.mark.parametrize("raw", [tftp.data(1, b"x"), b"\0\6blksize\x00600\0", tftp.wrq("x"),
                                 b"\0\x09junk", b"", b"\0", b"\0\4\0"],
                         ids=["data", "oack", "wrq", "opcode9", "empty", "one", "three"])
def test_nonsense_in_transfer(peer, raw):
    """From the right port, but no sense in a download: ignored."""
    peer.ask(tftp.rrq("file"))
    peer.reply(tftp.ack(1))
    packet = peer.receive()
    peer.reply(raw)
    assert CONTENT[:512] + _rest(peer, packet) == CONTENT


# ---- Addresses ----

def test_reply_from_address_asked(start, root):
    """A host with several addresses answers from the one that was asked."""
    server = start(root, listen=("0.0.0.0:0", "[::]:0"))
    for host in ("127.0.0.1", "127.0.0.2", "127.1.2.3", "::1"):
        content, _ = tftp.fetch(server.address(host), "file", "octet", [("blksize", 1000)])
        assert content == CONTENT
        with tftp.Peer(server.address(host)) as own:
            packet = own.ask(tftp.rrq("file"))
            assert packet.peer[0] == host
            assert packet.peer[1] != server.address(host)[1], "not from the listening port"
            own.reply(tftp.error(0))
            own.tid = None
            assert own.ask(tftp.rrq("nothing")).peer[0] == host
            own.tid = None


def test_two_listen_addresses(start, root):
    server = start(root, listen=("127.0.0.1:0", "127.0.0.5:0", "[::1]:0"))
    for host, port in server.addresses:
        assert tftp.fetch((host, port), "file")[0] == CONTENT
        with tftp.Peer((host, port)) as own:
            assert own.ask(tftp.rrq("nothing")).peer[0] == host
            own.tid = None


def test_client_on_port_of_other_family(start, root):
    """What listens there over IPv6 is not this client."""
    server = start(root)
    port = server.address("::1")[1]
    try:
        own = tftp.Peer(server.address(), bind=("127.0.0.1", port))
    except OSError:
        pytest.skip("somebody else has that port")
    assert tftp.fetch(server.address(), "short", peer=own)[0] == CONTENT[:700]
    own.socket.close()


def test_single_port(start, root):
    """Everything from the listening port, for NAT and containers."""
    server = start(root, options=("network.transfer_ports=single",))
    with tftp.Peer(server.address()) as own:
        packet = own.ask(tftp.rrq("file", "octet", [("blksize", 1000)]))
        assert packet.peer == server.address()
        assert tftp.take(own, packet)[0] == CONTENT


def test_port_range(start, root):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        first = min(probe.getsockname()[1], 65535 - 40)
    server = start(root, options=("network.transfer_ports=range",
                                  f"network.port_range={first}-{first + 39}"))
    for _ in range(5):
        with tftp.Peer(server.address()) as own:
            packet = own.ask(tftp.rrq("file"))
            assert first <= packet.peer[1] <= first + 39
            assert tftp.take(own, packet)[0] == CONTENT


@pytest.mark.parametrize("port", [69])
def test_silence_for_server_ports(server, port):
    """Another server's port as source: no answer, or two servers might talk for ever."""
    try:
        own = tftp.Peer(server.address(), bind=("127.0.0.77", port))
    except OSError as error:
        pytest.skip(f"port {port} cannot be bound here: {error.strerror}")
    with own:
        own.send(tftp.rrq("file"))
        own.send(tftp.rrq("nothing"))
        assert own.collect(0.4) == []
    server.works()


# ---- Probes ----

@pytest.mark.parametrize("code", [0, 8])
def test_probe(server, peer, code):
    """EDK2 and Raspberry Pi look at the size and say ERROR; then ask again from another port."""
    packet = peer.ask(tftp.rrq("file", "octet", [("tsize", 0), ("blksize", 1468)]))
    assert dict(packet.options)[b"tsize"] == str(len(CONTENT)).encode()
    peer.reply(tftp.error(code, "User aborted the transfer"))
    assert peer.collect(0.4) == []
    own = f":{peer.port}"
    event = server.wait_event("transfer", lambda e: e["peer"].endswith(own))
    assert event["outcome"] == "probe"
    assert tftp.fetch(server.address(), "file", "octet", [("blksize", 1468)])[0] == CONTENT
    peer.tid = None
