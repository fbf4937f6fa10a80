"""Debian's TFTP clients fetch files of every awkward size, byte for byte."""

import subprocess
import time

import pytest

import clients
import conftest
import tftp

SMALL = ("0.bin", "1.bin", "511.bin", "512.bin", "513.bin")
MIB = tuple(f"{(1 << 20) + d}.bin" for d in (-1, 0, 1))
ROLLOVER = f"{33 << 20}.bin"  # 67,584 blocks of 512 bytes: the block number wraps
HOSTS = ("127.0.0.1", "::1")

CURLS = {
    "curl": clients.Curl(),
    "curl-no-options": clients.Curl(options=False),
    "curl-blksize-8": clients.Curl(8),
    "curl-blksize-1428": clients.Curl(1428),
    "curl-blksize-8192": clients.Curl(8192),
    "curl-blksize-65464": clients.Curl(65464),
}
HPA = {"tftp-hpa": clients.Hpa()}
BUSYBOXES = {
    "busybox": clients.Busybox(),
    "busybox-128": clients.Busybox(128),
    "busybox-1428": clients.Busybox(1428),
    "busybox-65464": clients.Busybox(65464),
}


ATFTPS = clients.atftps((None, 8, 512, 1428, 65464), (None, 1, 4, 16), (None, 1, 255))
PLAIN = {**CURLS, **HPA, **BUSYBOXES}
FEW = {
    "curl": clients.Curl(),
    "curl-no-options": clients.Curl(options=False),
    "curl-blksize-1428": clients.Curl(1428),
    "tftp-hpa": clients.Hpa(),
    "busybox": clients.Busybox(),
    "busybox-65464": clients.Busybox(65464),
    "atftp": clients.Atftp(),
    "atftp-window": clients.Atftp(blksize=1428, windowsize=16, tsize=""),
    "atftp-large": clients.Atftp(blksize=65464, windowsize=2),
}


@pytest.fixture(scope="module")
def server(backend, module_servers, samples):
    return module_servers(samples[0], backend)


def _fetch(server, samples, client, host, names, folder):
    for name in names:
        got = clients.download(client, server.address(host), name, folder)
        clients.same(got, samples[1][name], name)


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("client", PLAIN)
def test_small(server, samples, tmp_path, client, host):
    names = SMALL
    if client.startswith("curl") and client != "curl-no-options":
        names = SMALL[1:]  # test_empty_file_curl
    _fetch(server, samples, PLAIN[client], host, names, tmp_path)


@pytest.mark.thorough
@pytest.mark.parametrize("client", ATFTPS)
def test_small_atftp(server, samples, tmp_path, client):
    host = HOSTS[len(client) % 2]
    _fetch(server, samples, ATFTPS[client], host, SMALL, tmp_path)


def test_empty_file_curl(server, tmp_path):
    """curl 7.88 takes an announced size of 0 for an error of the server (its lib/tftp.c), so an
    empty file arrives only where the size is not announced. Either way nothing is invented."""
    command = clients.Curl().get(server.address(), "0.bin", tmp_path / "got")
    code, said = clients.run(command)
    assert code in (0, 71), said
    assert not (tmp_path / "got").exists() or (tmp_path / "got").read_bytes() == b""


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("client", FEW)
def test_one_mebibyte(server, samples, tmp_path, client, host):
    _fetch(server, samples, FEW[client], host, MIB, tmp_path)


@pytest.mark.thorough
def test_many_rollovers(server, samples, tmp_path):
    """Blocks of 8 bytes: 131,072 of them, two turns of the block number."""
    _fetch(server, samples, clients.Curl(8), "127.0.0.1", (MIB[1],), tmp_path)


@pytest.mark.thorough
@pytest.mark.parametrize("host,client", [
    ("127.0.0.1", "curl-no-options"), ("::1", "curl"), ("127.0.0.1", "tftp-hpa"),
    ("::1", "busybox"), ("127.0.0.1", "atftp"), ("::1", "atftp-window"),
    ("127.0.0.1", "atftp-large"),
])
def test_block_rollover(server, samples, tmp_path, client, host):
    """33 MiB; in 512-byte blocks the number after 65535 is 0."""
    _fetch(server, samples, FEW[client], host, (ROLLOVER,), tmp_path)


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("name", ["edges.txt", "plain.txt", "ends-in-cr.txt", "1.bin"])
@pytest.mark.parametrize("client", ["tftp-hpa", "atftp", "atftp-window", "atftp-512", "curl"])
def test_netascii(server, samples, tmp_path, client, name, host):
    """tftp-hpa and atftp convert back to what was on disk; curl stores what was on the wire."""
    program = {"atftp-512": clients.Atftp(blksize=512), **FEW}[client]
    got = clients.download(program, server.address(host), name, tmp_path, ascii_mode=True)
    expected = samples[1][name]
    if client == "curl":
        expected = tftp.to_netascii(expected)
    if client.startswith("atftp") and b"\r\0" in expected:
        expected = _as_atftp_reads(expected)
    clients.same(got, expected, name)


def _as_atftp_reads(content):
    """What the conversion back makes of the bytes on the wire."""
    wire = tftp.to_netascii(content)
    return wire.replace(b"\r\n", b"\n").replace(b"\r\0", b"\r")


@pytest.mark.parametrize("blksize", [8, 9, 511, 512, 513, 1428, 65464])
def test_netascii_every_edge(server, samples, blksize):
    """On the wire, with a block end behind every byte of every sequence sooner or later."""
    for name in ("edges.txt", "ends-in-cr.txt", "0.bin"):
        got, granted = tftp.fetch(server.address(), name, "netascii", [("blksize", blksize)])
        assert granted == {b"blksize": b"%d" % blksize}
        clients.same(got, tftp.to_netascii(samples[1][name]), name)


@pytest.mark.thorough
@pytest.mark.parametrize("backend,client,host", [
    ("threads-mmsg", "curl", "127.0.0.1"), ("uring-uring", "atftp", "::1"),
], indirect=["backend"], scope="module")
def test_five_gigabytes(server, client, host):
    """5 GB, sparse, in blocks of 65464 bytes, compared as it streams; nothing is stored. The
    block number wraps and no 32-bit counter may."""
    size = 5_000_000_000
    path = server.root / f"5GB-{client}.bin"
    with open(path, "wb") as file:
        file.truncate(size)
        for at in range(0, size, 499_999_991):
            file.seek(at)
            file.write(conftest.pattern(64, at))
        file.seek(size - 5)
        file.write(b"end.\n")
    path.chmod(0o644)
    program = clients.Curl(65464) if client == "curl" else clients.Atftp(blksize=65464, tsize="")
    local = "-" if client == "curl" else "/dev/stdout"
    command = program.get(server.address(host), path.name, local)
    end = time.monotonic() + 150
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE) as process, open(path, "rb") as file:
        at = 0
        try:
            while True:
                piece = process.stdout.read(1 << 20)
                if not piece:
                    break
                if piece != file.read(len(piece)):
                    raise AssertionError(f"differs within [{at}, {at + len(piece)})")
                at += len(piece)
                assert time.monotonic() < end, f"only {at} bytes after 150 s"
        finally:
            process.kill()
            said = process.stderr.read().decode("utf-8", "replace")
            path.unlink()
    assert at == size, said
