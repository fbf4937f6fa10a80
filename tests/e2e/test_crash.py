"""kill -9 in the middle of uploads. What was promised by a final ACK is whole afterwards; of
everything else there is the old file or the complete new one, and no other trace.

In `make test` some uploads, in `make crash` a thousand of them for each file back end.
"""

import os
import random
import select
import time

import pytest

import conftest
import tftp

UPLOADS = int(os.environ.get("RINGTFTP_CRASH_UPLOADS", "40"))
SEED = int(os.environ.get("RINGTFTP_CRASH_SEED", "1350"))
AT_ONCE = 8
BLOCK = 512
OPTIONS = ("write.enabled=true", "write.allow_overwrite=true", "performance.workers=1")
# What an earlier crash may have left, and what only looks like it.
STALE = (".ringtftp-00000000deadbeef", "sub/.ringtftp-0123456789abcdef")
KEPT = (".ringtftp", "sub/.ringtftp-", "other.ringtftp-0123456789abcdef")


class Upload:
    """One upload as a client sees it, driven by what comes in."""

    def __init__(self, address, name, content):
        self.peer = tftp.Peer(address)
        self.name = name
        self.content = content
        self.blocks = len(content) // BLOCK + 1
        self.sent = 0
        self.acknowledged = False
        self.peer.send(tftp.wrq(name))

    def on_packet(self):
        packet = self.peer.receive(0)
        if packet is None or packet.opcode != tftp.ACK or packet.block != self.sent:
            assert packet is None or packet.opcode == tftp.ACK, packet
            return
        if self.sent == self.blocks:
            self.acknowledged = True
            return
        self.peer.reply(tftp.data(self.sent + 1,
                                  self.content[self.sent * BLOCK:(self.sent + 1) * BLOCK]))
        self.sent += 1


def progress(uploads, packets):
    """Takes that many packets, fewer when all uploads are done; what is there already for 0."""
    sockets = {upload.peer.socket: upload for upload in uploads}
    taken = 0
    while taken < packets and not all(upload.acknowledged for upload in uploads):
        ready = select.select(list(sockets), [], [], 5)[0]
        assert ready, "the server fell silent"
        for each in ready:
            sockets[each].on_packet()
            taken += 1


def drain(uploads):
    """What the server had sent before it was killed."""
    sockets = {upload.peer.socket: upload for upload in uploads}
    while True:
        ready = select.select(list(sockets), [], [], 0)[0]
        if not ready:
            return
        for each in ready:
            try:
                sockets[each].on_packet()
            except ConnectionRefusedError:
                pass


def everything(root):
    """All names below the root, hidden ones too."""
    found = set()
    for folder, folders, files in os.walk(root):
        for name in folders + files:
            found.add(os.path.relpath(os.path.join(folder, name), root))
    return found


@pytest.mark.thorough
def test_killed(start, backend, tmp_path):
    rng = random.Random(SEED)
    root = tmp_path
    (root / "sub").mkdir()
    for name in STALE + KEPT:
        (root / name).write_bytes(b"left over")
    versions = {}  # name: the contents it may have now; None stands for no file
    promised = 0
    killed_with = 0
    for first in range(0, UPLOADS, AT_ONCE):
        server = start(root, backend, options=OPTIONS, listen=("127.0.0.1:0",))
        count = min(AT_ONCE, UPLOADS - first)
        names = [f"{rng.choice(('', 'sub/'))}f{rng.randrange(4)}-{n}" for n in range(count)]
        uploads = [Upload(server.address(), name, rng.randbytes(rng.randrange(12 * BLOCK)))
                   for name in names]
        # An ACK for the request and each block, if nothing is repeated.
        packets = sum(upload.blocks + 1 for upload in uploads)
        # Anywhere, or about when most of them end.
        progress(uploads, rng.randrange(packets) if rng.random() < 0.4 else
                 packets - rng.randrange(1, 2 * count))
        time.sleep(rng.random() / 500)
        server.kill()
        drain(uploads)
        for upload in uploads:
            upload.peer.socket.close()
            killed_with += not upload.acknowledged
            promised += upload.acknowledged
            before = versions.get(upload.name, {None})
            versions[upload.name] = ({upload.content} if upload.acknowledged
                                     else before | {upload.content})
        check(root, versions, "after the kill")
    server = start(root, backend, options=OPTIONS, listen=("127.0.0.1:0",))
    check(root, versions, "after the restart")
    there = {name for name in versions if (root / name).exists()}
    assert everything(root) == there | {"sub"} | set(KEPT), "something was left behind"
    for name in sorted(there)[:5]:
        assert tftp.fetch(server.address(), name)[0] in versions[name]
    assert promised and killed_with, "the kills all came at the same side of the end"
    print(f"{UPLOADS} uploads, {promised} of them acknowledged, {killed_with} killed on the way")


def check(root, versions, when):
    """Every name has one of the contents it may have; and from then on, only that."""
    for name, contents in versions.items():
        path = root / name
        now = path.read_bytes() if path.exists() else None
        assert now in contents, f"{name} {when}: {None if now is None else len(now)} bytes"
        versions[name] = {now}
