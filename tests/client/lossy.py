"""A network that loses packets, both ways, by a seeded choice: a relay in front of a server."""

import random
import select
import socket
import threading


class Lossy:
    """Relays between clients and one server; each client keeps its port and the server's."""

    def __init__(self, server, loss, seed):
        self.server = server
        self.loss = loss
        self.random = random.Random(seed)
        self.dropped = self.relayed = 0
        self.front = self._port()
        self.port = self.front.getsockname()[1]
        self.up = {}    # client -> socket towards the server
        self.down = {}  # (client, server's port) -> socket towards the client
        self.roles = {}
        self.stop_read, self.stop_write = socket.socketpair()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    @staticmethod
    def _port():
        port = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        port.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        port.bind(("127.0.0.1", 0))
        return port

    def _send(self, port, raw, to):
        if self.random.random() < self.loss:
            self.dropped += 1
            return
        self.relayed += 1
        port.sendto(raw, to)

    def _from_front(self):
        raw, client = self.front.recvfrom(70000)
        if client not in self.up:
            self.up[client] = self._port()
            self.roles[self.up[client]] = ("up", client)
        self._send(self.up[client], raw, self.server)

    def _from_server(self, port, client):
        raw, peer = port.recvfrom(70000)
        key = (client, peer)
        if key not in self.down:
            self.down[key] = self._port()
            self.roles[self.down[key]] = ("down", key)
        self._send(self.down[key], raw, client)

    def _from_client(self, port, key):
        raw, _ = port.recvfrom(70000)
        client, peer = key
        self._send(self.up[client], raw, peer)

    def _run(self):
        while True:
            ready, _, _ = select.select([self.front, self.stop_read, *self.roles], [], [])
            if self.stop_read in ready:
                return
            for port in ready:
                try:
                    if port is self.front:
                        self._from_front()
                    elif self.roles[port][0] == "up":
                        self._from_server(port, self.roles[port][1])
                    else:
                        self._from_client(port, self.roles[port][1])
                except ConnectionRefusedError:
                    pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop_write.send(b"x")
        self.thread.join(5)
        for port in (self.front, self.stop_read, self.stop_write, *self.roles):
            port.close()
