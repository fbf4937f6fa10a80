"""What bench/fast_path.py counts, as far as it is short and sure."""

import json
import os
import shutil
import subprocess

import pytest

import conftest


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"),
                    reason="namespaces want root and unshare")
def test_idle_server_sleeps(tmp_path):
    """No wake-up in five seconds on either engine, with busy waiting allowed."""
    if subprocess.run(["unshare", "--net", "true"], check=False).returncode != 0:
        pytest.skip("no right to make a network namespace")
    out = tmp_path / "lines.json"
    got = subprocess.run(["/usr/bin/python3", conftest.TOP / "bench" / "fast_path.py", "--build",
                          conftest.BUILD, "--only", "idle", "--json", out], timeout=120,
                         stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if "io_uring" in got.stderr and "did not start" in got.stderr:
        pytest.skip("no io_uring here")
    assert got.returncode == 0, got.stdout + got.stderr
    lines = json.loads(out.read_text(encoding="utf-8"))
    assert len(lines) == 2 and all(line["verdict"] == "holds" for line in lines)
