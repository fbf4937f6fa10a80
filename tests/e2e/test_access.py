"""access.rules: who may read or write what, decided before anything is opened."""

import signal
import socket

import pytest

import conftest
import tftp

pytestmark = pytest.mark.sanitize

CONTENT = conftest.pattern(700)


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "root"
    (folder / "secret").mkdir(parents=True)
    for name in ("file", "secret/key"):
        (folder / name).write_bytes(CONTENT)
        (folder / name).chmod(0o644)
    return folder


def begin(start, root, *rules, options=(), listen=("0.0.0.0:0", "[::1]:0"), **rest):
    written = ", ".join(f'"{rule}"' for rule in rules)
    return start(root, options=(f"access.rules=[{written}]", "write.enabled=true", *options),
                 listen=listen, **rest)


def ask(server, raw, source="127.0.0.1", timeout=5.0):
    """The first answer to a request from this address, or None; the transfer is ended."""
    host = "::1" if ":" in source else "127.0.0.1"
    port = [port for own, port in server.addresses if (":" in own) == (host == "::1")][0]
    with tftp.Peer((host, port), bind=(source, 0)) as peer:
        peer.send(raw)
        packet = peer.receive(timeout)
        if packet is not None and packet.opcode != tftp.ERROR:
            peer.reply(tftp.error(0))
        return packet


def denied(packet):
    return (packet.opcode, packet.code) == (tftp.ERROR, tftp.E_ACCESS)


def test_first_match_decides(start, root):
    server = begin(start, root, "deny read 127.9.0.0/16 secret/**", "allow any 127.0.0.0/8",
                   "deny write *", "deny any ::1 secret/*")
    assert ask(server, tftp.rrq("file")).opcode == tftp.DATA
    assert ask(server, tftp.rrq("secret/key")).opcode == tftp.DATA
    assert denied(ask(server, tftp.rrq("/secret/key"), "127.9.0.1"))
    assert denied(ask(server, tftp.rrq("secret//missing"), "127.9.0.1"))
    assert ask(server, tftp.rrq("file"), "127.9.0.1").opcode == tftp.DATA
    assert ask(server, tftp.wrq("new"), "127.9.0.1").opcode == tftp.ACK
    assert denied(ask(server, tftp.wrq("new"), "::1"))
    assert denied(ask(server, tftp.rrq("secret/key"), "::1"))
    assert ask(server, tftp.rrq("file"), "::1").opcode == tftp.DATA
    event = server.wait_event("transfer", lambda e: e["outcome"] == "denied")
    assert (event["peer"].split(":")[0], event["file"]) == ("127.9.0.1", "/secret/key")
    assert server.counters()["access_denied_total"] == 4


def test_ignored_networks_hear_nothing(start, root):
    """Not a word, whatever comes: requests, malformed ones, names that climb, packets to a wrong
    port."""
    server = begin(start, root, "ignore any 127.9.0.0/16", "ignore read * secret/**")
    with tftp.Peer(server.address()) as good:
        tid = good.ask(tftp.rrq("file")).peer
        raws = (tftp.rrq("file"), tftp.wrq("new"), tftp.rrq("missing"), tftp.rrq("../x"),
                b"\0\1file\0", tftp.rrq("file", "mail"))
        with tftp.Peer(server.address(), bind=("127.9.0.1", 0)) as peer:
            for raw in raws:
                peer.send(raw)
            peer.send(tftp.ack(1), tid)
            # Somebody else's answer proves that all was read.
            assert denied(ask(server, tftp.rrq("../x")))
            assert ask(server, tftp.rrq("secret/key"), timeout=0.2) is None
            assert peer.collect(0.1) == []
        assert server.counters()["access_ignored_total"] == len(raws) + 1
        good.reply(tftp.error(0))


def test_mapped_addresses_are_ipv4(start, root):
    """A socket for both families, as a service manager may hand over, shows IPv4 clients as
    ::ffff:127.0.0.1; rules see IPv4."""
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as both:
        both.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        both.bind(("::", 0))
        with conftest.handed(both) as arguments:
            server = begin(start, root, "deny any 127.0.0.0/8", listen=("[::]:0",), **arguments)
    port = server.addresses[0][1]
    with tftp.Peer(("::1", port)) as six:
        assert six.ask(tftp.rrq("file")).opcode == tftp.DATA
        six.reply(tftp.error(0))
    with tftp.Peer(("127.0.0.1", port)) as four:
        assert denied(four.ask(tftp.rrq("file")))


def test_nothing_is_opened(start, root):
    """A rule comes before the file: what is denied is not told from what does not exist."""
    server = begin(start, root, "deny any * secret/**")
    for name in ("secret/key", "secret/missing", "secret/x/y"):
        assert denied(ask(server, tftp.rrq(name))), name
        assert denied(ask(server, tftp.wrq(name))), name
    assert sorted(p.name for p in (root / "secret").iterdir()) == ["key"]


def test_reload(start, root, tmp_path):
    config = tmp_path / "ringtftpd.toml"
    config.write_text('[access]\nrules = ["deny any *"]\n', encoding="ascii")
    server = start(root, arguments=("-c", str(config)))
    assert denied(ask(server, tftp.rrq("file")))
    config.write_text('[access]\nrules = ["allow any *"]\n', encoding="ascii")
    server.process.send_signal(signal.SIGHUP)
    server.wait_line(lambda line: "configuration reloaded" in line)
    for _ in range(50):
        packet = ask(server, tftp.rrq("file"))
        if not denied(packet):
            break
    assert packet.opcode == tftp.DATA
