"""A TFTP server that does what a test tells it, byte by byte, on a thread of its own."""

import select
import socket
import threading

import tftp


class Request:
    """A request as it came, taken apart."""

    def __init__(self, raw, peer):
        self.raw = raw
        self.peer = peer
        self.opcode = int.from_bytes(raw[:2], "big")
        fields = raw[2:].split(b"\0")
        self.name, self.mode = fields[0], fields[1]
        self.options = dict(zip(fields[2:-1:2], fields[3:-1:2]))

    def __repr__(self):
        return f"<request {self.raw!r}>"


class Conversation:
    """One client's transfer, from a port of its own."""

    def __init__(self, server, request):
        self.server = server
        self.request = request
        self.socket = server.open_port()
        self.received = []

    def send(self, raw, port=None):
        (port or self.socket).sendto(raw, self.request.peer)

    def receive(self, timeout=10.0, port=None):
        """The next packet to this port, or None."""
        own = port or self.socket
        if not select.select([own, self.server.stop_read], [], [], timeout)[0] \
                or self.server.stopping:
            return None
        raw, peer = own.recvfrom(70000)
        packet = tftp.Packet(raw, peer[:2])
        self.received.append(packet)
        return packet

    def expect(self, opcode, block=None, timeout=10.0):
        """The next packet of that kind; others (repetitions) are passed over."""
        while True:
            packet = self.receive(timeout)
            assert packet is not None, f"nothing came, expected opcode {opcode} {block}"
            if packet.opcode == opcode and (block is None or packet.block == block & 0xFFFF):
                return packet
            assert packet.opcode != tftp.ERROR, repr(packet)

    def oack(self, **options):
        self.send(oack(*options.items()))

    def serve(self, content, blksize=512, first=1):
        """The rest of a download, block by block, from block `first` on."""
        n = first
        while True:
            payload = content[(n - 1) * blksize:n * blksize]
            self.send(tftp.data(n, payload))
            self.expect(tftp.ACK, n)
            if len(payload) < blksize:
                return
            n += 1


def oack(*pairs):
    out = b"\0\6"
    for key, value in pairs:
        for field in (key, value):
            out += (field if isinstance(field, bytes) else str(field).encode()) + b"\0"
    return out


class Scripted:
    """Calls script(conversation) for each request; repetitions of a request are counted only."""

    def __init__(self, script, host="127.0.0.1"):
        self.script = script
        self.host = host
        self.requests = []
        self.conversations = []
        self.problems = []
        self.stopping = False
        self.stop_read, self.stop_write = socket.socketpair()
        self.ports = []
        self.socket = self.open_port()
        self.port = self.socket.getsockname()[1]
        self.threads = [threading.Thread(target=self._listen, daemon=True)]
        self.threads[0].start()

    def open_port(self):
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        port = socket.socket(family, socket.SOCK_DGRAM)
        port.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        port.bind((self.host, 0))
        self.ports.append(port)
        return port

    def _listen(self):
        seen = set()
        while True:
            select.select([self.socket, self.stop_read], [], [])
            if self.stopping:
                return
            try:
                raw, peer = self.socket.recvfrom(70000)
            except ConnectionRefusedError:
                continue
            request = Request(raw, peer)
            self.requests.append(request)
            if (raw, peer) in seen:
                continue
            seen.add((raw, peer))
            conversation = Conversation(self, request)
            self.conversations.append(conversation)
            thread = threading.Thread(target=self._converse, args=(conversation,), daemon=True)
            self.threads.append(thread)
            thread.start()

    def _converse(self, conversation):
        try:
            self.script(conversation)
        except (AssertionError, OSError) as problem:
            if not self.stopping:
                self.problems.append(problem)

    def target(self, name="file"):
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}:{name}"

    def received(self, opcode):
        """All packets of a kind that any conversation has got."""
        return [p for c in self.conversations for p in c.received if p.opcode == opcode]

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        for thread in self.threads[1:]:
            thread.join(0.3)
        self.stopping = True
        self.stop_write.send(b"x")
        for thread in self.threads:
            thread.join(5)
        for port in self.ports:
            port.close()
        self.stop_read.close()
        self.stop_write.close()
        if exc[0] is None:
            assert not self.problems, self.problems
