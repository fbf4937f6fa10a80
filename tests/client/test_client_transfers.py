"""ringtftp against ringtftpd: what a person does with it."""

import json
import os
import re
import subprocess

import pytest

from conftest import harness, pattern
from lossy import Lossy
from test_client_hostile import (DENIED, DISK, EXISTS, MISMATCH, NOT_FOUND, OK, TOO_LARGE,
                                 UNREACHABLE, USAGE)

SIZES = (0, 1, 511, 512, 513, 65464, 65465, 1 << 20, (5 << 20) + 7)


def place(server, name, content):
    path = server.root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(0o644)


def target(server, name="", host="127.0.0.1"):
    host, port = server.address(host)
    return f"[{host}]:{port}:{name}" if ":" in host else f"{host}:{port}:{name}"


@pytest.mark.sanitize
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_sizes(client, server, host):
    for size in SIZES:
        place(server, f"{size}", pattern(size))
    done = client("get", *(target(server, size, host) for size in SIZES))
    assert done.returncode == OK, done.text
    assert done.stderr == done.stdout == b""  # not a terminal: nothing to say
    for size in SIZES:
        assert (client.folder / f"{size}").read_bytes() == pattern(size)
    done = client("put", *SIZES, target(server, "", host))
    assert done.returncode == OK, done.text
    done = client("put", "513", target(server, "other", host))
    assert done.returncode == OK, done.text
    for size in SIZES:
        assert (server.root / f"{size}").read_bytes() == pattern(size)
    assert (server.root / "other").read_bytes() == pattern(513)


@pytest.mark.sanitize
@pytest.mark.parametrize("options", [("-b", "8"), ("-b", "512", "-w", "1"), ("-b", "1428", "-w", "7"),
                                     ("-w", "64"), ("--no-options",), ("--no-tsize",),
                                     ("-b", "65464", "-w", "16", "-t", "3")])
def test_options(client, server, options):
    content = pattern(60000)
    place(server, "f", content)
    assert client("get", *options, target(server, "f")).returncode == OK
    assert (client.folder / "f").read_bytes() == content
    assert client("put", *options, "f", target(server, "g")).returncode == OK
    assert (server.root / "g").read_bytes() == content


@pytest.mark.sanitize
def test_C27_more_than_65535_blocks(client, server):
    content = pattern(70000 * 8 + 3)
    place(server, "f", content)
    done = client("get", "-b", "8", "-w", "64", target(server, "f"))
    assert done.returncode == OK, done.text
    assert (client.folder / "f").read_bytes() == content
    assert client("put", "-b", "8", "-w", "64", "f", target(server, "g")).returncode == OK
    assert (server.root / "g").read_bytes() == content


@pytest.mark.sanitize
def test_netascii(client, server):
    edges = harness.netascii_edges()
    place(server, "t", edges)
    port = server.address()[1]
    assert client("get", "-m", "netascii", target(server, "t"), "-o", "1").returncode == OK
    assert client("get", f"tftp://127.0.0.1:{port}/t;mode=netascii", "-o", "2").returncode == OK
    assert (client.folder / "1").read_bytes() == edges == (client.folder / "2").read_bytes()
    assert client("put", "-m", "netascii", "1", target(server, "u")).returncode == OK
    assert (server.root / "u").read_bytes() == edges


@pytest.mark.sanitize
def test_standard_streams(client, server):
    content = pattern(300000)
    done = client("put", "-", target(server, "s"), stdin=content)
    assert done.returncode == OK, done.text
    assert (server.root / "s").read_bytes() == content
    for form in (("-o", "-"), ("-",)):
        done = client("get", target(server, "s"), target(server, "s"), *form)
        assert done.returncode == OK, done.text
        assert done.stdout == content * 2
    done = client("get", "--max-size", "1K", target(server, "s"), "-")
    assert done.returncode == TOO_LARGE and len(done.stdout) <= 1024
    assert client("put", "-", target(server)).returncode == USAGE
    assert not client.files()


def test_stream_that_ends(client, server):
    """The reader of our output goes away: no signal, no hang, a sentence."""
    place(server, "f", pattern(4 << 20))
    with open(client.folder / "log", "wb") as log:
        process = subprocess.Popen(client.command("get", target(server, "f"), "-"),
                                   stdout=subprocess.PIPE, stderr=log)
        process.stdout.read(10)
        process.stdout.close()
        assert process.wait(30) == DISK
    assert b"the output: Broken pipe" in (client.folder / "log").read_bytes()


def test_no_spool_is_left(client, server, tmp_path):
    spool = tmp_path / "spool"
    spool.mkdir()
    done = client("put", "-", target(server, "s"), stdin=b"abc", env={"TMPDIR": str(spool)})
    assert done.returncode == OK
    done = client("put", "--max-size", "2", "-", target(server, "s"), stdin=b"abc",
                  env={"TMPDIR": str(spool)})
    assert done.returncode == TOO_LARGE
    assert not list(spool.iterdir())


@pytest.mark.sanitize
def test_list_of_many(client, server):
    names = [f"n{i:03}" for i in range(200)]
    for name in names:
        place(server, f"many/{name}", name.encode() * 50)
    (client.folder / "names").write_text("\n".join(names) + "\n")
    out = client.folder / "out"
    out.mkdir()
    done = client("get", "--json", "-j", "16", "-l", "names", target(server, "many/"), "-O", "out")
    assert done.returncode == OK, done.text
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert {r["file"].rpartition("/")[2] for r in results[:-1]} == set(names)
    assert results[-1]["total"]["ok"] == 200
    for name in names:
        assert (out / name).read_bytes() == name.encode() * 50
    done = client("put", "-l", "-", target(server), stdin=b"out/n001\nout/n002\n")
    assert done.returncode == OK, done.text
    assert (server.root / "n002").read_bytes() == b"n002" * 50


def test_result_as_json(client, server):
    place(server, "f", pattern(100000))
    done = client("get", "--json", "-b", "1000", "-w", "4", "-t", "2", target(server, "f"))
    result = json.loads(done.stdout)
    assert result["status"] == "ok" and result["exit"] == 0
    assert result["bytes"] == result["tsize"] == 100000
    assert (result["blksize"], result["windowsize"], result["timeout"]) == (1000, 4, 2)
    assert result["resent"] == 0 and result["seconds"] > 0 and result["requests"] == 1
    (client.folder / "in").mkdir()
    elsewhere = str(client.folder / "h")
    for form, output in (((), "f"), (("-O", "in"), "in/f"), (("-O", "in/"), "in/f"),
                         (("-o", "in/g"), "in/g"), (("-o", elsewhere), elsewhere)):
        result = json.loads(client("get", "--json", target(server, "f"), *form).stdout)
        assert result["output"] == output
        assert (client.folder / output).read_bytes() == pattern(100000)
    done = client("get", "--json", target(server, 'miss"ing\\\xe9'))
    result = json.loads(done.stdout)
    assert result["status"] == "not-found" and result["exit"] == done.returncode == NOT_FOUND
    assert "File not found" in result["message"]


def test_probe(client, server):
    place(server, "f", pattern(100000))
    done = client("probe", "-t", "3", "-w", "5", target(server, "f"))
    assert done.returncode == OK, done.text
    assert re.search(r"size +100000 bytes", done.stdout.decode())
    assert re.search(r"windowsize +5 blocks", done.stdout.decode())
    assert re.search(r"timeout +3 s", done.stdout.decode())
    assert re.search(r"round trip +[0-9.]+ ms", done.stdout.decode())
    result = json.loads(client("probe", "--json", target(server, "f")).stdout)
    assert result["tsize"] == 100000 and result["options"] is True
    result = json.loads(client("probe", "--no-options", "--json", target(server, "f")).stdout)
    assert result["options"] is False and "tsize" not in result
    assert client("probe", target(server, "g")).returncode == NOT_FOUND
    assert not client.files()


def test_existing_files(client, server):
    place(server, "f", b"new")
    mine = client.folder / "f"
    mine.write_bytes(b"old")
    done = client("get", "-n", target(server, "f"))
    assert done.returncode == EXISTS and "--no-clobber" in done.text
    assert mine.read_bytes() == b"old"
    done = client("get", "--sha256", "0" * 64, target(server, "f"))
    assert done.returncode == MISMATCH and mine.read_bytes() == b"old"
    assert client("get", target(server, "missing"), "-o", "f").returncode == NOT_FOUND
    assert mine.read_bytes() == b"old"
    assert client("get", target(server, "f")).returncode == OK
    assert mine.read_bytes() == b"new"
    assert client.files() == ["f"]


@pytest.mark.parametrize("umask, mode", [(0o022, 0o644), (0o077, 0o600), (0, 0o666)])
def test_umask_applies(client, server, umask, mode):
    place(server, "f", b"new")
    done = client("get", target(server, "f"), prefix=("sh", "-c", f'umask {umask:o}; exec "$@"', "sh"))
    assert done.returncode == OK, done.text
    assert (client.folder / "f").stat().st_mode & 0o7777 == mode


def test_links(client, server):
    """A link is not replaced by what --output names; nor followed by a name that just fits."""
    place(server, "f", b"new")
    (client.folder / "real").write_bytes(b"old")
    (client.folder / "link").symlink_to("real")
    assert client("get", target(server, "f"), "-o", "link").returncode == OK
    assert (client.folder / "link").is_symlink()
    assert (client.folder / "real").read_bytes() == b"new"
    (client.folder / "f").symlink_to("/etc/hostname")
    done = client("get", target(server, "f"))
    assert done.returncode == DISK, done.text
    assert (client.folder / "f").is_symlink()


def test_names_never_leave_the_folder(client, server):
    place(server, "passwd", b"x")
    outside = client.folder / "sub"
    outside.mkdir()
    assert client("get", target(server, "a/../passwd"), "-O", "sub").returncode == DENIED
    assert client("get", target(server, "/../.."), "-O", "sub").returncode == USAGE
    assert client("get", target(server, "passwd"), "-O", "sub").returncode == OK
    assert client.files() == ["sub"] and os.listdir(outside) == ["passwd"]


def test_local_files(client, server):
    (client.folder / "big").write_bytes(b"x" * 2000)
    assert client("put", "missing", target(server)).returncode == NOT_FOUND
    assert client("put", ".", target(server)).returncode == DISK
    done = client("put", "--max-size", "1K", "big", target(server))
    assert done.returncode == TOO_LARGE
    assert not list(server.root.iterdir())


def test_uploads_refused(client, start, tmp_path):
    root = tmp_path / "read-only"
    root.mkdir()
    server = start(root)
    (client.folder / "f").write_bytes(b"x")
    done = client("put", "f", target(server))
    assert done.returncode == DENIED and "the server says" in done.text


def test_resume_is_refused(client):
    for option in ("-C", "--resume"):
        done = client("get", option, "h:f")
        assert done.returncode == USAGE and "resume is not in TFTP" in done.text


def test_local_ports_and_addresses(client, server):
    place(server, "f", b"x" * 1000)
    with harness.tftp.Peer(("127.0.0.1", 9), bind=("0.0.0.0", 0)) as taken:
        port = taken.port
        done = client("get", "--local-port", port, target(server, "f"))
        assert done.returncode == 15 and "no free port" in done.text
    done = client("get", "-v", "--local-port", port, "--bind", "127.0.0.5", target(server, "f"))
    assert done.returncode == OK, done.text
    event = server.wait_event("transfer", lambda e: e.get("peer", "").startswith("127.0.0.5"))
    assert event["peer"] == f"127.0.0.5:{port}"
    done = client("get", "--bind", "203.0.113.9", target(server, "f"))
    assert done.returncode == 15 and "203.0.113.9" in done.text


def test_families(client, server):
    port = server.address()[1]
    place(server, "f", b"x")
    done = client("get", "-6", f"127.0.0.1:{port}:f")
    assert done.returncode == UNREACHABLE and "no IPv6 address" in done.text
    assert client("get", "-4", f"localhost:{port}:f").returncode == OK


def test_second_address_of_a_host(client, start, tmp_path):
    """localhost is ::1 first, and the server listens on IPv4 only."""
    root = tmp_path / "root4"
    root.mkdir()
    server = start(root, listen=("127.0.0.1:0",))
    place(server, "f", b"x")
    assert client("get", f"localhost:{server.address()[1]}:f").returncode == OK


def test_unknown_host(client):
    done = client("get", "no-such-host.invalid:f")
    assert done.returncode == UNREACHABLE
    assert "no-such-host.invalid: no address" in done.text


def test_verbose_shows_each_packet(client, server):
    place(server, "f", b"x" * 700)
    done = client("get", "-v", "-b", "512", "-w", "1", target(server, "f"))
    packets = re.findall(r"([<>] \S+(?: \d+)?)", done.text)
    assert packets[:3] == ["> RRQ", "< OACK", "> ACK 0"]
    assert packets[3:] == ["< DATA 1", "> ACK 1", "< DATA 2", "> ACK 2"]


def test_help_and_version(client):
    for arguments in (("--help",), ("get", "-h"), ("put", "--help"), ("probe", "-h")):
        done = client(*arguments)
        assert done.returncode == OK and done.stdout.startswith(b"Usage: ringtftp")
    assert b"--no-clobber" not in client("put", "-h").stdout
    assert re.match(rb"ringtftp \d", client("--version").stdout)
    assert client().returncode == USAGE


@pytest.mark.sanitize
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_heavy_loss_both_ways(client, start, tmp_path, seed):
    """20 % of all packets are lost in each direction."""
    root = tmp_path / "root"
    root.mkdir()
    root.chmod(0o777)
    server = start(root, options=("write.enabled=true", "protocol.retransmit_max=1000"))
    content = pattern(100000)
    place(server, "f", content)
    with Lossy(server.address(), 0.2, seed) as network:
        done = client("get", "-b", "1428", "--json", f"127.0.0.1:{network.port}:f", timeout=120)
        assert done.returncode == OK, done.text
        assert (client.folder / "f").read_bytes() == content
        assert json.loads(done.stdout)["resent"] > 0
        done = client("put", "-b", "1428", "f", f"127.0.0.1:{network.port}:g", timeout=120)
        assert done.returncode == OK, done.text
        assert (server.root / "g").read_bytes() == content
        assert network.dropped > 10


def test_loss_makes_windows_smaller(client, server):
    """Adapted from file to file."""
    for n in range(4):
        place(server, f"f{n}", pattern(300000))
    with Lossy(server.address(), 0.1, 5) as network:
        done = client("get", "-j", "1", "-b", "1024", "--json",
                      *(f"127.0.0.1:{network.port}:f{n}" for n in range(4)), timeout=120)
        assert done.returncode == OK, done.text
    windows = [json.loads(line)["windowsize"] for line in done.stdout.splitlines()[:-1]]
    assert windows[0] > windows[1] > windows[3]
