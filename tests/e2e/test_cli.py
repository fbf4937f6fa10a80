"""The command line of ringtftpd: one sentence for each mistake and an exit code of sysexits.h."""

import json
import os
import signal
import socket
import subprocess

import pytest

import conftest
import tftp

OK, USAGE, UNAVAILABLE, CONFIG = 0, 64, 69, 78


def run(*arguments, timeout=20):
    """(exit code, standard output, standard error)"""
    result = subprocess.run([str(conftest.PROGRAM), *map(str, arguments)], timeout=timeout,
                            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    for mark in conftest.SANITIZER_MARKS:
        assert mark not in result.stderr, result.stderr
    return result.returncode, result.stdout, result.stderr


@pytest.fixture
def config(tmp_path):
    """Writes a configuration file and gives its path."""
    def write(text):
        path = tmp_path / "ringtftpd.toml"
        path.write_text(text, encoding="utf-8")
        return path
    return write


@pytest.mark.sanitize
def test_version():
    code, out, err = run("--version")
    assert (code, err) == (OK, "")
    assert out.startswith("ringtftpd ") and out.count("\n") == 1


def test_help():
    code, out, err = run("--help")
    assert (code, err) == (OK, "")
    for word in ("--root", "--listen", "--check-config", "--dump-config", "--version", "-c", "-o"):
        assert word in out
    assert run("-h")[1] == out


@pytest.mark.sanitize
@pytest.mark.parametrize("arguments,problem", [
    (["--nonsense"], "there is no option --nonsense (try --help)"),
    (["--nonsense=1"], "there is no option --nonsense (try --help)"),
    (["--self-test", "-xh"], "there is no option -x (try --help)"),
    (["-x"], "there is no option -x (try --help)"),
    (["-c"], "-c needs a value (try --help)"),
    (["--config"], "--config needs a value (try --help)"),
    (["--listen"], "--listen needs a value (try --help)"),
    (["--dump-config=1"], "--dump-config takes no value (try --help)"),
    (["--help=1"], "--help takes no value (try --help)"),
    (["--c"], "--c stands for more than one option (try --help)"),
    (["surplus"], "surplus: unexpected argument, expected options only (try --help)"),
])
def test_usage_mistakes(arguments, problem):
    """One line, whatever the path that the program was started by."""
    assert run(*arguments) == (USAGE, "", f"ringtftpd: {problem}\n")


GOOD = """
root = "/srv/tftp"
listen = ["127.0.0.1:0"]
[write]
enabled = true
allowed_patterns = ["backup/**"]
[log]
format = "json"
[performance.platform.io_uring]
enabled = true
queue_depth = 4096
"""


@pytest.mark.sanitize
def test_check_config_good(config):
    code, out, err = run("-c", config(GOOD), "--check-config")
    assert (code, err) == (OK, "")
    assert out.count("\n") == 1
    assert run("-o", "root=/no/such/folder", "-o", "security.user=nobody-of-that-name",
               "--check-config") == (OK, out, "")


BAD = {
    "wrong type": ("[write]\nenabled = 1\n",
                   "{file}:2:11: write.enabled: expected true or false, found an integer"),
    "out of range": ("[performance]\nthreads = 0\n",
                     "{file}:2:11: performance.threads: 0 is out of range, expected 1 to 256 "
                     "threads"),
    "queue depth": ("[performance.platform.io_uring]\nqueue_depth = 4097\n",
                    "{file}:2:15: performance.platform.io_uring.queue_depth: 4097 is out of range, "
                    "expected 1 to 4096 operations"),
    "list": ("listen = 69\n", "{file}:1:10: listen: expected a list of strings, found an integer"),
}


@pytest.mark.sanitize
@pytest.mark.parametrize("case", BAD)
def test_check_config_bad(config, case):
    """File, line, column, what was found and what was expected; the same without the check."""
    text, sentence = BAD[case]
    path = config(text)
    for arguments in (["--check-config"], []):
        code, out, err = run("-c", path, *arguments)
        assert (code, out) == (CONFIG, "")
        assert err == f"ringtftpd: {sentence.format(file=path)}\n"


@pytest.mark.parametrize("text,words", [
    ("[performance.platfrom]\nx = 1\n", ("1:", "performance.platfrom")),
    ("rot = '/'\n", ("1:1", "rot")),
    ("[log]\nformat = 'xml'\n", ("2:10", "log.format", "text", "json")),
    ("root = \n", ("1:",)),
    ("[log]\nformat = text\n", ("2:11", "text in quotes")),
    ("[log]\nformat = nein\n", ("2:11", "text in quotes")),
    ("[write]\nenabled = yes\n", ("2:11", "true or false without quotes")),
    ("root = '/a'\nroot = '/b'\n", ("2:",)),
])
def test_check_config_unknown(config, text, words):
    code, out, err = run("-c", config(text), "--check-config")
    assert (code, out) == (CONFIG, "")
    assert err.count("\n") == 1
    for word in words:
        assert word in err, err


def test_missing_config_file(tmp_path):
    code, _, err = run("-c", tmp_path / "none.toml", "--check-config")
    assert code == CONFIG
    assert err == f"ringtftpd: {tmp_path}/none.toml: No such file or directory\n"


@pytest.mark.parametrize("assignment,sentence", [
    ("performance.threads=0",
     "-o performance.threads: 0 is out of range, expected 1 to 256 threads"),
    ("write.enabled=1", "-o write.enabled: expected true or false, found an integer"),
    ("write.enabled=yes", "-o write.enabled: error while parsing value: could not determine value "
     "type (a value is true or false without quotes, a number, text in quotes, or a list in "
     "brackets)"),
    ("root", "-o root: expected section.key=value"),
])
def test_assignment_mistakes(assignment, sentence):
    code, out, err = run("-o", assignment, "--check-config")
    assert (code, out, err) == (CONFIG, "", f"ringtftpd: {sentence}\n")


@pytest.mark.sanitize
def test_dump_round_trip(config, tmp_path):
    """What is dumped reads back to the same; the command line wins over the file."""
    arguments = ["-c", config(GOOD), "--root", tmp_path, "--listen", "127.0.0.1:6969", "--listen",
                 "[::1]:6969", "-o", "performance.threads=7", "-o", "log.level=debug"]
    code, out, err = run(*arguments, "--dump-config")
    assert (code, err) == (OK, "")
    for line in (f'root = "{tmp_path}"', "threads = 7", 'level = "debug"', 'format = "json"',
                 "queue_depth = 4096"):
        assert line in out.splitlines(), line
    again = tmp_path / "dumped.toml"
    again.write_text(out, encoding="utf-8")
    assert run("-c", again, "--dump-config") == (OK, out, "")


def test_dump_defaults_round_trip(tmp_path):
    code, out, _ = run("--dump-config")
    assert code == OK
    path = tmp_path / "defaults.toml"
    path.write_text(out, encoding="utf-8")
    assert run("-c", path, "--dump-config")[1] == out


@pytest.mark.sanitize
def test_port_in_use(tmp_path):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        own.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{own.getsockname()[1]}"
        code, out, err = run("--root", tmp_path, "--listen", address)
    assert (code, out) == (UNAVAILABLE, "")
    assert address in err and "Address already in use" in err
    assert err.count("\n") == 1


@pytest.mark.sanitize
def test_missing_root(tmp_path):
    code, out, err = run("--root", tmp_path / "none", "--listen", "127.0.0.1:0")
    assert (code, out) == (CONFIG, "")
    assert f"{tmp_path}/none" in err and "No such file or directory" in err
    assert err.count("\n") == 1


def test_root_is_a_file(tmp_path):
    (tmp_path / "file").write_text("x", encoding="ascii")
    code, _, err = run("--root", tmp_path / "file", "--listen", "127.0.0.1:0")
    assert code == CONFIG and "Not a directory" in err


@pytest.mark.sanitize
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_ends_on_signal(start, tmp_path, number):
    """Nothing under way: one signal, exit code 0, at once."""
    server = start(tmp_path)
    server.works()
    # The transfer above dallies for nobody: the client's last ACK has come.
    server.process.send_signal(number)
    assert server.process.wait(10) == 0
    server.reader.join(10)
    workers = len([line for line in server.lines if "packets by" in line])
    for kind in ("stats", "engines"):
        assert sorted(e["worker"] for e in server.events(kind)) == list(range(workers)), kind
    assert sum(e["transfers_ok_total"] for e in server.events("stats")) >= 1


@pytest.mark.thorough
def test_second_signal_ends_at_once(start, tmp_path, backend):
    """An upload and a download that would go on: told so by ERROR 0, and nothing partial is left."""
    (tmp_path / "file").write_bytes(b"x" * 2000)
    (tmp_path / "file").chmod(0o644)
    server = start(tmp_path, backend, ("write.enabled=true",))
    with tftp.Peer(server.address()) as down, tftp.Peer(server.address()) as up:
        down.ask(tftp.rrq("file"))
        down.reply(tftp.ack(1))
        assert down.receive().block == 2
        up.ask(tftp.wrq("new"))
        up.reply(tftp.data(1, b"y" * 512))
        assert up.receive().block == 1
        server.process.send_signal(signal.SIGTERM)
        server.wait_line(lambda line: "stopping" in line)
        assert server.process.poll() is None
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(10) == 0
        for own in (down, up):
            said = [p for p in own.collect(0.1) if p.opcode == tftp.ERROR]
            assert [p.code for p in said] == [0], said
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.thorough
def test_drains(start, tmp_path, backend):
    """A running transfer is finished after SIGTERM; a new one is not begun."""
    content = conftest.pattern(20_000)
    (tmp_path / "file").write_bytes(content)
    (tmp_path / "file").chmod(0o644)
    server = start(tmp_path, backend, ("performance.workers=1",))
    with tftp.Peer(server.address()) as own, tftp.Peer(server.address()) as late:
        packet = own.ask(tftp.rrq("file"))
        own.reply(tftp.ack(1))
        server.process.send_signal(signal.SIGTERM)
        server.wait_line(lambda line: "stopping" in line)
        late.send(tftp.rrq("file"))
        while server.counters()["requests_stopping_total"] == 0:
            assert server.process.poll() is None
        parts, expected = [packet.payload], 2
        while len(parts[-1]) == 512:
            packet = own.receive()
            assert packet is not None
            if packet.opcode == tftp.DATA and packet.block == expected:
                parts.append(packet.payload)
                own.reply(tftp.ack(expected))
                expected += 1
        assert b"".join(parts) == content
        assert server.process.wait(20) == 0
        assert [p for p in late.collect(0.1) if p.opcode == tftp.DATA] == []


@pytest.fixture
def reloadable(start, tmp_path):
    """(server, reload): reload(text) writes the configuration file anew, as editors do it, and sends
    SIGHUP."""
    config = tmp_path / "ringtftpd.toml"
    (tmp_path / "root").mkdir()
    tmp_path.chmod(0o755)  # it is read again by the user who serves
    servers = []

    def reload(text):
        new = tmp_path / "new"
        new.write_text(text, encoding="ascii")
        new.rename(config)
        servers[0].process.send_signal(signal.SIGHUP)

    def begin(text, options=()):
        config.write_text(text, encoding="ascii")
        servers.append(start(tmp_path / "root", options=options, arguments=("-c", str(config))))
        return servers[0], reload

    return begin


def test_reload(reloadable):
    """SIGHUP takes the file's new values over; a mistake in it keeps the old ones."""
    server, reload = reloadable("[write]\nenabled = true\n")
    assert tftp.store(server.address(), "a", b"x") is None
    for number, enabled in enumerate((False, True)):
        reload(f"[write]\nenabled = {str(enabled).lower()}\n")
        for attempt in range(50):
            refused = tftp.store(server.address(), f"a{number}-{attempt}", b"x")
            if (refused is None) == enabled:
                break
        assert (refused is None) == enabled, "the reload did not come through"
    reload("[write]\nenabled = 7\n")
    server.wait_line(lambda line: "expected true or false" in line)
    assert tftp.store(server.address(), "b", b"x") is None


def test_reload_opens_no_folder(reloadable):
    """What could not be written to at the start needs a restart, and the log says so."""
    server, reload = reloadable("[write]\nenabled = false\n")
    if server.wait_event("confined")["landlock"] != "in force":
        pytest.skip("no Landlock here")
    reload("[write]\nenabled = true\n")
    server.wait_line(lambda line: "uploads to folders that could not take any" in line)
    server.wait_line(lambda line: "configuration reloaded" in line)
    assert tftp.store(server.address(), "a", b"x").code == tftp.E_ACCESS


def test_reload_opens_a_folder(reloadable):
    """Without Landlock a restart is not needed."""
    server, reload = reloadable("[write]\nenabled = false\n", ("security.landlock=off",))
    reload("[write]\nenabled = true\n")
    for attempt in range(50):
        refused = tftp.store(server.address(), f"a{attempt}", b"x")
        if refused is None:
            break
    assert refused is None, "uploads are still refused after the reload"


def test_reload_without_the_file(reloadable, tmp_path):
    """A file that is gone is named, and the old configuration kept."""
    server, _ = reloadable("[write]\nenabled = true\n")
    (tmp_path / "ringtftpd.toml").unlink()
    server.process.send_signal(signal.SIGHUP)
    server.wait_line(lambda line: "ringtftpd.toml: No such file" in line)
    assert tftp.store(server.address(), "b", b"x") is None


def test_reload_without_permission(reloadable, tmp_path):
    """The user who may not read the file is named."""
    if os.geteuid() != 0:
        pytest.skip("needs root: who owns the file can always open it to itself")
    server, _ = reloadable("[write]\nenabled = true\n")
    (tmp_path / "ringtftpd.toml").chmod(0o600)
    server.process.send_signal(signal.SIGHUP)
    user = conftest.service_user().pw_name
    line = server.wait_line(lambda line: "cannot read it" in line)
    assert json.loads(line)["msg"] == (f'{tmp_path}/ringtftpd.toml: user "{user}" cannot read it: '
                                       "Permission denied")


def test_listening_means_serving(start, tmp_path):
    """A request sent the moment the log names the address is answered, every time."""
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "file").chmod(0o644)
    for _ in range(15):
        server = start(tmp_path)
        assert tftp.fetch(server.address(), "file")[0] == b"content"
        server.kill()
