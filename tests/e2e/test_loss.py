"""Real clients over a bad cable: every transfer ends with the right bytes, and in time."""

import subprocess
import time

import pytest

import clients
import conftest
import network
from network import cable  # noqa: F401

# Few blocks: tftp-hpa and atftp wait five seconds before they repeat what was lost.
DOWNLOAD, UPLOAD = conftest.pattern(9_000), conftest.pattern(2_300)
# Far below what any of them would take if one loss in a row of tries stopped it.
SECONDS = 100


class Ringtftp:
    """Our own; it uploads under the local name."""

    name = "ringtftp"
    program = conftest.BUILD / "src" / "cli" / "ringtftp"

    def get(self, address, remote, local):
        return [self.program, "get", "--quiet", "-o", local, f"{address[0]}:{address[1]}:{remote}"]

    def put(self, address, local, remote):
        own = local.with_name(remote)
        own.write_bytes(local.read_bytes())
        return [self.program, "put", "--quiet", own, f"{address[0]}:{address[1]}:"]


CLIENTS = {"curl": clients.Curl(), "atftp": clients.Atftp(blksize=512), "tftp-hpa": clients.Hpa(),
           "ringtftp": Ringtftp()}


@pytest.mark.parametrize("percent", [1, 5, 20])
def test_all_complete(cable, start, tmp_path, percent):  # noqa: F811
    """All clients at the same time, each once each way."""
    network.skip_unless_possible("nft")
    cable.server.drop(percent)
    root, own = tmp_path / "root", tmp_path / "client"
    root.mkdir()
    own.mkdir()
    (root / "down").write_bytes(DOWNLOAD)
    (root / "down").chmod(0o644)
    (own / "up").write_bytes(UPLOAD)
    server = start(root, options=("write.enabled=true",), listen=("0.0.0.0:69",),
                   program=(*cable.server.inside, conftest.PROGRAM))
    address = (network.SERVER, 69)
    running = {}
    begin = time.monotonic()
    for name, client in CLIENTS.items():
        commands = {"get": client.get(address, "down", own / f"{name}.got"),
                    "put": client.put(address, own / "up", f"{name}.put")}
        for way, command in commands.items():
            running[name, way] = subprocess.Popen(
                [*cable.client.inside, *command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, text=True, cwd=own)
    took = {}
    try:
        for each, process in running.items():
            said, _ = process.communicate(timeout=max(1, begin + SECONDS - time.monotonic()))
            took[each] = time.monotonic() - begin
            assert process.returncode == 0 and "rror" not in said, f"{each}: {said}"
    finally:
        for process in running.values():
            process.kill()
            process.wait()
            process.stdout.close()
    for name in CLIENTS:
        clients.same((own / f"{name}.got").read_bytes(), DOWNLOAD, f"{name} get")
        clients.same((root / f"{name}.put").read_bytes(), UPLOAD, f"{name} put")
    assert all(event["outcome"] in ("ok", "probe", "closed") for event in server.events("transfer"))
    print({f"{name} {way}": round(seconds, 1) for (name, way), seconds in took.items()})
