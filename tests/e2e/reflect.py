"""A made-up Internet for one server: a network namespace with the server, another one with everybody
else, a cable between them. From the outside anybody's packets can be forged, and whatever leaves the
server is seen, whoever it is for.

    SILENT  addresses behind which nobody is: what comes there is never answered
    TALKING addresses of a machine without TFTP: the kernel there answers ICMP port unreachable
"""

import collections
import ctypes
import ipaddress
import os
import select
import shutil
import socket
import struct
import subprocess
import threading
import time

SERVER = {4: "192.0.2.1", 6: "2001:db8:1::1"}
CLIENT = {4: "192.0.2.254", 6: "2001:db8:1::fe"}
SILENT = {4: "198.51.100.0", 6: "2001:db8:2::"}
TALKING = {4: "203.0.113.0", 6: "2001:db8:3::"}
MACS = {"server": "02:00:00:00:00:01", "client": "02:00:00:00:00:02"}

INSIDE = """
ip link set lo up
ip link set net0 address {mac} up
sysctl -q -w net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.net0.rp_filter=0
sysctl -q -w net.ipv6.conf.net0.accept_dad=0 net.ipv6.conf.net0.accept_ra=0
ip addr add {own4}/24 dev net0
ip addr add {own6}/64 dev net0 nodad
"""
OF_SERVER = """
ip neigh replace {peer4} lladdr {peer_mac} dev net0 nud permanent
ip neigh replace {peer6} lladdr {peer_mac} dev net0 nud permanent
ip route add default via {peer4}
ip -6 route add default via {peer6}
"""
OF_CLIENT = """
ip neigh replace {peer4} lladdr {peer_mac} dev net0 nud permanent
ip neigh replace {peer6} lladdr {peer_mac} dev net0 nud permanent
ip route add local 203.0.113.0/24 dev lo
ip -6 route add local 2001:db8:3::/64 dev lo
ip -6 route add blackhole default
sysctl -q -w net.ipv4.icmp_ratelimit=0 net.ipv4.icmp_msgs_per_sec=1000000
sysctl -q -w net.ipv4.icmp_msgs_burst=1000000 net.ipv6.icmp.ratelimit=0
"""


class Impossible(Exception):
    """No such network can be made here; the text says why."""


def numbered(base, n):
    """The n-th address after `base`, as text."""
    return str(ipaddress.ip_address(base) + n)


def _sum16(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def frame(source, sport, payload, target=None, dport=69):
    """An Ethernet frame to the server with a UDP datagram that claims to come from `source`."""
    version = 6 if ":" in source else 4
    target = target or SERVER[version]
    family = socket.AF_INET6 if version == 6 else socket.AF_INET
    src, dst = socket.inet_pton(family, source), socket.inet_pton(family, target)
    length = 8 + len(payload)
    udp = struct.pack("!HHHH", sport, dport, length, 0)
    ether = bytes.fromhex((MACS["server"] + MACS["client"]).replace(":", ""))
    if version == 6:
        pseudo = src + dst + struct.pack("!IHBB", length, 0, 0, 17)
        check = _sum16(pseudo + udp + payload) or 0xFFFF
        head = struct.pack("!IHBB", 6 << 28, length, 17, 64) + src + dst
        return ether + b"\x86\xdd" + head + udp[:6] + struct.pack("!H", check) + payload
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + length, 0, 0, 64, 17, 0) + src + dst
    head = head[:10] + struct.pack("!H", _sum16(head)) + head[12:]
    return ether + b"\x08\x00" + head + udp + payload  # without checksum: RFC 768 allows it


class Seen:
    """A UDP datagram that the server has sent."""

    __slots__ = ("at", "source", "sport", "target", "dport", "payload", "ip_bytes")

    def __init__(self, at, raw):
        self.at = at
        if raw[12:14] == b"\x08\x00":
            head = 14 + (raw[14] & 15) * 4
            self.source = socket.inet_ntop(socket.AF_INET, raw[26:30])
            self.target = socket.inet_ntop(socket.AF_INET, raw[30:34])
            self.ip_bytes = struct.unpack("!H", raw[16:18])[0]
        else:
            head = 54
            self.source = socket.inet_ntop(socket.AF_INET6, raw[22:38])
            self.target = socket.inet_ntop(socket.AF_INET6, raw[38:54])
            self.ip_bytes = 40 + struct.unpack("!H", raw[18:20])[0]
        self.sport, self.dport, length = struct.unpack("!HHH", raw[head:head + 6])
        self.payload = raw[head + 8:head + length]

    @property
    def opcode(self):
        return struct.unpack("!H", self.payload[:2])[0]

    def __repr__(self):
        return (f"<{self.source}:{self.sport} > {self.target}:{self.dport} "
                f"{self.payload[:40]!r} {len(self.payload)} bytes>")


def _is_udp(raw):
    return raw[12:14] == b"\x08\x00" and raw[23] == 17 or \
        raw[12:14] == b"\x86\xdd" and raw[20] == 17


class Namespace:
    """A network namespace that lasts as long as the process that holds it."""

    def __init__(self):
        self.keeper = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", "echo up && exec sleep 3600"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        if self.keeper.stdout.readline() != b"up\n":
            self.close()
            raise Impossible("no right to make a network namespace")
        self.path = f"/proc/{self.keeper.pid}/ns/net"
        self.prefix = ("nsenter", f"--net={self.path}")

    def run(self, script):
        done = subprocess.run([*self.prefix, "sh", "-e", "-c", script], capture_output=True,
                              text=True, check=False)
        if done.returncode != 0:
            raise Impossible(f"the network cannot be set up: {done.stderr.strip()}")

    def inside(self, function):
        """What function() returns, called inside; sockets stay there."""
        result = []

        def work():
            with open(self.path, "rb") as handle:
                if ctypes.CDLL(None, use_errno=True).setns(handle.fileno(), 0) != 0:
                    return
            result.append(function())

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        if not result:
            raise Impossible("setns() is refused, or what was to be done inside failed")
        return result[0]

    def close(self):
        self.keeper.kill()
        self.keeper.wait()
        self.keeper.stdout.close()


class Lab:
    """The two namespaces, the cable, and the packets on it. Use `with`."""

    def __init__(self):
        if os.geteuid() != 0:
            raise Impossible("network namespaces and raw packets need root")
        for program in ("unshare", "nsenter", "ip", "sysctl"):
            if not shutil.which(program):
                raise Impossible(f"{program} is not installed")
        self.spaces = []
        try:
            self.server = self._space()
            self.client = self._space()
            self._connect()
            self.raw = self.client.inside(self._packet_socket)
        except BaseException:
            self.close()
            raise
        self.seen = []

    def _space(self):
        space = Namespace()
        self.spaces.append(space)
        return space

    def _connect(self):
        self.server.run("ip link add net0 type veth peer name net0 netns "
                        f"{self.client.keeper.pid}")
        for space, own, peer, more in ((self.server, "server", "client", OF_SERVER),
                                       (self.client, "client", "server", OF_CLIENT)):
            ends = {"server": SERVER, "client": CLIENT}
            space.run((INSIDE + more).format(
                mac=MACS[own], own4=ends[own][4], own6=ends[own][6], peer_mac=MACS[peer],
                peer4=ends[peer][4], peer6=ends[peer][6]))

    @staticmethod
    def _packet_socket():
        raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        raw.setsockopt(socket.SOL_SOCKET, 33, 256 << 20)  # SO_RCVBUFFORCE
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 << 20)
        raw.bind(("net0", 0))
        return raw

    def send(self, frames):
        """Frames, in order; what leaves the server meanwhile is kept."""
        for count, one in enumerate(frames):
            self.raw.send(one)
            if count % 64 == 63:
                self.take()

    def take(self, timeout=0):
        """Reads what has come; waits for the first so long. How many there were."""
        count = 0
        while select.select([self.raw], [], [], 0 if count else timeout)[0]:
            raw, address = self.raw.recvfrom(70000)
            count += 1
            if address[2] != 4 and _is_udp(raw):  # 4: sent by ourselves
                self.seen.append(Seen(time.monotonic(), raw))
        return count

    def watch(self, seconds, until=lambda: False):
        """Reads for so long, or until the function says so."""
        end = time.monotonic() + seconds
        while not until():
            left = end - time.monotonic()
            if left <= 0:
                return
            self.take(min(left, 0.05))

    def by_target(self):
        """{(address, port): [Seen]} of all that has come."""
        self.take()
        found = collections.defaultdict(list)
        for one in self.seen:
            found[one.target, one.dport].append(one)
        return found

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        if hasattr(self, "raw"):
            self.raw.close()
        for space in self.spaces:
            space.close()


# ---- Requests ----

OPTIONS = {
    "no options": (),
    "blksize": (("blksize", 1428),),
    "tsize": (("tsize", 0),),
    "timeout": (("timeout", 1),),
    "windowsize": (("windowsize", 64),),
    "all options": (("tsize", 0), ("blksize", 1428), ("timeout", 1), ("windowsize", 64)),
}
NAMES = {"found": b"a", "missing": b"missing", "denied": b"denied"}


def _request(opcode, name, options, mode=b"octet"):
    fields = [name, mode]
    for key, value in options:
        fields += [key.encode(), str(value).encode()]
    return struct.pack("!H", opcode) + b"".join(f + b"\0" for f in fields)


def shapes():
    """{words: datagram}: every kind of request that has an answer."""
    found = {}
    for op, opcode in (("RRQ", 1), ("WRQ", 2)):
        for what, name in NAMES.items():
            for words, options in OPTIONS.items():
                found[f"{op}, {words}, {what}"] = _request(opcode, name, options)
    found["RRQ of 10 bytes"] = _request(1, b"a", ())
    found["RRQ of 50 bytes"] = _request(1, b"n" * 41, ())
    found["RRQ, netascii"] = _request(1, b"a", (), b"netascii")
    return found


def prepare(root):
    """Files to which the shapes lead."""
    for name in (b"a", b"n" * 41, b"denied"):
        path = root / name.decode()
        path.write_bytes(bytes(range(256)) * 1024)
        path.chmod(0o666 if name != b"denied" else 0o600)
