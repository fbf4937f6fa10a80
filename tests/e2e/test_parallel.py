"""Many real clients at once: all of them get their file."""

import subprocess

import pytest

import clients
import conftest

COUNT = 200
KINDS = (clients.Curl(), clients.Hpa(), clients.Busybox(1428),
         clients.Atftp(blksize=1428, windowsize=4), clients.Curl(8192), clients.Atftp())


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("parallel")
    for n in range(10):
        (root / f"file{n}").write_bytes(conftest.pattern(200_000 + n))
        (root / f"file{n}").chmod(0o644)
    return root


@pytest.mark.sanitize
@pytest.mark.plain
def test_200_downloads(backend, start, root, tmp_path):
    server = start(root, backend)
    running = []
    for n in range(COUNT):
        client = KINDS[n % len(KINDS)]
        host = ("127.0.0.1", "::1")[n // len(KINDS) % 2]
        local = tmp_path / f"got{n}"
        command = client.get(server.address(host), f"file{n % 10}", local)
        running.append((n, local, subprocess.Popen(command, stdin=subprocess.DEVNULL,
                                                   stdout=subprocess.PIPE,
                                                   stderr=subprocess.STDOUT)))
    failed = []
    for n, local, process in running:
        said, _ = process.communicate(timeout=120)
        if process.returncode or not local.exists():
            failed.append(f"{n}: exit code {process.returncode}: {said!r}")
        elif local.read_bytes() != conftest.pattern(200_000 + n % 10):
            failed.append(f"{n}: {KINDS[n % len(KINDS)].name}: wrong content: {said!r}")
    assert not failed, "\n".join(failed[:10])
    server.stop()
    done = server.events("transfer")
    # On a busy machine busybox, which repeats its request after 100 ms, may be heard once more
    # when it is done; that costs a first answer and no more.
    late = [event for event in done if event["outcome"] != "ok"]
    assert [event for event in late if event["outcome"] != "closed" or event["bytes"]] == []
    assert len(done) - len(late) == COUNT
