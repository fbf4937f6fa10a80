"""docs/tuning.md is true: its keys and counters exist, its configuration is accepted."""

import re
import signal
import subprocess

import conftest

TEXT = (conftest.TOP / "docs" / "tuning.md").read_text(encoding="utf-8")


def test_configuration(tmp_path):
    found = re.findall(r"<!-- tested: config -->\n```\w*\n(.*?)```", TEXT, re.DOTALL)
    assert found
    for number, block in enumerate(found):
        path = tmp_path / f"{number}.toml"
        path.write_text(block, encoding="utf-8")
        subprocess.run([conftest.PROGRAM, "-c", path, "--check-config"], timeout=20,
                       stdin=subprocess.DEVNULL, check=True)


def test_keys_exist():
    named = set(re.findall(r"`((?:performance|network|protocol|limits)\.[a-z0-9_.]+)(?: = [^`]*)?`",
                           TEXT))
    assert len(named) > 10
    known = subprocess.run([conftest.PROGRAM, "--dump-config"], timeout=20, capture_output=True,
                           stdin=subprocess.DEVNULL, text=True, check=True).stdout
    section, keys = "", set()
    for line in known.splitlines():
        if line.startswith("["):
            section = line.strip("[]") + "."
        match = re.match(r"#?\s*([a-z0-9_]+) = ", line)
        if match:
            keys.add(section + match.group(1))
    assert named <= keys, named - keys


def test_counters_exist(start, tmp_path):
    server = start(tmp_path)
    server.process.send_signal(signal.SIGUSR1)
    event = server.wait_event("engines")
    table = TEXT.split("## Workers")[0]
    named = [name for line in table.splitlines() if line.startswith("| `")
             for name in re.findall(r"`([a-z0-9_]+)`", line.split("|")[1])]
    assert len(named) > 10
    assert [name for name in named if name not in event] == []
