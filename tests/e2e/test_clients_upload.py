"""Debian's TFTP clients store files; they are whole and in place when the client has ended."""

import pytest

import clients
import conftest
import tftp

SMALL = (0, 1, 511, 512, 513)
MIB = ((1 << 20) - 1, 1 << 20, (1 << 20) + 1)
HOSTS = ("127.0.0.1", "::1")
WRITABLE = ("write.enabled=true", "write.allow_overwrite=true")

CLIENTS = {
    "curl": clients.Curl(),
    "curl-no-options": clients.Curl(options=False),
    "curl-blksize-8": clients.Curl(8),
    "curl-blksize-1428": clients.Curl(1428),
    "curl-blksize-65464": clients.Curl(65464),
    "tftp-hpa": clients.Hpa(),
    "busybox": clients.Busybox(),
    "busybox-128": clients.Busybox(128),
    "busybox-1428": clients.Busybox(1428),
    "busybox-65464": clients.Busybox(65464),
}
FEW = {
    "curl": clients.Curl(),
    "curl-blksize-65464": clients.Curl(65464),
    "tftp-hpa": clients.Hpa(),
    "busybox-1428": clients.Busybox(1428),
    "atftp": clients.Atftp(),
    "atftp-window": clients.Atftp(blksize=1428, windowsize=16, tsize=""),
}


ATFTPS = clients.atftps((None, 8, 1428, 65464), (None, 1, 8), (None, 3))


@pytest.fixture(scope="module")
def server(backend, module_servers, tmp_path_factory):
    return module_servers(tmp_path_factory.mktemp("uploads"), backend, WRITABLE)


def _store(server, client, host, sizes, folder):
    for size in sizes:
        content = conftest.pattern(size)
        name = f"up-{size}.bin"
        clients.upload(client, server.address(host), content, name, folder)
        clients.same((server.root / name).read_bytes(), content, name)
        (server.root / name).unlink()


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("client", CLIENTS)
def test_small(server, tmp_path, client, host):
    _store(server, CLIENTS[client], host, SMALL, tmp_path)


@pytest.mark.thorough
@pytest.mark.parametrize("client", ATFTPS)
def test_small_atftp(server, tmp_path, client):
    _store(server, ATFTPS[client], HOSTS[len(client) % 2], SMALL, tmp_path)


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("client", FEW)
def test_one_mebibyte(server, tmp_path, client, host):
    _store(server, FEW[client], host, MIB, tmp_path)


@pytest.mark.thorough
@pytest.mark.parametrize("host,client", [
    ("127.0.0.1", "curl"), ("::1", "tftp-hpa"), ("127.0.0.1", "atftp"), ("::1", "atftp-window"),
    ("127.0.0.1", "busybox-1428"),
])
def test_block_rollover(server, tmp_path, client, host):
    """33 MiB; in 512-byte blocks the number after 65535 is 0."""
    _store(server, FEW[client], host, (33 << 20,), tmp_path)


@pytest.mark.parametrize("client", ["tftp-hpa", "atftp"])
def test_netascii(server, tmp_path, client):
    """Text that the client converts comes out as it was."""
    content = conftest.netascii_edges()
    clients.upload(FEW[client], server.address(), content, "text", tmp_path, ascii_mode=True)
    clients.same((server.root / "text").read_bytes(), content, "text")


def test_netascii_curl(server, tmp_path):
    """curl says netascii but converts nothing; CR LF becomes the local line end."""
    content = b"one\r\ntwo\r\n" * 1000
    clients.upload(clients.Curl(), server.address(), content, "text", tmp_path, ascii_mode=True)
    clients.same((server.root / "text").read_bytes(), content.replace(b"\r\n", b"\n"), "text")


@pytest.mark.parametrize("blksize", [8, 9, 511, 512, 513, 1428])
def test_netascii_every_edge(server, blksize):
    """CR LF and CR NUL cut by a block end at every place."""
    content = conftest.netascii_edges()
    name = f"edges-{blksize}"
    refused = tftp.store(server.address(), name, tftp.to_netascii(content), "netascii",
                         [("blksize", blksize)])
    assert refused is None
    clients.same((server.root / name).read_bytes(), content, name)


def test_overwrite_whole(server, tmp_path):
    """A shorter file over a longer one leaves nothing of the old."""
    target = server.root / "again"
    for content in (b"a" * 5000, b"b" * 100):
        clients.upload(clients.Hpa(), server.address(), content, "again", tmp_path)
        assert target.read_bytes() == content


def test_nothing_left_over(server):
    """After all those uploads there is no staged file in the folder."""
    assert [p.name for p in server.root.iterdir() if p.name.startswith(".")] == []
