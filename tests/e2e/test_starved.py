"""Memory runs out while the server reads its configuration, starts, or reloads: it says so and ends, or
goes on with what it has. Nothing crashes, hangs, or leaks. (What serving does without memory is the
simulator's to find out.)"""

import os
import re
import signal
import subprocess
import sys

import pytest

import conftest
import tftp

STARVED = conftest.BUILD / "tests" / "helpers" / "ringtftpd-starved"
FOR_GOOD = 1000000
ENGINES = pytest.mark.parametrize("engine", ("mmsg", "io_uring"))
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
    if os.geteuid() == 0:
        conftest.hand_over(root)
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


def starved(place, engine, at, times):
    """A start up to where it serves, or has ended: (process, lines)."""
    command = [STARVED, "-c", place]
    for option in (*conftest.SURROUNDINGS, "listen=127.0.0.1:0", "performance.workers=1",
                   "performance.platform.io_uring.enabled=" + str(engine == "io_uring").lower(),
                   f"performance.platform.network.engine={engine}"):
        command += ["-o", option]
    process = subprocess.Popen(command, env=environment("open", at, times), text=True,
                               stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
    lines = []
    for line in process.stderr:
        lines.append(line.rstrip("\n"))
        if "serving" in line:
            break
    return process, lines


def ended(process, lines):
    """All lines, after SIGTERM when it still runs; a server that hangs is killed."""
    try:
        if lines and "serving" in lines[-1]:
            process.terminate()
        return lines + process.communicate(timeout=20)[1].splitlines()
    finally:
        process.kill()
        process.wait()


@ENGINES
@TIMES
def test_start(place, engine, times):
    """F02: it ends with one sentence, or does without what it could not have and serves."""
    process, lines = starved(place, engine, 0, 0)
    lines = ended(process, lines)
    assert process.returncode == 0, lines
    total = told(lines)[-1][0]
    assert total > 20, lines
    refusals = 0
    for at in range(1, total + 1):
        process, lines = starved(place, engine, at, times)
        try:
            serving = bool(lines) and "serving" in lines[-1]
            if serving and times == 1:
                port = int(re.search(r"listening address=127\.0\.0\.1:(\d+)", "\n".join(lines)).group(1))
                assert tftp.fetch(("127.0.0.1", port), "file")[0] == b"content"
        finally:
            lines = ended(process, lines)
        text = "\n".join((f"allocation {at}, exit code {process.returncode}", *lines))
        if serving:
            assert process.returncode == 0, text
            continue
        refusals += 1
        assert process.returncode == os.EX_OSERR, text
        errors = [line.split(" error ", 1)[1] for line in lines if " error " in line]
        assert len(errors) == 1 and re.match(r"[a-z].*(memory|temporarily unavailable)", errors[0]), text
    assert refusals > 5


# What the two configurations let be read and written.
SIDES = {side: f"""
[write]
enabled = true
allowed_patterns = ["{side}-upload*", "{side}-more*"]
[access]
rules = ["allow read 127.0.0.0/8 {side}-file", "deny read 127.0.0.0/8 *-file", "allow any *"]
""" for side in ("left", "right")}


def lets(server, request):
    """Whether it is answered by more than a refusal. Each request is a new peer's, for any worker."""
    peer = tftp.Peer(server.address())
    packet = peer.ask(request)
    if packet.opcode != tftp.ERROR:
        peer.reply(tftp.error(0))
    else:
        assert packet.code == tftp.E_ACCESS, packet
    peer.socket.close()
    return packet.opcode != tftp.ERROR


def asked(server):
    """The configuration in force. All requests have to meet the same one."""
    sides = {side for side in SIDES for _ in range(4) if lets(server, tftp.rrq(f"{side}-file"))}
    sides |= {side for side in SIDES for _ in range(4) if lets(server, tftp.wrq(f"{side}-upload"))}
    assert len(sides) == 1, (sides, server.lines[-8:])
    return sides.pop()


def outcome(server, before):
    """What the log says about a reload, in lines from there on: that the running configuration is kept,
    or that both workers took the new one. With (allocations, held)."""
    def said():
        return [line for line in server.lines[before:]
                if "is kept" in line or "configuration reloaded" in line]

    with server.changed:
        assert server.changed.wait_for(
            lambda: told(server.lines[before:]) and (len(said()) == 2 or "is kept" in "".join(said())), 10), \
            "\n".join(server.lines[before:])
        assert len(said()) == 1 or "is kept" not in "".join(said()), said()
        return said()[0], told(server.lines[before:])[0]


@TIMES
def test_reload(start, tmp_path, times):
    """F02: each allocation of a reload fails once: the new configuration is in force, or the old one
    and the log says so; never some of each."""
    root = tmp_path / "root"
    root.mkdir()
    for side in SIDES:
        (root / f"{side}-file").write_bytes(b"content")
        (root / f"{side}-file").chmod(0o644)
    config = tmp_path / "ringtftpd.toml"
    config.write_text(SIDES["left"], encoding="ascii")
    tmp_path.chmod(0o755)
    server = start(root, options=("performance.workers=2", "write.allow_overwrite=true"),
                   arguments=("-c", str(config)), program=(STARVED,),
                   environment=environment("reload", 0, times))
    side, number, refusals, total = "left", 0, 0, 0
    least, most = sys.maxsize, 0
    while total >= number:
        number += 1  # of the allocation that fails in this reload
        wanted = "right" if side == "left" else "left"
        config.write_text(SIDES[wanted], encoding="ascii")
        before = len(server.lines)
        server.process.send_signal(signal.SIGHUP)
        said, (total, held) = outcome(server, before)
        least, most = min(least, held), max(most, held)
        refusals += "is kept" in said
        side = side if "is kept" in said else wanted
        assert asked(server) == side
    assert most - least < 100, "each reload leaves something behind"
    assert refusals > 50 and asked(server) == side
    server.works()
