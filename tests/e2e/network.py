"""Two hosts with a cable between them: network namespaces of the test's own, and packets lost on the
way by nftables. Nothing outlives the test: a namespace ends with the process that keeps it.
"""

import shutil
import subprocess

import pytest

SERVER, CLIENT = "192.0.2.1", "192.0.2.2"
SERVER6, CLIENT6 = "2001:db8::1", "2001:db8::2"


class Host:
    """A network namespace, kept by a process that ends when its input does."""

    def __init__(self):
        self.keeper = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", "ip link set lo up && echo up && exec cat"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.works = self.keeper.stdout.readline() == b"up\n"
        self.pid = self.keeper.pid
        self.inside = ["nsenter", "--target", str(self.pid), "--net"]

    def run(self, *command, text=None):
        """A command of root's within; its output."""
        result = subprocess.run([*self.inside, *map(str, command)], input=text, text=True,
                                capture_output=True, timeout=20, check=False)
        assert result.returncode == 0, f"{command}: {result.stderr}"
        return result.stdout

    def drop(self, percent):
        """Loses that share of the UDP datagrams that come in and of those that go out. Sending knows
        nothing of it, as on a real cable."""
        self.run("nft", "-f", "-", text=f"""
            table netdev loss {{
                chain in {{
                    type filter hook ingress device "wire" priority 0;
                    meta l4proto udp numgen random mod 100 < {percent} drop
                }}
                chain out {{
                    type filter hook egress device "wire" priority 0;
                    meta l4proto udp numgen random mod 100 < {percent} drop
                }}
            }}""")

    def end(self):
        self.keeper.stdin.close()
        self.keeper.stdout.close()
        self.keeper.wait()


class Cable:
    """The server's host and the client's."""

    def __init__(self):
        self.server, self.client = Host(), Host()

    def connect(self):
        self.server.run("ip", "link", "add", "wire", "type", "veth", "peer", "name", "wire", "netns",
                        self.client.pid)
        for host, own, own6 in ((self.server, SERVER, SERVER6), (self.client, CLIENT, CLIENT6)):
            host.run("ip", "addr", "add", f"{own}/24", "dev", "wire")
            host.run("ip", "addr", "add", f"{own6}/64", "dev", "wire", "nodad")
            host.run("ip", "link", "set", "wire", "up")

    def end(self):
        self.client.end()
        self.server.end()


def skip_unless_possible(*programs):
    for program in ("unshare", "nsenter", "ip", *programs):
        if not shutil.which(program, path="/usr/sbin:/sbin:/usr/bin:/bin"):
            pytest.skip(f"{program} is not installed")


@pytest.fixture
def cable():
    """Two connected hosts; skips where that is not allowed."""
    skip_unless_possible()
    own = Cable()
    if not (own.server.works and own.client.works):
        own.end()
        pytest.skip("no right to make a network namespace")
    try:
        own.connect()
    except AssertionError as error:
        own.end()
        pytest.skip(f"no cable between namespaces: {error}")
    yield own
    own.end()
