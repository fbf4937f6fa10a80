"""Requests whose answer depends on more than their bytes; those are in test_catalogue.py."""

import functools
import os
import stat

import pytest

import conftest
import tftp

pytestmark = [pytest.mark.sanitize, pytest.mark.thorough]

CONTENT = conftest.pattern(5000)


@pytest.fixture(scope="module", params=["shared", "private"])
def ports(request):
    return request.param


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("requests")
    (root / "dir" / "sub").mkdir(parents=True)
    for name, content, mode in (("file", CONTENT, 0o644), ("dir/sub/deep", CONTENT, 0o644),
                                ("empty", b"", 0o644), ("private", CONTENT, 0o640)):
        (root / name).write_bytes(content)
        (root / name).chmod(mode)
    os.mkfifo(root / "fifo", 0o644)
    (root / "inside").symlink_to("dir/sub/deep")
    (root / "linked-dir").symlink_to("dir")
    return root


@pytest.fixture(scope="module")
def server(module_servers, root, backend, ports):
    return module_servers(root, backend, options=(f"network.transfer_ports={ports}",))


@pytest.fixture
def start(start, backend):
    return functools.partial(start, backend=backend)


@pytest.fixture
def peer(server):
    with tftp.Peer(server.address()) as own:
        yield own
        if own.tid:
            own.reply(tftp.error(0))


# ---- Names ----

def test_fifo_harms_nobody(server, peer):
    """Asking for a FIFO without a writer blocks nothing."""
    for _ in range(8):
        assert peer.ask(tftp.rrq("fifo"), timeout=1).code == tftp.E_ACCESS
    assert stat.S_ISFIFO(os.stat(server.root / "fifo").st_mode)
    server.works()
    peer.tid = None


def test_symlinks_never(start, root):
    server = start(root, options=("symlinks=never",))
    with tftp.Peer(server.address()) as own:
        assert own.ask(tftp.rrq("inside")).code == tftp.E_ACCESS
        assert own.ask(tftp.rrq("linked-dir/sub/deep")).code == tftp.E_ACCESS
    assert tftp.fetch(server.address(), "dir/sub/deep")[0] == CONTENT


def test_not_world_readable_allowed(start, root):
    server = start(root, options=("world_readable_only=false",))
    assert tftp.fetch(server.address(), "private")[0] == CONTENT


# ---- Options ----

def test_empty_file(peer):
    packet = peer.ask(tftp.rrq("empty", "octet", [("blksize", 600)]))
    assert packet.opcode == tftp.OACK
    peer.reply(tftp.ack(0))
    packet = peer.receive()
    assert (packet.opcode, packet.block, packet.payload) == (tftp.DATA, 1, b"")
    peer.reply(tftp.ack(1))
    assert peer.collect(0.4) == []
    peer.tid = None


def test_options_off(start, root):
    server = start(root, options=("protocol.options=false",))
    with tftp.Peer(server.address()) as own:
        packet = own.ask(tftp.rrq("file", "octet", [("blksize", 1428), ("tsize", 0)]))
        assert (packet.opcode, packet.block) == (tftp.DATA, 1)
        own.reply(tftp.error(0))
