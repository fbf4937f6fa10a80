"""ringtftp across a router: the largest packets that pass are not those of the own interface."""

import json
import os
import subprocess
import time

import pytest

from conftest import harness, pattern
from test_client_hostile import OK

NARROW = 1000


def run(*command):
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)


class Host:
    """A network namespace, as long as its process lives."""

    def __init__(self):
        self.process = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", "ip link set lo up && echo up && exec sleep 600"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        assert self.process.stdout.readline() == b"up\n"
        self.prefix = ("nsenter", "-t", str(self.process.pid), "-n")

    def ip(self, *arguments):
        run(*self.prefix, "ip", *arguments)

    def cable(self, own, other, name, mtu):
        """A cable to another host; `own` and `name` are the addresses at the two ends."""
        link = f"to{other.process.pid}"[:15]
        self.ip("link", "add", link, "mtu", mtu, "type", "veth", "peer", "name",
                f"to{self.process.pid}"[:15], "mtu", mtu, "netns", other.process.pid)
        self.ip("addr", "add", f"{own}/24", "dev", link)
        self.ip("link", "set", link, "up")
        other.ip("addr", "add", f"{name}/24", "dev", f"to{self.process.pid}"[:15])
        other.ip("link", "set", f"to{self.process.pid}"[:15], "up")

    def end(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture
def routed():
    """(client's host, server's host): 1500 bytes at both, and a narrow cable between two routers."""
    if os.geteuid() != 0 or subprocess.run(["unshare", "--net", "true"], capture_output=True,
                                           check=False).returncode != 0:
        pytest.skip("network namespaces need root, and to be allowed")
    hosts = []
    try:
        for _ in range(4):
            hosts.append(Host())
        near, left, right, far = hosts
        near.cable("10.8.1.1", left, "10.8.1.2", 1500)
        left.cable("10.8.2.1", right, "10.8.2.2", NARROW)
        right.cable("10.8.3.2", far, "10.8.3.1", 1500)
        near.ip("route", "add", "default", "via", "10.8.1.2")
        left.ip("route", "add", "10.8.3.0/24", "via", "10.8.2.2")
        right.ip("route", "add", "10.8.1.0/24", "via", "10.8.2.1")
        far.ip("route", "add", "default", "via", "10.8.3.2")
        for router in (left, right):
            run(*router.prefix, "sysctl", "-qw", "net.ipv4.ip_forward=1")
        yield near, far
    finally:
        for host in hosts:
            host.end()


@pytest.mark.parametrize("options", [("-w", "1"), (), ("-b", "1468", "-w", "1")],
                         ids=["lock-step", "window", "told"])
def test_narrow_path(client, start, tmp_path, routed, options):
    """An upload survives the news, and the next file goes in blocks that pass whole."""
    near, far = routed
    root = tmp_path / "root"
    root.mkdir()
    root.chmod(0o777)
    start(root, options=("write.enabled=true",), listen=("10.8.3.1:69",),
          program=(*far.prefix, harness.PROGRAM))
    for name in ("one", "two"):
        (client.folder / name).write_bytes(pattern(60000))
    begun = time.monotonic()
    done = client("put", "--json", "-j", "1", *options, "one", "two", "10.8.3.1:",
                  prefix=near.prefix)
    assert done.returncode == OK, done.text
    assert time.monotonic() - begun < 5
    for name in ("one", "two"):
        assert (root / name).read_bytes() == pattern(60000)
    one, two = [json.loads(line)["blksize"] for line in done.stdout.splitlines()[:2]]
    if "-b" in options:
        assert one == two == 1468  # in fragments: told is told
    elif "-w" in options:  # trains may cross what lone datagrams do not
        assert one == 1468 and two == NARROW - 32
    done = client("get", "--json", *options, "10.8.3.1:one", prefix=near.prefix)
    assert done.returncode == OK, done.text
    assert (client.folder / "one").read_bytes() == pattern(60000)
