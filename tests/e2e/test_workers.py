"""Several workers on one address: the kernel deals clients out among them, each can be bound to a
processor, and what is configured for the server is divided."""

import os
import pathlib
import re
import shutil
import signal
import subprocess

import pytest

import conftest
import network
import tftp

CPUS = sorted(os.sched_getaffinity(0))


@pytest.fixture
def root(tmp_path):
    (tmp_path / "f").write_bytes(conftest.pattern(5000))
    (tmp_path / "f").chmod(0o644)
    return tmp_path


def lines_of_workers(server, event, count):
    server.process.send_signal(signal.SIGUSR1)
    for worker in range(count):
        server.wait_event(event, lambda e, w=worker: e["worker"] == w)
    return server.events(event)[:count]


def test_all_of_them_serve(start, root, backend):
    """40 clients: that one of two workers gets none of them is a chance of 2 in 2^40."""
    server = start(root, backend, options=("performance.workers=2",))
    for _ in range(40):
        assert tftp.fetch(server.address(), "f")[0] == conftest.pattern(5000)
    requests = [e["requests_read_total"] for e in lines_of_workers(server, "stats", 2)]
    assert sum(requests) == 40 and min(requests) > 0


def test_memory_is_divided(start, root):
    server = start(root, options=("performance.workers=4", "performance.cache_size=67108864",
                                  "performance.chunk_size=65536"))
    chunks = [e["chunks_total"] for e in lines_of_workers(server, "engines", 4)]
    assert chunks == [256] * 4


def allowed(server):
    """The processors of each thread."""
    found = []
    for task in pathlib.Path(f"/proc/{server.process.pid}/task").iterdir():
        text = (task / "status").read_text(encoding="ascii")
        found.append(re.search(r"^Cpus_allowed_list:\s+(\S+)", text, re.M).group(1))
    return found


@pytest.mark.skipif(len(CPUS) < 2, reason="one processor")
def test_pinning(start, root):
    """One processor each when asked for, and as many as the server has when not."""
    for pin in ("false", "true"):
        server = start(root, options=("performance.workers=2", f"performance.pin_workers={pin}"))
        for cpu in CPUS[:2]:
            assert (str(cpu) in allowed(server)) == (pin == "true")
        assert tftp.fetch(server.address(), "f")[0] == conftest.pattern(5000)


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("ss"), reason="needs root and ss")
def test_buffers_survive_the_loss_of_rights(start, root, backend):
    """Ports of many clients have the buffers that only root may ask for, although the server is
    somebody else by the time it serves."""
    server = start(root, backend, options=(
        "performance.workers=2", f"performance.platform.network.receive_buffer={16 << 20}"))
    text = subprocess.run(["ss", "-H", "-uanmpO"], capture_output=True, text=True,
                          check=True).stdout
    sizes = [int(re.search(r"\brb(\d+)", line).group(1)) for line in text.splitlines()
             if f"pid={server.process.pid}," in line]
    # Two addresses and four shared ports of either family, for each worker.
    assert sizes == [32 << 20] * 20


def test_free_port_is_ones_own(start, root):
    """Workers share their port with each other, never with another server that asked for any."""
    host = network.Host()
    try:
        if not host.works:
            pytest.skip("no network namespaces here")
        host.run("sh", "-c", "echo 50000 50007 > /proc/sys/net/ipv4/ip_local_port_range")
        servers = [start(root, listen=("127.0.0.1:0",), program=(*host.inside, conftest.PROGRAM),
                         options=("performance.workers=2", "network.transfer_ports=single"))
                   for _ in range(8)]
        assert len({server.address()[1] for server in servers}) == 8
    finally:
        host.end()
