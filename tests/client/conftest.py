"""Runs ringtftp for the tests, against ringtftpd, other servers, and a scripted one."""

import importlib.util
import os
import pathlib
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
E2E = HERE.parent / "e2e"
for folder in (str(E2E), str(HERE)):
    if folder not in sys.path:
        sys.path.insert(0, folder)

_spec = importlib.util.spec_from_file_location("e2e_harness", E2E / "conftest.py")
harness = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(harness)

PROGRAM = harness.BUILD / "src" / "cli" / "ringtftp"


class Client:
    """ringtftp in a folder of its own."""

    def __init__(self, folder):
        self.folder = folder

    def command(self, *arguments):
        return [str(PROGRAM), *map(str, arguments)]

    def __call__(self, *arguments, stdin=b"", prefix=(), timeout=60, env=None):
        done = subprocess.run([*prefix, *self.command(*arguments)], input=stdin, timeout=timeout,
                              cwd=self.folder, capture_output=True, check=False,
                              env=dict(os.environ, **(env or {})))
        done.text = done.stderr.decode("utf-8", "replace")
        for mark in harness.SANITIZER_MARKS:
            assert mark not in done.text, done.text[-8000:]
        assert done.returncode >= 0, f"ended by signal {-done.returncode}\n{done.text}"
        return done

    def files(self):
        """What stands in its folder."""
        return sorted(entry.name for entry in os.scandir(self.folder))


@pytest.fixture(scope="session", autouse=True)
def _program():
    assert PROGRAM.exists(), f"{PROGRAM} is not built"


@pytest.fixture
def client(tmp_path):
    folder = tmp_path / "client"
    folder.mkdir()
    return Client(folder)


@pytest.fixture
def start():
    """start(root, ...) for servers of one test."""
    yield from harness._starter()


@pytest.fixture
def server(start, tmp_path):
    """ringtftpd on an empty folder that takes uploads."""
    root = tmp_path / "root"
    root.mkdir()
    root.chmod(0o777)
    return start(root, options=("write.enabled=true", "write.allow_overwrite=true"))


def pattern(size):
    return harness.pattern(size)
