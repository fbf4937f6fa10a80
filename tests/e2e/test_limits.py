"""What one address, and all together, may have: at a limit there is silence or ERROR 0, a counter
and a line in the log, and afterwards there is room again."""

import time

import pytest

import conftest
import tftp

CONTENT = conftest.pattern(3000)


@pytest.fixture
def root(tmp_path):
    for name in ("file", "small"):
        (tmp_path / name).write_bytes(CONTENT if name == "file" else b"x")
        (tmp_path / name).chmod(0o644)
    return tmp_path


def answered(clients, raw):
    """How many of these get an answer to it, all asking at once."""
    for own in clients:
        own.send(raw)
    return sum(own.receive(0.1 if own is not clients[0] else 5) is not None for own in clients)


@pytest.fixture
def peers(start, root):
    """begin(options) starts a server for which nobody is trusted; peer(address) is a client."""
    made = []

    def begin(*options):
        server = start(root, options=("network.trusted=[]", "write.enabled=true", *options),
                       listen=("0.0.0.0:0", "[::1]:0"))

        def peer(source="127.0.0.1"):
            port = [port for own, port in server.addresses if (":" in own) == (":" in source)][0]
            host = "::1" if ":" in source else "127.0.0.1"
            made.append(tftp.Peer((host, port), bind=(source, 0)))
            return made[-1]

        return server, peer

    yield begin
    for peer in made:
        peer.socket.close()


def hold(peer, raw):
    """Begins a transfer and leaves it half way, proven: the first answer."""
    packet = peer.ask(raw)
    if packet.opcode == tftp.DATA:
        peer.reply(tftp.ack(1))
        peer.receive()
    return packet


@pytest.mark.parametrize("told", ["silent", "busy"])
def test_transfers_of_one_address(peers, told):
    server, peer = peers("limits.transfers_per_address=2", f"limits.when_full={told}")
    first = [peer() for _ in range(2)]
    for own in first:
        assert hold(own, tftp.rrq("file")).opcode == tftp.DATA
    third = peer()
    third.send(tftp.rrq("file"))
    packet = third.receive(0.3 if told == "silent" else 5)
    if told == "silent":
        assert packet is None
    else:
        assert (packet.opcode, packet.code) == (tftp.ERROR, 0) and "busy" in packet.text
        assert len(packet.raw) <= 64
    assert tftp.fetch(peer("127.0.0.2").address, "file", peer=peer("127.0.0.2"))[0] == CONTENT
    first[0].reply(tftp.error(0))
    server.wait_event("transfer", lambda e: e["outcome"] == "closed")
    for _ in range(100):  # the place is free a moment after the line
        third.send(tftp.rrq("file"))
        packet = third.receive(0.1)
        if packet is not None and packet.opcode == tftp.DATA:
            break
    assert third.tid == packet.peer or told == "busy"
    third.tid = packet.peer
    assert tftp.take(third, packet)[0] == CONTENT
    assert server.wait_event("limited")["limit"] == "transfers_per_address"
    total = server.counters()
    assert total["requests_busy_total"] == total["requests_busy_address_total"] >= 1


def test_uploads_in_parallel(peers, root):
    server, peer = peers("limits.uploads_max=1", "limits.when_full=busy")
    one, two = peer(), peer("127.0.0.2")
    assert one.ask(tftp.wrq("a")).opcode == tftp.ACK
    refused = two.ask(tftp.wrq("b"))
    assert (refused.opcode, refused.code) == (tftp.ERROR, 0)
    assert two.ask(tftp.rrq("small")).opcode == tftp.DATA  # reading is not writing
    two.reply(tftp.ack(1))
    one.reply(tftp.data(1, b"end"))
    assert one.receive().block == 1
    # Complete it has no place any more, although it would still repeat its final ACK.
    assert two.ask(tftp.wrq("b")).opcode == tftp.ACK
    one.collect(0.1)  # what comes at once is no repetition
    one.reply(tftp.data(1, b"end"))
    assert one.receive().block == 1
    two.reply(tftp.data(1, b"end"))
    assert two.receive().block == 1
    assert (root / "b").read_bytes() == b"end"
    assert server.counters()["requests_busy_uploads_total"] >= 1


def test_upload_bytes_per_day(peers, root):
    """What is announced is refused at once, what is not at the block that is too much; neither
    leaves anything, and an upload that failed does not count."""
    server, peer = peers("write.bytes_per_day=5000", "write.allow_overwrite=true")
    address = peer().address
    refused = tftp.store(address, "a", CONTENT * 2, options=[("tsize", 6000)])
    assert (refused.opcode, refused.code) == (tftp.ERROR, tftp.E_DISK_FULL)
    refused = tftp.store(address, "a", CONTENT * 2)
    assert (refused.opcode, refused.code) == (tftp.ERROR, tftp.E_DISK_FULL)
    assert tftp.store(address, "a", CONTENT) is None
    refused = tftp.store(address, "b", CONTENT)
    assert (refused.opcode, refused.code) == (tftp.ERROR, tftp.E_DISK_FULL)
    assert tftp.store(address, "c", CONTENT[:1500]) is None
    assert sorted(p.name for p in root.iterdir()) == ["a", "c", "file", "small"]
    assert server.counters()["limited_upload_bytes_total"] == 3
    event = server.wait_event("transfer", lambda e: e["outcome"] == "denied")
    assert event["reason"] == "EDQUOT"


def test_requests_of_one_address(peers):
    """More than the allowance is met with silence; others, and the next /64, go on."""
    server, peer = peers("limits.requests_per_address=1")
    count = answered([peer() for _ in range(30)], tftp.rrq("missing"))
    assert 10 <= count <= 13  # ten seconds' worth, and what came back meanwhile
    assert tftp.fetch(peer("127.0.0.2").address, "file", peer=peer("127.0.0.2"))[0] == CONTENT
    assert tftp.fetch(peer("::1").address, "file", peer=peer("::1"))[0] == CONTENT
    assert server.wait_event("limited")["limit"] == "requests_per_address"
    assert server.counters()["limited_requests_total"] >= 17


@pytest.mark.parametrize("factor,least,most", [(3, 30, 39), (0, 60, 60)])
def test_trusted_networks_have_more(peers, factor, least, most):
    """limits.trusted_factor: so many times the limits of an address, or none."""
    _, peer = peers("limits.requests_per_address=1", "network.trusted=['127.0.0.2/32']",
                    f"limits.trusted_factor={factor}")
    assert 10 <= answered([peer() for _ in range(30)], tftp.rrq("missing")) <= 13
    trusted = [peer("127.0.0.2") for _ in range(60)]
    assert least <= answered(trusted, tftp.rrq("missing")) <= most


def test_transfers_in_all(peers):
    """limits.transfers_max, with clients that have answered: nobody gives way."""
    server, peer = peers("limits.transfers_max=2", "limits.when_full=busy", "performance.workers=1")
    for n in (1, 2):
        assert hold(peer(f"127.0.0.{n}"), tftp.rrq("file")).opcode == tftp.DATA
    refused = peer("127.0.0.3").ask(tftp.rrq("file"))
    assert (refused.opcode, refused.code) == (tftp.ERROR, 0) and "busy" in refused.text
    total = server.counters()
    assert (total["requests_busy_total"], total["requests_busy_address_total"]) == (1, 0)


def when_there_is_room(own, raw, tries=50):
    """The answer to a client that comes back as long as the server is busy."""
    for _ in range(tries):
        packet = own.ask(raw)
        if packet.opcode != tftp.ERROR:
            return packet
        assert "busy" in packet.text
        own.collect(0.1)
    raise AssertionError("the server stays busy")


def test_a_final_ack_has_time_to_arrive(peers):
    """A newcomer does not push out an upload in the moment that it is stored."""
    server, peer = peers("limits.transfers_max=1", "limits.when_full=busy", "performance.workers=1")
    first, second = peer(), peer()
    assert first.ask(tftp.wrq("a")).opcode == tftp.ACK
    began = time.monotonic()
    first.reply(tftp.data(1, b"end"))
    assert first.receive().block == 1
    assert when_there_is_room(second, tftp.rrq("file")).opcode == tftp.DATA
    assert time.monotonic() - began >= 0.2


def test_stored_uploads_give_way(peers, root):
    """They count for no limit: what they stay for, a final ACK that was lost, is rare. As long as
    there is room it is repeated."""
    server, peer = peers("limits.transfers_max=2", "limits.transfers_per_address=2",
                         "limits.when_full=busy", "performance.workers=1")
    for name in ("a", "b", "c"):
        own = peer()
        assert when_there_is_room(own, tftp.wrq(name)).opcode == tftp.ACK
        own.reply(tftp.data(1, b"end"))
        assert own.receive().block == 1
        server.wait_event("transfer", lambda e, name=name: e["file"] == name)
    own.collect(0.1)  # what comes at once is no repetition
    own.reply(tftp.data(1, b"end"))
    assert own.receive().block == 1
    assert all((root / name).read_bytes() == b"end" for name in ("a", "b", "c"))
    for _ in range(2):
        own = peer()
        assert when_there_is_room(own, tftp.rrq("file")).opcode == tftp.DATA
        own.reply(tftp.ack(1))
        assert own.receive().block == 2
    refused = peer().ask(tftp.rrq("file"))
    assert (refused.opcode, refused.code) == (tftp.ERROR, 0)
    assert server.counters()["transfers_evicted_total"] == 0


def test_free_space_floor(peers, root):
    """write.free_space_min: nothing is stored below it, announced or not."""
    server, peer = peers(f"write.free_space_min={1 << 62}")
    for options in ((), [("tsize", 3000)]):
        refused = tftp.store(peer().address, "a", CONTENT, options=options)
        assert (refused.opcode, refused.code) == (tftp.ERROR, tftp.E_DISK_FULL)
    assert sorted(p.name for p in root.iterdir()) == ["file", "small"]
    assert server.counters()["transfers_error_total"] == 2


def test_unproven_bytes_come_back(peers):
    """What a client draws before it has answered is charged only until then: thousands of genuine
    transfers fit an allowance of three."""
    server, peer = peers("limits.unproven_bytes_per_address=160", "limits.unproven_bytes=160")
    for _ in range(200):
        own = peer()
        assert tftp.fetch(own.address, "small", peer=own)[0] == b"x"
        own.socket.close()
    assert server.counters()["limited_unproven_total"] == 0
    silent = [peer() for _ in range(10)]
    for own in silent:
        own.send(tftp.rrq("file"))
    answered = [own for own in silent if own.receive(0.3)]
    assert 2 <= len(answered) <= 4
    assert server.counters()["limited_unproven_total"] >= 6
    for own in answered:
        own.reply(tftp.ack(1))
        assert own.receive().block == 2
    own = peer()
    assert tftp.fetch(own.address, "file", peer=own)[0] == CONTENT


def test_a_boot_storm_behind_one_address(start, tmp_path):
    """A thousand machines behind one untrusted address, all at once, each with the many small
    requests of a boot loader: with the limits as they come, nobody is held back."""
    for n in range(20):
        (tmp_path / f"f{n}").write_bytes(bytes([n]) * (1 + n * 40))
        (tmp_path / f"f{n}").chmod(0o644)
    server = start(tmp_path, options=("network.trusted=[]", "log.level=notice"))
    clients = [tftp.Peer(server.address()) for _ in range(1000)]
    try:
        for turn in range(5):
            for own in clients:
                own.tid = None
                own.send(tftp.rrq(f"pxelinux.cfg/{turn}"))
            for own in clients:
                packet = own.receive()
                assert (packet.opcode, packet.code) == (tftp.ERROR, tftp.E_NOT_FOUND)
            for own in clients:
                own.tid = None
                own.send(tftp.rrq(f"f{turn}"))
            for own in clients:
                packet = own.receive()
                assert packet.payload == bytes([turn]) * (1 + turn * 40)
                own.reply(tftp.ack(1))
    finally:
        for own in clients:
            own.socket.close()
    assert server.events("limited") == []


def test_windows_of_strangers(peers):
    """Not trusted, a client gets no window that would be worth guessing a port for."""
    server, peer = peers("protocol.clamp_to_mtu=false")
    packet = peer().ask(tftp.rrq("file", options=[("blksize", 8192), ("windowsize", 64)]))
    assert dict(packet.options) == {b"blksize": b"8192", b"windowsize": b"12"}
    assert server.counters()["requests_read_total"] == 1


@pytest.mark.parametrize("options,words", [
    (("network.transfer_ports=single",), 'network.transfer_ports = \\"single\\"'),
    (("network.transfer_ports=shared",), 'network.transfer_ports = \\"shared\\"'),
    (("network.transfer_ports=range", "network.port_range=20000-30000"), "fewer than 16384 ports"),
    (("network.transfer_ports=range", "network.port_range=20000-40000"), None),
    ((), None),
])
def test_ports_that_can_be_guessed(start, root, options, words):
    """Said at the start, where an ACK could be forged."""
    server = start(root, options=options)
    server.works()
    said = [line for line in server.lines if '"level":"warning"' in line and 'port' in line]
    assert len(said) == (words is not None) and all(words in line for line in said), said


# ---- What is counted ----

def test_every_refusal_is_counted(start, tmp_path):
    """Each kind of refusal has a counter, which goes up by one for it, and no other."""
    for name, mode in (("file", 0o644), ("private", 0o640), ("secret", 0o644), ("hush", 0o644)):
        (tmp_path / name).write_bytes(CONTENT)
        (tmp_path / name).chmod(mode)
    server = start(tmp_path, options=(
        "performance.workers=1", "log.level=notice", "network.source_port_min=1024",
        "write.enabled=true", "write.allowed_patterns=['up-*', 'file']", "write.max_size=1000",
        "access.rules=['deny read * secret', 'ignore read * hush']"))
    twice = [("blksize", 600), ("blksize", 700)]
    silence = None
    rows = (
        (tftp.rrq("missing"), tftp.E_NOT_FOUND, "requests_not_found_total"),
        (tftp.rrq("private"), tftp.E_ACCESS, "requests_denied_total"),
        (tftp.rrq("../file"), tftp.E_ACCESS, "requests_denied_total"),
        (tftp.wrq("elsewhere"), tftp.E_ACCESS, "requests_denied_total"),
        (tftp.wrq("file"), tftp.E_EXISTS, "requests_denied_total"),
        (tftp.wrq("up-1", "octet", [("tsize", 2000)]), tftp.E_DISK_FULL, "requests_denied_total"),
        (tftp.rrq("secret"), tftp.E_ACCESS, "access_denied_total requests_denied_total"),
        (tftp.rrq("hush"), silence, "access_ignored_total"),
        (tftp.rrq("file", "mail"), tftp.E_ILLEGAL, "requests_malformed_total"),
        (b"\0\1file", tftp.E_ILLEGAL, "requests_malformed_total"),
        (tftp.wrq("up-2", "octet", twice), 8, "transfers_error_total"),
        (tftp.rrq("file", "octet", twice), 8, "transfers_error_total"),
        (tftp.ack(1), silence, "listen_ignored_total"),
    )
    refusals = {name for _, _, names in rows for name in names.split()} | {
        "requests_busy_total", "limited_requests_total", "limited_unproven_total",
        "listen_bad_source_total", "unknown_tid_total", "transfers_error_total"}
    for raw, code, names in rows:
        before = server.counters()
        with tftp.Peer(server.address()) as own:
            own.send(raw)
            packet = own.receive(0.1 if code is silence else 5)
        assert (packet and packet.code) == code, (raw, packet)
        after = server.counters()
        changed = {name: after[name] - before[name] for name in refusals
                   if after[name] != before[name]}
        assert changed == dict.fromkeys(names.split(), 1), (raw, changed)
