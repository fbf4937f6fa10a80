"""The log: one line for each transfer, in text and in JSON, safe to read whatever a peer sends."""

import json
import re
import time

import pytest

import conftest
import tftp

pytestmark = pytest.mark.sanitize

CONTENT = conftest.pattern(5000)
FIELDS = {"peer", "dir", "file", "mode", "blksize", "windowsize", "bytes", "ms", "resent",
          "outcome"}


@pytest.fixture
def root(tmp_path):
    (tmp_path / "file").write_bytes(CONTENT)
    (tmp_path / "file").chmod(0o644)
    return tmp_path


def transfers(server):
    """The lines about transfers once the server has ended and nothing more can come."""
    server.stop()
    return server.events("transfer")


def test_read_line(start, root):
    server = start(root)
    with tftp.Peer(server.address()) as own:
        packet = own.ask(tftp.rrq("/file", "octet", [("blksize", 1000), ("windowsize", 2)]))
        assert tftp.take(own, packet)[0] == CONTENT
        port = own.port
    lines = transfers(server)
    assert len(lines) == 1
    event = lines[0]
    assert FIELDS <= set(event)
    assert event["level"] == "info"
    assert event["peer"] == f"127.0.0.1:{port}"
    assert (event["dir"], event["file"], event["mode"]) == ("read", "file", "octet")
    assert (event["blksize"], event["windowsize"], event["bytes"]) == (1000, 2, 5000)
    assert event["resent"] == 0 and event["outcome"] == "ok"
    assert 0 <= float(event["ms"]) < 60_000


def test_write_line(start, root):
    server = start(root, options=("write.enabled=true",))
    assert tftp.store(server.address("::1"), "new", CONTENT, options=[("blksize", 1000)]) is None
    lines = transfers(server)
    assert len(lines) == 1
    event = lines[0]
    assert FIELDS <= set(event)
    assert event["peer"].startswith("[::1]:")
    assert (event["dir"], event["file"], event["bytes"]) == ("write", "new", 5000)
    assert (event["blksize"], event["outcome"]) == (1000, "ok")


def test_netascii_line(start, root):
    server = start(root)
    got, _ = tftp.fetch(server.address(), "file", "netascii")
    event = transfers(server)[0]
    assert (event["mode"], event["bytes"], event["outcome"]) == ("netascii", len(got), "ok")


def test_text_line(start, root):
    """The same as words, name=value, on one line."""
    server = start(root, log_format="text")
    tftp.fetch(server.address(), "file")
    server.stop()
    lines = [line for line in server.lines if " transfer " in line]
    assert len(lines) == 1
    found = dict(re.findall(r"(\w+)=(\S+)", lines[0]))
    assert FIELDS <= set(found)
    assert (found["file"].strip('"'), found["bytes"], found["outcome"]) == ("file", "5000", "ok")


def test_not_found_is_quiet(start, root):
    """The most common answer of a boot server: told, but no warning."""
    server = start(root)
    with tftp.Peer(server.address()) as own:
        assert own.ask(tftp.rrq("pxelinux.cfg/01-aa")).code == tftp.E_NOT_FOUND
    lines = transfers(server)
    assert [(e["outcome"], e["level"], e["file"]) for e in lines] == \
        [("not-found", "info", "pxelinux.cfg/01-aa")]


def test_denied(start, root):
    server = start(root)
    with tftp.Peer(server.address()) as own:
        assert own.ask(tftp.rrq("../etc/passwd")).code == tftp.E_ACCESS
        assert own.ask(tftp.wrq("new")).code == tftp.E_ACCESS
    lines = transfers(server)
    assert [(e["dir"], e["outcome"]) for e in lines] == [("read", "denied"), ("write", "denied")]


@pytest.mark.parametrize("code,first,outcome", [(8, True, "probe"), (0, True, "probe"),
                                                (0, False, "closed"), (3, False, "aborted")])
def test_early_ends(start, root, code, first, outcome):
    """An ERROR after the OACK is a question about the size, ERROR 0 later a change of mind; both
    are normal. Other errors are the client's failure."""
    server = start(root)
    with tftp.Peer(server.address()) as own:
        own.ask(tftp.rrq("file", "octet", [("tsize", 0)]))
        if not first:
            own.reply(tftp.ack(0))
            assert own.receive().block == 1
            own.reply(tftp.ack(1))
            assert own.receive().block == 2
        own.reply(tftp.error(code, "text"))
        event = server.wait_event("transfer")
    assert event["outcome"] == outcome
    assert event["level"] == ("notice" if outcome == "aborted" else "info")
    assert len(transfers(server)) == 1


HOSTILE = [b"\x1b[2J\x1b]0;owned\x07", b"a\nlevel=error fake", b"\r\n", b"\xff\xfe\x80", b'"},{"',
           b"%n%s%x", b"\\", b"\x7f", "\u202e".encode(), b"a b=c", b"x" * 480]


# The longest lines, in which there are no names.
COUNTERS = r'(\S+ notice |\{"ts":"[^"]*","level":"notice","event":")(stats|engines)\b'


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_hostile_names(start, root, log_format):
    """One line for each name, printable ASCII only, whatever the name holds."""
    server = start(root, log_format=log_format)
    with tftp.Peer(server.address()) as own:
        for name in HOSTILE:
            assert own.ask(tftp.rrq(name)).opcode == tftp.ERROR
    server.stop()
    mark = '"event":"transfer"' if log_format == "json" else " transfer peer="
    assert sum(mark in line for line in server.lines) == len(HOSTILE)
    for line in server.lines:
        assert re.fullmatch(r"[ -~]*", line), repr(line)
        assert len(line) < 1000 or re.match(COUNTERS, line)
        if log_format == "json":
            json.loads(line)


def test_level(start, root):
    """Above info the log has no line for a transfer that went well."""
    server = start(root, arguments=("-o", "log.level=notice"))
    tftp.fetch(server.address(), "file")
    with tftp.Peer(server.address()) as own:
        own.ask(tftp.rrq("../x"))
    assert [e["outcome"] for e in transfers(server)] == ["denied"]


def test_every_line_is_json(start, root):
    server = start(root)
    tftp.fetch(server.address(), "file")
    server.stop()
    for line in server.lines:
        event = json.loads(line)
        assert {"ts", "level", "event"} <= set(event)


def test_rate_limit(start, root):
    """More lines than allowed in a second are counted, not written."""
    server = start(root, options=("log.lines_per_second=5",))
    with tftp.Peer(server.address()) as own:
        for n in range(100):
            own.ask(tftp.rrq(f"none{n}"))
    server.stop()
    assert len(server.events("transfer")) < 50


def test_lines_that_were_not_written_are_counted(start, root):
    """log_lines_dropped_total has all that the lines in their place tell."""
    server = start(root, options=("log.lines_per_second=20", "performance.workers=2"))
    end = time.monotonic() + 20
    with tftp.Peer(server.address()) as own:
        while not any("dropped" in line for line in server.lines) and time.monotonic() < end:
            assert own.ask(tftp.rrq("missing")).code == tftp.E_NOT_FOUND
    total = server.counters()["log_lines_dropped_total"]
    told = [event["msg"] for event in server.events("message") if "dropped" in event["msg"]]
    assert total > 0 and total == sum(int(text.split()[0]) for text in told), told
