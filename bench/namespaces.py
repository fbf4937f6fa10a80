"""Network namespaces for the measurements: a private loopback, and a client machine at the other
end of an Ethernet cable. They vanish with the processes in them."""

import os
import subprocess
import sys

SERVER = "203.0.113.1"  # RFC 5737: in no trusted network
CLIENT = "203.0.113.2"
VICTIM = "203.0.113.3"
SERVER6, CLIENT6 = "2001:db8::1", "2001:db8::2"  # RFC 3849
_INSIDE = "RINGTFTP_BENCH_NAMESPACE"


def run(*command, check=True):
    return subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, check=check)


def enter():
    """Starts this program once more with a loopback of its own, unless it has one already."""
    if os.environ.get(_INSIDE) != "1":
        os.environ[_INSIDE] = "1"
        os.execvp("unshare", ["unshare", "--net", sys.executable, *sys.argv])
    run("ip", "link", "set", "lo", "up")


def keeper():
    """A process that holds a new namespace, and the words that run a command in there."""
    process = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo up && exec sleep 9999"],
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL)
    if process.stdout.readline() != b"up\n":
        process.wait()
        raise OSError("no right to make a network namespace")
    return process, ["nsenter", "--target", str(process.pid), "--net"]


class Cable:
    """Two machines joined by an Ethernet on which a train travels as single packets, each of which
    can be lost. The server's is `near`, the words that run a command there; the clients' is `far`.
    With `here` the server's is the namespace we are in. With `with`: gone afterwards."""

    def __init__(self, mtu=1500, here=True):
        self.keepers = []
        self.near = []
        try:
            if not here:
                self.near = self._keep()
            self.far = self._keep()
            run(*self.near, "ip", "link", "add", "near", "type", "veth", "peer", "name", "far",
                "netns", self.keepers[-1].pid)
            self._join(self.near, "near", mtu, [f"{SERVER}/24", f"{SERVER6}/64"])
            self._join(self.far, "far", mtu, [f"{CLIENT}/24", f"{VICTIM}/24", f"{CLIENT6}/64"])
        except BaseException:
            self.__exit__()
            raise

    def _keep(self):
        process, inside = keeper()
        self.keepers.append(process)
        return inside

    @staticmethod
    def _join(inside, name, mtu, addresses):
        run(*inside, "ip", "link", "set", "lo", "up")
        for address in addresses:
            run(*inside, "ip", "address", "add", address, "dev", name,
                *(["nodad"] if ":" in address else []), check=":" not in address)
        run(*inside, "ip", "link", "set", name, "mtu", mtu, "gso_max_segs", 1, "up")

    def lose(self, percent):
        """Both machines lose this share of the UDP packets that reach them."""
        for inside in (self.near, self.far):
            run(*inside, "nft", "flush", "ruleset")
            if percent:
                run(*inside, "nft", "add table ip bench; add chain ip bench in "
                    "{ type filter hook input priority 0; }; add rule ip bench in "
                    f"meta l4proto udp numgen random mod 1000 < {round(10 * percent)} drop")

    def read(self, path):
        """A file of /proc/net of the server's machine."""
        return run(*self.near, "cat", path).stdout

    def sent(self):
        """Packets that have left for the clients."""
        for line in self.read("/proc/net/dev").splitlines():
            if line.strip().startswith("near:"):
                return int(line.split(":")[1].split()[9])
        raise RuntimeError("the cable is gone")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.keepers:
            process.kill()
            process.wait()
        if not self.near:
            # With the far end gone the kernel removes the near one, but in its own time.
            run("ip", "link", "delete", "near", check=False)
            run("nft", "flush", "ruleset", check=False)
