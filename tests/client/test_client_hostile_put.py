"""The client's uploads to broken and hostile servers: each says exactly what the test wants."""

import pytest

import tftp
from conftest import pattern
from scripted import Scripted
from test_client_hostile import OK, PROTOCOL, REFUSED, SERVER_FULL, TIMEOUT, UNCONFIRMED

pytestmark = pytest.mark.sanitize


@pytest.fixture
def upload(client):
    """upload(script, content, options): the file goes to a scripted server; what was said, and the
    DATA packets that came there."""
    def run(script, content, *options):
        (client.folder / "up").write_bytes(content)
        with Scripted(script) as server:
            done = client("put", *options, "up", server.target("up"))
            done.data = server.received(tftp.DATA)
            done.requests = server.requests
        assert (client.folder / "up").read_bytes() == content
        return done

    return run


def test_C01_never_answers(upload):
    done = upload(lambda c: None, b"x", "--retries", "0", "--no-options")
    assert done.returncode == TIMEOUT and "no answer" in done.text, done.text
    assert len(done.requests) == 1 and not done.data


def test_C02_stops_in_the_middle(upload):
    def script(c):
        c.send(tftp.ack(0))
        c.expect(tftp.DATA, 1)
        c.send(tftp.ack(1))
        c.expect(tftp.DATA, 2)

    done = upload(script, b"x" * 5000, "--retries", "0")
    assert done.returncode == TIMEOUT and "silent after 512 bytes" in done.text, done.text


def test_C03_withholds_the_final_ack(upload):
    def script(c):
        c.send(tftp.ack(0))
        c.expect(tftp.DATA, 1)
        c.send(tftp.ack(1))
        while c.receive(3):
            pass

    done = upload(script, b"y" * 700, "--retries", "0")
    assert done.returncode == UNCONFIRMED, done.text
    assert "never confirmed" in done.text
    assert len([p for p in done.data if p.block == 2]) > 2


@pytest.mark.parametrize("code", [0, 3, 99])
def test_C05_error_in_the_middle(upload, code):
    def script(c):
        c.send(tftp.ack(0))
        c.expect(tftp.DATA, 1)
        c.send(tftp.error(code, b"no more"))

    done = upload(script, b"x" * 5000)
    assert done.returncode == (SERVER_FULL if code == 3 else REFUSED), done.text
    assert f"no more (error {code}" in done.text and len(done.data) == 1


def test_C06_duplicates_the_final_ack(upload):
    def script(c):
        c.send(tftp.ack(0))
        c.expect(tftp.DATA, 1)
        for _ in range(10):
            c.send(tftp.ack(1))

    done = upload(script, b"y" * 300)
    assert done.returncode == OK, done.text
    assert len(done.data) == 1


def test_C07_duplicates_acks(upload):
    """No block is sent twice because of it."""
    def script(c):
        for _ in range(3):
            c.send(tftp.ack(0))
        for n in range(1, 11):
            c.expect(tftp.DATA, n)
            for _ in range(3):
                c.send(tftp.ack(n))

    done = upload(script, pattern(5000))
    assert done.returncode == OK, done.text
    assert [p.block for p in done.data] == list(range(1, 11))


def test_C08_skips_an_ack(upload):
    def script(c):
        c.send(tftp.ack(0))
        c.expect(tftp.DATA, 1)
        c.expect(tftp.DATA, 1)  # the ACK was lost, it comes again
        c.send(tftp.ack(1))
        c.expect(tftp.DATA, 2)
        c.send(tftp.ack(2))
        c.expect(tftp.DATA, 3)
        c.send(tftp.ack(3))

    assert upload(script, pattern(1500)).returncode == OK


def take_all(c, content, base):
    """The rest of an upload in windows of four, whatever is repeated."""
    got = content[:base * 512]
    while True:
        packet = c.receive()
        assert packet is not None and packet.opcode == tftp.DATA, repr(packet)
        if packet.block != base + 1:
            continue
        got += packet.payload
        base += 1
        if base % 4 == 0 or len(packet.payload) < 512:
            c.send(tftp.ack(base))
        if len(packet.payload) < 512:
            return got


def test_C09_reorders_acks(upload):
    """An ACK of the window before comes after this one's."""
    content = pattern(12 * 512 + 7)
    arrived = []

    def script(c):
        c.oack(windowsize=4, blksize=512)
        for n in range(1, 5):
            c.expect(tftp.DATA, n)
        c.send(tftp.ack(4))
        c.send(tftp.ack(2))
        c.send(tftp.ack(0))
        arrived.append(take_all(c, content, 4))

    done = upload(script, content, "-b", "512", "-w", "4")
    assert done.returncode == OK, done.text
    assert arrived == [content]


@pytest.mark.parametrize("window", [1, 4])
def test_C10_wrong_block_numbers(upload, window):
    """ACKs of blocks that were not sent."""
    content = pattern(12 * 512 + 7)
    arrived = []

    def script(c):
        if window > 1:
            c.oack(windowsize=4, blksize=512)
        else:
            c.send(tftp.ack(0))
        c.expect(tftp.DATA, 1)
        for wrong in (7, 40000, 65535):
            c.send(tftp.ack(wrong))
        if window > 1:
            for n in (2, 3, 4):
                c.expect(tftp.DATA, n)
            c.send(tftp.ack(4))
            arrived.append(take_all(c, content, 4))
            return
        got = content[:512]
        for n in range(1, 14):
            c.send(tftp.ack(n))
            if n < 13:
                got += c.expect(tftp.DATA, n + 1).payload
        arrived.append(got)

    done = upload(script, content, "-b", "512", "-w", str(window))
    assert done.returncode == OK, done.text
    assert arrived == [content]


@pytest.mark.parametrize("opcode", [0, 9, 65535])
def test_C13_unknown_opcode(upload, opcode):
    """Ignored."""
    junk = opcode.to_bytes(2, "big") + b"\0\1" + b"x" * 20

    def script(c):
        c.send(junk)
        c.send(tftp.ack(0))
        c.expect(tftp.DATA, 1)
        c.send(junk)
        c.send(tftp.ack(1))

    assert upload(script, b"x" * 100).returncode == OK


def test_C15_wrong_tid(upload):
    """ERROR 5 to the other port, and the transfer goes on."""
    def script(c):
        other = c.server.open_port()
        c.send(tftp.ack(0))
        c.expect(tftp.DATA, 1)
        c.send(tftp.ack(1), port=other)
        packet = c.receive(port=other)
        assert packet.opcode == tftp.ERROR and packet.code == tftp.E_UNKNOWN_TID, repr(packet)
        c.send(tftp.error(3, b"evil"), port=other)  # ends nothing and is not answered
        c.send(tftp.ack(1))
        c.expect(tftp.DATA, 2)
        c.send(tftp.ack(2))
        assert c.receive(0.2, port=other) is None

    done = upload(script, pattern(1000))
    assert done.returncode == OK, done.text
    assert [p.block for p in done.data] == [1, 2]


def test_C18_short_packets(upload):
    def script(c):
        for raw in (b"", b"\0", b"\0\4", b"\0\4\0", b"\0\5"):
            c.send(raw)
        c.send(tftp.ack(0))
        c.expect(tftp.DATA, 1)
        for raw in (b"", b"\0", b"\0\4", b"\0\4\0", b"\0\6"):
            c.send(raw)
        c.send(tftp.ack(1))

    assert upload(script, b"x" * 100).returncode == OK


def test_C20_blksize_not_granted(upload):
    """Asked for 8, not granted: 512."""
    def script(c):
        c.oack(tsize=600)
        assert len(c.expect(tftp.DATA, 1).payload) == 512
        c.send(tftp.ack(1))
        assert len(c.expect(tftp.DATA, 2).payload) == 88
        c.send(tftp.ack(2))

    assert upload(script, b"q" * 600, "--blksize", "8").returncode == OK


@pytest.mark.parametrize("options", [{"blksize": 1025}, {"timeout": 5}, {"windowsize": 0},
                                     {"blksize": 7}, {"foo_blksize_bar": 512}])
def test_C21_bad_oack(upload, options):
    """ERROR 8, and nothing of the file is sent."""
    def script(c):
        c.oack(**options)
        packet = c.receive()
        assert packet.opcode == tftp.ERROR and packet.code == tftp.E_OPTION, repr(packet)

    done = upload(script, b"secret", "--blksize", "1024", "--windowsize", "4")
    assert done.returncode == PROTOCOL, done.text
    assert not done.data and [bool(r.options) for r in done.requests] == [True, False]
