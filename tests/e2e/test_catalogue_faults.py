"""Faults around the process: F38 to F40 of docs/catalogue.md."""

import resource
import shutil
import time

import conftest
import network
import tftp
from network import cable  # noqa: F401

CONTENT = conftest.pattern(100_000)


def make_root(root):
    root.mkdir()
    (root / "file").write_bytes(CONTENT)
    (root / "file").chmod(0o644)


def test_F38_root_goes(start, tmp_path):
    """Removed, and another folder in its place: nothing of that one is served."""
    root = tmp_path / "root"
    make_root(root)
    server = start(root, options=("write.enabled=true",))
    assert tftp.fetch(server.address(), "file")[0] == CONTENT
    shutil.rmtree(root)
    with tftp.Peer(server.address()) as own:
        assert own.ask(tftp.rrq("file")).code in (tftp.E_NOT_FOUND, tftp.E_ACCESS)
    root.mkdir()
    (root / "other").write_bytes(b"not the folder that was opened")
    (root / "other").chmod(0o644)
    with tftp.Peer(server.address()) as own:
        assert own.ask(tftp.rrq("other")).code in (tftp.E_NOT_FOUND, tftp.E_ACCESS)
    refused = tftp.store(server.address(), "new", b"x")
    assert refused is not None and refused.opcode == tftp.ERROR
    assert not (root / "new").exists()


def test_F39_address_goes(cable, start, tmp_path):  # noqa: F811
    """The server's address is taken away in the middle and comes back: the transfer ends or goes on,
    and the listening port works again."""
    root = tmp_path / "root"
    make_root(root)
    server = start(root, listen=("0.0.0.0:69",), options=("protocol.patience=2",),
                   program=(*cable.server.inside, conftest.PROGRAM))
    client = conftest.BUILD / "src" / "cli" / "ringtftp"
    ask = [client, "get", "--quiet", "-o", "-", f"{network.SERVER}:69:file"]
    half = ("import socket, sys\n"
            "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
            f"s.sendto({tftp.rrq('file')!r}, ('{network.SERVER}', 69))\n"
            "raw, peer = s.recvfrom(2000)\n"
            f"s.sendto({tftp.ack(1)!r}, peer)\n"
            "s.recvfrom(2000)\n")
    cable.client.run("/usr/bin/python3", "-c", half)
    cable.server.run("ip", "addr", "del", f"{network.SERVER}/24", "dev", "wire")
    event = server.wait_event("transfer", timeout=30)
    assert event["outcome"] != "ok"
    cable.server.run("ip", "addr", "add", f"{network.SERVER}/24", "dev", "wire")
    cable.client.run(*ask[:4], tmp_path / "got", ask[5])
    assert (tmp_path / "got").read_bytes() == CONTENT


def test_F40_few_descriptors(start, tmp_path):
    """So few that not all who ask can have a port: some are served, and afterwards everybody."""
    root = tmp_path / "root"
    make_root(root)

    def few():
        resource.setrlimit(resource.RLIMIT_NOFILE, (48, 48))

    server = start(root, prepare=few, listen=("127.0.0.1:0",),
                   options=("performance.workers=1", "limits.transfers_max=8"))
    for _ in range(5):
        assert tftp.fetch(server.address(), "file", "octet", [("blksize", 8192)])[0] == CONTENT
    peers = [tftp.Peer(server.address()) for _ in range(40)]
    try:
        for own in peers:
            own.send(tftp.rrq("file", "octet", [("tsize", 0)]))
        answers = [own.receive(1) for own in peers[:3]]
        assert any(answers)
    finally:
        for own in peers:
            own.receive(0)
            if own.tid:
                own.reply(tftp.error(0))
            own.socket.close()
    # Who was answered after that is known to be gone when he is asked again.
    end = time.monotonic() + 30
    while server.counters()["transfers_active"]:
        assert time.monotonic() < end
    server.works()
