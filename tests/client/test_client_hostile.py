"""The client against broken and hostile servers: each says exactly what the test wants."""

import errno
import json
import os
import socket
import struct
import subprocess
import time

import pytest

import tftp
from conftest import pattern
from scripted import Scripted, oack

pytestmark = pytest.mark.sanitize

# Exit codes of ringtftp(1).
OK, USAGE, NOT_FOUND, DENIED, TIMEOUT, DISK, PROTOCOL = 0, 2, 3, 4, 5, 6, 7
SERVER_FULL, EXISTS, UNCONFIRMED, MISMATCH, TOO_LARGE = 8, 9, 10, 11, 12
UNREACHABLE, REFUSED = 13, 14


def plain(content):
    """A script: an RFC 1350 server."""
    return lambda c: c.serve(content)


def get(client, server, *options, name="file"):
    return client("get", *options, server.target(name))


def fails(client, done, code, *words):
    """The exit code, the sentence, and nothing left behind."""
    assert done.returncode == code, done.text
    for word in words:
        assert word in done.text, done.text
    assert done.text.startswith("ringtftp: ")
    assert not client.files()


def test_C01_never_answers(client):
    with Scripted(lambda c: None) as server:
        begun = time.monotonic()
        fails(client, get(client, server, "--retries", "1", "--no-options"), TIMEOUT, "no answer")
        assert 2.5 < time.monotonic() - begun < 8
        assert len(server.requests) == 2


def test_C01_pauses_grow(client):
    """The pauses grow, and the last requests go without options."""
    with Scripted(lambda c: None) as server:
        fails(client, get(client, server, "--retries", "3"), TIMEOUT)
        assert len(server.requests) == 4
        assert [bool(r.options) for r in server.requests] == [True, True, False, False]


def test_no_answer_to_options(client):
    """A server that drops requests with options gets one without."""
    content = pattern(3000)
    with Scripted(lambda c: c.request.options or c.serve(content)) as server:
        done = get(client, server, "--retries", "3")
        assert done.returncode == OK, done.text
    assert (client.folder / "file").read_bytes() == content


def test_C02_stops_in_the_middle(client):
    def script(c):
        c.send(tftp.data(1, b"x" * 512))
        c.expect(tftp.ACK, 1)

    with Scripted(script) as server:
        fails(client, get(client, server, "--retries", "0"), TIMEOUT, "silent after 512 bytes")


def refuses(client, code, status):
    with Scripted(lambda c: c.send(tftp.error(code, b"no\x1b[2J%n%s\n"))) as server:
        fails(client, get(client, server), status, rf"no\x1b[2J%n%s\x0a (error {code}")


@pytest.mark.parametrize("code,status", [(1, NOT_FOUND), (2, DENIED), (3, SERVER_FULL),
                                         (4, REFUSED), (5, REFUSED), (6, EXISTS), (7, DENIED),
                                         (8, REFUSED), (0, REFUSED)])
def test_C04_error_to_the_request(client, code, status):
    """An exit code for each, and the text escaped."""
    refuses(client, code, status)


@pytest.mark.parametrize("code", [9, 99, 65535])
def test_C14_unknown_error_code(client, code):
    """Shown as a number."""
    refuses(client, code, REFUSED)


@pytest.mark.parametrize("raw", [b"\0\5\0\1", b"\0\5\0\1no end", b"\0\5\0\1" + b"A" * 60000,
                                 b"\0\5\0\1" + b"\xff\x1b" * 100 + b"\0"])
def test_C24_error_texts(client, raw):
    """Cut and escaped."""
    with Scripted(lambda c: c.send(raw)) as server:
        done = get(client, server)
        fails(client, done, NOT_FOUND, "the server says")
        assert len(done.stderr) < 700
        assert b"\x1b" not in done.stderr and b"\xff" not in done.stderr


def test_C05_error_in_the_middle(client):
    def script(c):
        c.send(tftp.data(1, b"x" * 512))
        c.expect(tftp.ACK, 1)
        c.send(tftp.error(0, b"disk died"))

    with Scripted(script) as server:
        fails(client, get(client, server), REFUSED, "disk died")


def test_C06_duplicates_data(client):
    """Every packet twice, the last ten times."""
    content = pattern(5000)

    def script(c):
        for n in range(1, 11):
            for _ in range(10 if n == 10 else 2):
                c.send(tftp.data(n, content[(n - 1) * 512:n * 512]))
            c.expect(tftp.ACK, n)

    with Scripted(script) as server:
        assert get(client, server).returncode == OK
    assert (client.folder / "file").read_bytes() == content


@pytest.fixture
def windows(client):
    """windows(order): a download of five blocks in windows of four, of which the server first sends
    those of `order`; from then on what is asked for. The file must be whole."""
    content = pattern(4 * 512 + 100)
    blocks = [content[i:i + 512] for i in range(0, len(content), 512)]

    def run(order):
        def script(c):
            c.oack(windowsize=4)
            c.expect(tftp.ACK, 0)
            for n in order:
                c.send(tftp.data(n, blocks[n - 1]))
            base = 0
            while base < 5:
                packet = c.receive()
                assert packet is not None and packet.opcode == tftp.ACK, repr(packet)
                base = packet.block
                for n in range(base + 1, min(base + 5, 6)):
                    c.send(tftp.data(n, blocks[n - 1]))

        with Scripted(script) as server:
            assert get(client, server).returncode == OK
        assert (client.folder / "file").read_bytes() == content

    return run


@pytest.mark.parametrize("order", [(1, 2, 4), (2, 3, 4), (1, 3)])
def test_C08_skips_data(windows, order):
    windows(order)


@pytest.mark.parametrize("order", [(2, 1, 3, 4), (4, 3, 2, 1), (2, 1, 4)])
def test_C09_reorders_data(windows, order):
    windows(order)


def test_C10_wrong_block_numbers(client):
    content = pattern(1000)

    def script(c):
        c.send(tftp.data(0, b"z" * 512))
        c.send(tftp.data(7, b"z" * 512))
        c.send(tftp.data(1, content[:512]))
        c.expect(tftp.ACK, 1)
        c.send(tftp.data(40000, b"z" * 512))
        c.send(tftp.data(3, b"z"))
        c.send(tftp.data(2, content[512:]))
        c.expect(tftp.ACK, 2)

    with Scripted(script) as server:
        assert get(client, server).returncode == OK
    assert (client.folder / "file").read_bytes() == content


@pytest.mark.parametrize("blksize,length", [(512, 513), (512, 1500), (512, 65503), (8, 9),
                                            (8, 512), (8, 65503)])
def test_C11_block_too_long(client, blksize, length):
    """ERROR 4, no overflow."""
    def script(c):
        if blksize != 512:
            c.oack(blksize=blksize)
            c.expect(tftp.ACK, 0)
        c.send(tftp.data(1, b"L" * length))
        packet = c.receive()
        assert packet.opcode == tftp.ERROR and packet.code == tftp.E_ILLEGAL, repr(packet)

    with Scripted(script) as server:
        fails(client, get(client, server, "--blksize", blksize), PROTOCOL, "longer than agreed")


def test_C12_ends_early(client):
    """Fewer bytes than announced."""
    def script(c):
        c.oack(tsize=1000)
        c.expect(tftp.ACK, 0)
        c.send(tftp.data(1, b"x" * 100))
        packet = c.receive()
        assert packet.opcode == tftp.ERROR, repr(packet)

    with Scripted(script) as server:
        fails(client, get(client, server), MISMATCH, "announced 1000 bytes and sent 100")


@pytest.mark.parametrize("announced", [1, 100, 511, 513, 1 << 40])
def test_C30_not_what_was_announced(client, announced):
    """More or fewer bytes than its tsize."""
    def script(c):
        c.oack(tsize=announced)
        c.expect(tftp.ACK, 0)
        c.send(tftp.data(1, b"x" * 512))
        if announced > 512:
            c.expect(tftp.ACK, 1)
            c.send(tftp.data(2))
        packet = c.receive()
        assert packet.opcode == tftp.ERROR, repr(packet)

    with Scripted(script) as server:
        fails(client, get(client, server), MISMATCH, f"announced {announced} bytes")


@pytest.mark.parametrize("opcode", [0, 9, 65535])
def test_C13_unknown_opcode(client, opcode):
    """Ignored, then timeout."""
    with Scripted(lambda c: c.send(struct.pack("!HH", opcode, 1) + b"x" * 20)) as server:
        fails(client, get(client, server, "--retries", "0"), TIMEOUT)


def test_C13_unknown_opcode_then_good(client):
    def script(c):
        c.send(struct.pack("!HH", 9, 1) + b"x" * 512)
        c.serve(b"good")

    with Scripted(script) as server:
        assert get(client, server).returncode == OK
    assert (client.folder / "file").read_bytes() == b"good"


def test_C15_wrong_tid(client):
    """ERROR 5 to the other port, and the transfer goes on."""
    content = pattern(1000)

    def script(c):
        other = c.server.open_port()
        c.send(tftp.data(1, content[:512]))
        c.expect(tftp.ACK, 1)
        c.send(tftp.data(2, b"evil"), port=other)
        packet = c.receive(port=other)
        assert packet.opcode == tftp.ERROR and packet.code == tftp.E_UNKNOWN_TID, repr(packet)
        c.send(tftp.error(1, b"evil"), port=other)  # ends nothing and is not answered
        c.send(tftp.data(2, content[512:]))
        c.expect(tftp.ACK, 2)
        assert c.receive(0.2, port=other) is None

    with Scripted(script) as server:
        assert get(client, server).returncode == OK
    assert (client.folder / "file").read_bytes() == content


def test_C15_two_servers_answer(client):
    """The first wins."""
    def script(c):
        other = c.server.open_port()
        c.send(tftp.data(1, b"first"))
        c.send(tftp.data(1, b"second"), port=other)
        c.expect(tftp.ACK, 1)

    with Scripted(script) as server:
        assert get(client, server).returncode == OK
    assert (client.folder / "file").read_bytes() == b"first"


def test_C16_answers_late(client):
    """Later than the timeout; each packet is still sent once for each timeout only."""
    content = pattern(1400)

    def script(c):
        time.sleep(1.4)  # the server is slow, that is the case
        for n in (1, 2, 3):
            c.send(tftp.data(n, content[(n - 1) * 512:n * 512]))
            c.expect(tftp.ACK, n)
            time.sleep(0.15)

    with Scripted(script) as server:
        assert get(client, server, "--no-options").returncode == OK
        assert len(server.requests) == 2
    assert (client.folder / "file").read_bytes() == content


def test_C17_flipped_bits(client):
    """TFTP cannot see it, --sha256 does."""
    wanted = "c12834f1031f6497214f27d4432f26517ad494156cb88d512bdb1dc4b57db2d7"  # of 100 z
    def script(c):
        c.send(tftp.data(1, b"z" * 99 + b"y"))
        c.receive()

    with Scripted(script) as server:
        assert get(client, server).returncode == OK
        (client.folder / "file").unlink()
        fails(client, get(client, server, "--sha256", wanted), MISMATCH, "SHA-256")


def test_C17_sha256_agrees(client):
    import hashlib
    content = pattern(100000)
    with Scripted(plain(content)) as server:
        done = get(client, server, "--sha256", hashlib.sha256(content).hexdigest())
        assert done.returncode == OK, done.text


def test_C18_short_packets(client):
    def script(c):
        for raw in (b"", b"\0", b"\0\3", b"\0\3\0", b"\0\5", b"\0\4\0"):
            c.send(raw)
        c.send(tftp.data(1, b"x" * 512))
        c.expect(tftp.ACK, 1)
        for raw in (b"", b"\0", b"\0\3", b"\0\3\0", b"\0\6"):
            c.send(raw)
        c.send(tftp.data(2, b"y"))
        c.expect(tftp.ACK, 2)

    with Scripted(script) as server:
        assert get(client, server).returncode == OK
    assert (client.folder / "file").read_bytes() == b"x" * 512 + b"y"


def test_C19_burst_without_acks(client):
    """In-order only, and acknowledged as agreed."""
    content = pattern(512 * 300 + 10)

    def script(c):
        for n in range(1, 302):
            c.send(tftp.data(n, content[(n - 1) * 512:n * 512]))
        c.expect(tftp.ACK, 301)

    with Scripted(script) as server:
        assert get(client, server).returncode == OK
    assert (client.folder / "file").read_bytes() == content


def test_C20_blksize_not_granted(client):
    """Asked for 8, not granted: 512."""
    def script(c):
        c.oack(tsize=600)
        c.expect(tftp.ACK, 0)
        c.serve(b"q" * 600)

    with Scripted(script) as server:
        assert get(client, server, "--blksize", "8").returncode == OK
    assert (client.folder / "file").read_bytes() == b"q" * 600


BAD_OACKS = {
    "unrequested": oack(("timeout", 5)),
    "unknown": oack(("rollover", 1)),
    "larger": oack(("blksize", 1025)),
    "repeated": oack(("blksize", 512), ("blksize", 512)),
    "zero": oack(("blksize", 0)),
    "too small": oack(("blksize", 7)),
    "huge": oack(("blksize", 70000)),
    "negative": oack(("blksize", "-1")),
    "no digits": oack(("blksize", "0x200")),
    "empty": oack(("blksize", "")),
    "unterminated": b"\0\6blksize\x00512",
    "no value": b"\0\6blksize\0",
    "window 0": oack(("windowsize", 0)),
    "window larger": oack(("windowsize", 5)),
    "embedded": oack(("foo_blksize_bar", 512)),
    "60 KB": oack(*(("blksize", 512) for _ in range(4800))),
}


@pytest.mark.parametrize("kind", BAD_OACKS)
def test_C21_bad_oack(client, kind):
    """ERROR 8; the second try goes without options, and when that gets one, too: abort."""
    codes = []

    def script(c):
        c.send(BAD_OACKS[kind])
        packet = c.receive()
        codes.append(packet.code if packet.opcode == tftp.ERROR else repr(packet))

    with Scripted(script) as server:
        done = get(client, server, "--blksize", "1024", "--windowsize", "4")
        fails(client, done, PROTOCOL, "not asked for")
        assert [bool(r.options) for r in server.requests] == [True, False]
    assert codes == [tftp.E_OPTION, tftp.E_OPTION]


def test_C21_bad_oack_then_good(client):
    """A server that cannot do options right still gives its file."""
    def script(c):
        if c.request.options:
            c.send(oack(("blksize", 70000)))
        else:
            c.serve(b"good")

    with Scripted(script) as server:
        assert get(client, server).returncode == OK
    assert (client.folder / "file").read_bytes() == b"good"


def test_refuses_options(client):
    """ERROR 8: asked again without, and not again with options for the next file."""
    def script(c):
        if c.request.options:
            c.send(tftp.error(8, b"no options"))
        else:
            c.serve(b"good")

    with Scripted(script) as server:
        done = client("get", "-j", "1", server.target("a"), server.target("b"))
        assert done.returncode == OK, done.text
        assert [bool(r.options) for r in server.requests] == [True, False, False]


def test_grants_windows_it_does_not_send(client):
    """One block for each ACK in spite of windowsize: the client stops waiting for more."""
    content = pattern(20000)

    def script(c):
        window = b"windowsize" in c.request.options
        if window:
            c.oack(windowsize=8)
            c.expect(tftp.ACK, 0)
        n = 1
        while True:
            c.send(tftp.data(n, content[(n - 1) * 512:n * 512]))
            packet = c.receive()
            if packet is None or packet.opcode == tftp.ERROR:
                return
            if packet.block != n:
                continue
            if n * 512 > len(content):
                return
            n += 1

    with Scripted(script) as server:
        assert get(client, server, "--blksize", "512").returncode == OK
        assert len(server.conversations) == 2
    assert (client.folder / "file").read_bytes() == content


def test_large_blocks_never_arrive(client):
    """A path that swallows large packets: smaller blocks are tried."""
    def script(c):
        if c.request.options.get(b"blksize", b"512") == b"512":
            c.oack(tsize=4)
            c.expect(tftp.ACK, 0)
            c.serve(b"good")
        else:
            c.oack(blksize=int(c.request.options[b"blksize"]))

    with Scripted(script) as server:
        done = get(client, server)
        assert done.returncode == OK, done.text
    assert (client.folder / "file").read_bytes() == b"good"


def test_C22_answers_another_question(client):
    """A read answered by ACK, a write by DATA: ERROR 4, nothing sent or written."""
    def script(c):
        c.send(tftp.ack(0) if c.request.opcode == tftp.RRQ else tftp.data(1, b"evil"))
        packet = c.receive()
        assert packet.opcode == tftp.ERROR and packet.code == tftp.E_ILLEGAL, repr(packet)
        assert c.receive(0.3) is None

    with Scripted(script) as server:
        fails(client, get(client, server), PROTOCOL)
        (client.folder / "up").write_bytes(b"secret")
        done = client("put", "up", server.target("up"))
        assert done.returncode == PROTOCOL, done.text
        assert (client.folder / "up").read_bytes() == b"secret"


@pytest.mark.parametrize("length,code", [(1, OK), (200, OK), (503, OK), (504, USAGE), (5000, USAGE)])
def test_C23_long_names(client, length, code):
    """What does not fit a request is refused before anything is sent."""
    with Scripted(plain(b"x")) as server:
        done = client("get", "--no-options", server.target("n" * length), "-o", "out")
        assert done.returncode == code, done.text
        assert len(server.requests) == (1 if code == OK else 0)


def test_C23_long_name_goes_without_options(client):
    with Scripted(plain(b"x")) as server:
        assert client("get", server.target("n" * 495), "-o", "out").returncode == OK
        assert not server.requests[0].options


def without_end(c):
    """DATA until the client has no more room."""
    n = 1
    while True:
        c.send(tftp.data(n, b"x" * 512))
        packet = c.receive()
        if packet is None or packet.opcode == tftp.ERROR:
            assert packet.code == tftp.E_DISK_FULL, repr(packet)
            return
        n += 1


def test_C25_endless_data(client):
    """--max-size ends it with ERROR 3."""
    with Scripted(without_end) as server:
        fails(client, get(client, server, "--max-size", "100K"), TOO_LARGE, "102400")


def test_C25_announced_too_large(client):
    """Refused at once."""
    def script(c):
        c.oack(tsize=1 << 40)
        packet = c.receive()
        while packet.opcode == tftp.ACK:
            packet = c.receive()
        assert packet.opcode == tftp.ERROR and packet.code == tftp.E_DISK_FULL, repr(packet)

    with Scripted(script) as server:
        fails(client, get(client, server, "--max-size", "1G"), TOO_LARGE)


def test_C26_failure_then_success(client):
    """One object, several transfers."""
    def script(c):
        name = c.request.name
        if name == b"bad":
            c.send(tftp.data(1, b"x" * 512))
            c.expect(tftp.ACK, 1)
            c.send(tftp.error(0, b"gone"))
        else:
            c.serve(b"good")

    with Scripted(script) as server:
        done = client("get", "-j", "1", "--json",
                      *(server.target(n) for n in ("bad", "one", "two")))
        assert done.returncode == REFUSED, done.text
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        assert [line["status"] for line in lines[:-1]] == ["refused", "ok", "ok"]
        assert lines[-1]["total"]["ok"] == 2
    assert client.files() == ["one", "two"]


def test_C28_disk_full(client):
    """ERROR 3 to the server, nothing kept. The full disk is a limit on file sizes."""
    limit = 64 * 1024
    with Scripted(without_end) as server:
        done = client("get", "--no-options", server.target(),
                      prefix=("/bin/sh", "-c", f"ulimit -f {limit // 512}; exec \"$0\" \"$@\""))
        fails(client, done, DISK, os.strerror(errno.EFBIG))


def test_output_folder_is_not_there(client):
    with Scripted(plain(b"x")) as server:
        done = get(client, server, "-O", "missing")
        fails(client, done, DISK, "missing")
        assert not server.requests


@pytest.mark.parametrize("option,value", [("--timeout", "0"), ("--timeout", "-1"),
                                          ("--timeout", "1e18"), ("--timeout", "256"),
                                          ("--timeout", "1.5"), ("--timeout", ""),
                                          ("--blksize", "7"), ("--blksize", "65465"),
                                          ("--blksize", "0x200"), ("--windowsize", "0"),
                                          ("--retries", "99999999999999999999"),
                                          ("--jobs", "0"), ("--max-size", "-5"),
                                          ("--max-size", "99999999999T"),
                                          ("--local-port", "0"), ("--local-port", "9-8"),
                                          ("--mode", "mail"), ("--sha256", "12"),
                                          ("--bind", "nowhere")])
def test_C29_bad_values(client, option, value):
    """Refused in words, before anything is sent."""
    done = client("get", f"{option}={value}", "127.0.0.1:1:x")
    assert done.returncode == USAGE
    assert done.text.startswith(f"ringtftp: {option}: ") and done.text.count("\n") == 1


def test_nobody_listens(client):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    fails(client, client("get", f"127.0.0.1:{port}:x"), UNREACHABLE, "nobody listens")


@pytest.mark.skipif(bool(os.environ.get("RINGTFTP_SANITIZED")),
                    reason="the sanitizers' own memory is larger")
def test_memory_stays_small(client):
    """A large file costs no more memory than the buffers."""
    content = b"m" * (24 << 20)
    peak = []

    def peak_kib(pid):
        with open(f"/proc/{pid}/status", encoding="ascii") as status:
            return [int(line.split()[1]) for line in status if line.startswith("VmHWM")][0]

    def last_block(c):
        c.oack(blksize=32768)
        c.expect(tftp.ACK, 0)
        blocks = len(content) // 32768
        for n in range(1, blocks + 1):
            c.send(tftp.data(n, content[:32768]))
            c.expect(tftp.ACK, n)
        peak.append(peak_kib(process.pid))
        c.send(tftp.data(blocks + 1, b""))
        c.expect(tftp.ACK, blocks + 1)

    with Scripted(last_block) as server:
        process = subprocess.Popen(client.command("get", "-b", "32768", "-w", "1",
                                                  server.target()), cwd=client.folder)
        assert process.wait(60) == OK
    assert (client.folder / "file").stat().st_size == len(content)
    assert peak[0] < 16 * 1024
