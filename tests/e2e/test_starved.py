"""Memory runs out while the server reads its configuration: it says so and ends. Nothing crashes or
leaks. (What serving does without memory is the simulator's to find out.)"""

import os
import re
import subprocess

import pytest

import conftest

STARVED = conftest.BUILD / "tests" / "helpers" / "ringtftpd-starved"
FOR_GOOD = 1000000
TIMES = pytest.mark.parametrize("times", (1, FOR_GOOD), ids=("once", "for-good"))

CONFIG = """
[write]
enabled = true
allowed_patterns = ["a*", "b*"]
[network]
trusted = ["10.0.0.0/8", "192.168.0.0/16"]
[access]
rules = ["allow read 10.0.0.0/8 *.bin", "allow read *"]
"""

pytestmark = pytest.mark.skipif(not STARVED.exists(), reason="a sanitizer has its own malloc()")


@pytest.fixture
def place(tmp_path):
    """The configuration file; beside it is the root."""
    root = tmp_path / "root"
    root.mkdir()
    (root / "file").write_bytes(b"content")
    (root / "file").chmod(0o644)
    config = tmp_path / "ringtftpd.toml"
    config.write_text(f'root = "{root}"\n{CONFIG}', encoding="ascii")
    tmp_path.chmod(0o755)
    return config


def environment(when, at, times):
    return {**os.environ, "RINGTFTPD_STARVED": f"{when},{at},{times}"}


def told(lines):
    """[(allocations, held)] of the lines that the starved server adds."""
    return [tuple(map(int, match.groups())) for line in lines
            if (match := re.search(r"^starved: .*: (\d+) allocations, (-?\d+) held", line))]


def sentences(lines):
    return [line for line in lines if line and not line.startswith("starved:")]


@TIMES
def test_configuration(place, times):
    """Every allocation of reading, checking and printing it."""
    def check(at):
        got = subprocess.run([STARVED, "--check-config", "-c", place, "-o", "listen=127.0.0.1:0"],
                             env=environment("start", at, times), stdin=subprocess.DEVNULL,
                             capture_output=True, text=True, timeout=20, check=False)
        lines = got.stderr.splitlines()
        return got, told(lines)[-1], sentences(lines)

    got, (total, held), _ = check(0)
    assert got.returncode == 0 and total > 100, got
    for at in range(1, total + 1):
        got, (_, left), said = check(at)
        if got.returncode == 0:
            assert not said and left <= held, (at, got)
        else:
            assert got.returncode == os.EX_CONFIG and left <= held, (at, got)
            assert len(said) == 1 and said[0].startswith("ringtftpd: "), (at, got)
            assert "memory" in said[0], (at, got)
