"""TFTP packets and scripted peers on plain sockets, independent of the programs under test.

RFC 1350 (packets), 2347 (options), 7440 (windows).
"""

import errno
import itertools
import os
import random
import select
import socket
import struct
import time

RRQ, WRQ, DATA, ACK, ERROR, OACK = 1, 2, 3, 4, 5, 6

E_UNDEFINED, E_NOT_FOUND, E_ACCESS, E_DISK_FULL = 0, 1, 2, 3
E_ILLEGAL, E_UNKNOWN_TID, E_EXISTS, E_NO_USER, E_OPTION = 4, 5, 6, 7, 8


def _bytes(value):
    return value if isinstance(value, bytes) else str(value).encode()


def request(opcode, name, mode="octet", options=()):
    """An RRQ or WRQ; options are pairs, in order, repeats allowed."""
    fields = [name, mode]
    for key, value in options:
        fields += [key, value]
    return struct.pack("!H", opcode) + b"".join(_bytes(f) + b"\0" for f in fields)


def rrq(name, mode="octet", options=()):
    return request(RRQ, name, mode, options)


def wrq(name, mode="octet", options=()):
    return request(WRQ, name, mode, options)


def data(block, payload=b""):
    return struct.pack("!HH", DATA, block & 0xFFFF) + payload


def ack(block):
    return struct.pack("!HH", ACK, block & 0xFFFF)


def error(code, text=b""):
    return struct.pack("!HH", ERROR, code) + _bytes(text) + b"\0"


class Packet:
    """A received datagram, taken apart."""

    def __init__(self, raw, peer):
        self.raw = raw
        self.peer = peer
        self.opcode = struct.unpack("!H", raw[:2])[0] if len(raw) >= 2 else 0
        self.block = struct.unpack("!H", raw[2:4])[0] if len(raw) >= 4 else None
        self.code = self.block
        self.payload = raw[4:]

    @property
    def text(self):
        """Of an ERROR."""
        return self.payload.split(b"\0")[0].decode("ascii", "replace")

    @property
    def options(self):
        """Of an OACK: pairs of bytes in order."""
        fields = self.raw[2:].split(b"\0")
        assert fields[-1] == b"", "OACK is not terminated"
        fields = fields[:-1]
        assert len(fields) % 2 == 0, "OACK has an odd number of strings"
        return list(zip(fields[::2], fields[1::2]))

    def __repr__(self):
        names = {RRQ: "RRQ", WRQ: "WRQ", DATA: "DATA", ACK: "ACK", ERROR: "ERROR", OACK: "OACK"}
        what = names.get(self.opcode, str(self.opcode))
        if self.opcode == OACK:
            return f"<OACK {self.options} from {self.peer}>"
        if self.opcode == ERROR:
            return f"<ERROR {self.code} {self.text!r} from {self.peer}>"
        return f"<{what} {self.block} +{len(self.payload)} from {self.peer}>"


# Below the kernel's own (ip_local_port_range), and each process of a test run has others, as far as
# they go: a server of another test that ends says so to clients that are long gone, and nobody else
# should be on their ports.
_PORTS = 1400
_first_port = 10000 + _PORTS * (int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % 16)
_ports = itertools.cycle(range(_first_port, _first_port + _PORTS))
for _ in range(random.randrange(_PORTS)):
    next(_ports)


def bind_own_port(sock, host):
    """Binds to a free port of this process's own; to any where thousands are asked for."""
    for port in itertools.islice(_ports, _PORTS):
        try:
            return sock.bind((host, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
    return sock.bind((host, 0))


class Peer:
    """One UDP socket that talks to a server. `address` is where requests go."""

    def __init__(self, address, bind=None):
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.address = address
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        host, port = bind or ("::1" if family == socket.AF_INET6 else "127.0.0.1", 0)
        if port == 0:
            bind_own_port(self.socket, host)
        else:
            self.socket.bind((host, port))
        self.tid = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    @property
    def port(self):
        return self.socket.getsockname()[1]

    def send(self, raw, to=None):
        """To the listening port, or to `to`."""
        self.socket.sendto(raw, to or self.address)

    def reply(self, raw):
        """To the transfer's port."""
        self.socket.sendto(raw, self.tid)

    def receive(self, timeout=5.0):
        """The next datagram, or None; the first one names the transfer's port."""
        waiting = select.poll()  # select() takes no descriptor above 1023
        waiting.register(self.socket, select.POLLIN)
        if not waiting.poll(timeout * 1000):
            return None
        raw, peer = self.socket.recvfrom(70000)
        packet = Packet(raw, peer[:2])
        if self.tid is None:
            self.tid = packet.peer
        return packet

    def collect(self, seconds):
        """All that comes within so many seconds."""
        end = time.monotonic() + seconds
        packets = []
        while True:
            left = end - time.monotonic()
            packet = self.receive(left) if left > 0 else None
            if packet is None:
                return packets
            packets.append(packet)

    def answers(self, seconds, timeout=5.0):
        """The first answer, which a busy machine may delay, and all that follows within so many
        seconds."""
        first = self.receive(timeout)
        return [first, *self.collect(seconds)] if first is not None else []

    def ask(self, raw, timeout=5.0):
        """Sends a request and returns the first answer."""
        self.tid = None
        self.send(raw)
        packet = self.receive(timeout)
        assert packet is not None, "no answer"
        return packet


def fetch(address, name, mode="octet", options=(), peer=None):
    """Downloads; returns (bytes, options granted). A plain, patient client."""
    own = peer or Peer(address)
    try:
        packet = own.ask(rrq(name, mode, options))
        return take(own, packet)
    finally:
        if peer is None:
            own.socket.close()


def take(peer, packet):
    """Goes on from the first answer, an OACK or DATA 1, to the end of a download."""
    granted = {}
    if packet.opcode == OACK:
        granted = {key.lower(): value for key, value in packet.options}
        peer.reply(ack(0))
        packet = peer.receive()
    blksize = int(granted.get(b"blksize", 512))
    window = int(granted.get(b"windowsize", 1))
    parts, expected, since = [], 1, 0
    while True:
        assert packet is not None, f"no DATA {expected}"
        assert packet.opcode != ERROR, repr(packet)
        if packet.opcode == DATA and packet.block == expected & 0xFFFF:
            parts.append(packet.payload)
            last = len(packet.payload) < blksize
            since += 1
            if last or since == window:
                peer.reply(ack(expected))
                since = 0
            if last:
                return b"".join(parts), granted
            expected += 1
        elif packet.opcode == DATA:
            peer.reply(ack(expected - 1))
            since = 0
        packet = peer.receive()


def store(address, name, content, mode="octet", options=(), peer=None):
    """Uploads; returns the ERROR packet that ended it, or None when the last block was
    acknowledged."""
    own = peer or Peer(address)
    try:
        packet = own.ask(wrq(name, mode, options))
        granted = {}
        if packet.opcode == OACK:
            granted = {key.lower(): value for key, value in packet.options}
        elif packet.opcode != ACK:
            return packet
        blksize = int(granted.get(b"blksize", 512))
        window = int(granted.get(b"windowsize", 1))
        blocks = len(content) // blksize + 1
        base = 0
        while base < blocks:
            upto = min(base + window, blocks)
            for n in range(base, upto):
                own.reply(data(n + 1, content[n * blksize:(n + 1) * blksize]))
            packet = own.receive()
            assert packet is not None, f"no ACK for block {upto}"
            if packet.opcode == ERROR:
                return packet
            if packet.opcode == ACK:
                base += (packet.block - base) & 0xFFFF if packet.block != base & 0xFFFF else 0
        return None
    finally:
        if peer is None:
            own.socket.close()


def to_netascii(content):
    """Local text as RFC 764 wants it: LF becomes CR LF, CR becomes CR NUL."""
    return content.replace(b"\r", b"\r\0").replace(b"\n", b"\r\n")
