"""The commands that docs/client.md and ringtftp(1) show, run as they stand there."""

import re
import shlex

import pytest

from conftest import harness, pattern
from test_client_hostile import OK
from test_client_transfers import place

GUIDE = (harness.TOP / "docs" / "client.md").read_text(encoding="utf-8")
MANUAL = (harness.TOP / "man" / "ringtftp.1").read_text(encoding="utf-8")
SHOWN = re.findall(r"^\$ ringtftp (.*)$", GUIDE, re.M) + re.findall(r"^\.Dl ringtftp (.*)$", MANUAL,
                                                                   re.M)


@pytest.fixture
def world(client, server, tmp_path):
    """What the examples take for granted: (client, {name there: here})"""
    for name in ("vmlinuz", "initrd.img", "pxelinux.cfg/default", "pxelinux.cfg/C0000207"):
        place(server, name, pattern(50000))
    (server.root / "switch3").mkdir(mode=0o777)
    (server.root / "switch3").chmod(0o777)
    (client.folder / "startup-config").write_bytes(b"hostname switch3\n")
    (client.folder / "names.txt").write_text("default\nC0000207\n")
    images = tmp_path / "images"
    images.mkdir()
    port = server.address()[1]
    return client, {"boot:": f"127.0.0.1:{port}:", "192.0.2.7:": f"127.0.0.1:{port}:",
                    "/srv/images": str(images)}


def test_there_are_some():
    assert len(SHOWN) >= 6


@pytest.mark.parametrize("shown", SHOWN)
def test_shown_command(world, shown):
    client, names = world
    command = shown
    for there, here in names.items():
        command = command.replace(there, here)
    done = client(*shlex.split(command))
    assert done.returncode == OK, done.text
    if not shown.startswith("probe") or f"$ ringtftp {shown}" not in GUIDE:
        return
    lines = GUIDE.split(f"$ ringtftp {shown}\n")[1].split("```")[0].splitlines()[1:]
    wanted = [re.match(r"  (.{12})", line).group(1) for line in lines]
    assert [re.match(r"  (.{12})", line).group(1)
            for line in done.stdout.decode().splitlines()[1:]] == wanted
