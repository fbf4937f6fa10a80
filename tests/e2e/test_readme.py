"""What the documents show is true: their commands run, their configuration is accepted, their log
line looks like the server's."""

import os
import re
import signal
import subprocess

import pytest

import conftest

README = conftest.TOP / "README.md"
OPERATIONS = conftest.TOP / "docs" / "operations.md"


def blocks(kind, document=README):
    """The fenced blocks behind <!-- tested: KIND -->."""
    text = document.read_text(encoding="utf-8")
    found = re.findall(r"<!-- tested: " + kind + r" -->\n```\w*\n(.*?)```", text, re.DOTALL)
    assert found, f"no block marked {kind}"
    return found


@pytest.fixture
def sample(tmp_path):
    """`make run` without the make: the sample server, on any free port."""
    process = subprocess.Popen([conftest.TOP / "tools" / "run-sample", conftest.BUILD, "0"],
                               cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    ports = []
    lines = []
    for line in process.stderr:
        lines.append(line)
        match = re.search(r"listening.*address=(\S+):(\d+)", line)
        if match:
            ports.append((match.group(1), match.group(2)))
        if len(ports) == 2:
            break
    assert len(ports) == 2, lines
    yield process, dict(ports)["127.0.0.1"]
    if process.poll() is None:
        process.kill()
    process.communicate()


def test_client_commands(sample, tmp_path):
    """Each command of the README, with the port of this run; what it fetched is the sample."""
    process, port = sample
    for block in blocks("client"):
        for command in block.strip().splitlines():
            command = command.replace("127.0.0.1:6969", f"127.0.0.1:{port}")
            command = command.replace("127.0.0.1 6969", f"127.0.0.1 {port}")
            command = command.replace("build/src/cli", str(conftest.PROGRAM.parent))
            assert port in command
            result = subprocess.run(["bash", "-c", command], cwd=tmp_path, timeout=60,
                                    stdin=subprocess.DEVNULL, capture_output=True, check=False)
            assert result.returncode == 0, (command, result.stderr)
            if "-l -" in command or command.startswith("curl"):
                assert result.stdout == b"Hello from ringtftpd.\n", command
    assert (tmp_path / "hello.txt").read_bytes() == b"Hello from ringtftpd.\n"
    assert os.path.getsize(tmp_path / "1MiB.bin") == 1 << 20
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0


def test_self_test_command(tmp_path):
    """With the programs of the build, and a folder for the one it names."""
    tmp_path.chmod(0o755)
    path = f"{conftest.PROGRAM.parent}:{os.environ['PATH']}"
    for block in blocks("self-test"):
        command = block.strip().replace("/srv/tftp", str(tmp_path))
        assert str(tmp_path) in command
        result = subprocess.run(["bash", "-c", command], env={**os.environ, "PATH": path},
                                timeout=60, stdin=subprocess.DEVNULL, capture_output=True,
                                text=True, check=False)
        assert result.returncode == 0, result.stdout + result.stderr
        assert result.stdout.splitlines()[-1].split() == ["result", "held"]


def test_install_command(tmp_path):
    """What the table says is there and nothing beside it; the units and the sample fit the rest."""
    text = README.read_text(encoding="utf-8").split("## Installing")[1].split("\n## ")[0]
    command = blocks("install")[0].strip().replace("-C build", f"-C {conftest.BUILD} --no-rebuild")
    subprocess.run(["bash", "-c", command], env={**os.environ, "DESTDIR": str(tmp_path)},
                   timeout=60, stdin=subprocess.DEVNULL, capture_output=True, check=True)
    prefix = tmp_path / re.search(r"`/(usr/local)`:", text).group(1)
    named = [path for row in re.findall(r"^\| (`.*?) \|", text, re.M)
             for path in re.findall("`([^`]+)`", row)]
    assert len(named) >= 8
    assert [path for path in named if not (prefix / path).exists()] == []
    files = [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()]
    assert [path for path in files if not path.startswith(
        tuple(str(prefix.relative_to(tmp_path) / path) for path in named))] == []

    unit = (prefix / "lib/systemd/system/ringtftpd.service").read_text(encoding="ascii")
    program, config = re.search(r"^ExecStart=/(\S+) -c (\S+)", unit, re.M).groups()
    assert f"reads `{config}`" in text
    sample = prefix / "share/doc/ringtftp/ringtftpd.toml"
    for arguments in (["--version"], ["-c", sample, "--check-config"]):
        subprocess.run([tmp_path / program, *arguments], stdout=subprocess.DEVNULL, timeout=20,
                       check=True)
    for page in ("man1/ringtftp.1", "man5/ringtftpd.toml.5", "man8/ringtftpd.8"):
        assert (prefix / "share/man" / page).exists(), page


def test_configuration(tmp_path):
    for number, block in enumerate(blocks("config")):
        path = tmp_path / f"{number}.toml"
        path.write_text(block, encoding="utf-8")
        result = subprocess.run([conftest.PROGRAM, "-c", path, "--check-config"], timeout=20,
                                stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                check=False)
        assert result.returncode == 0, result.stderr


def _shape(line):
    """A log line with everything that differs from run to run taken out."""
    line = re.sub(r"^\S+Z ", "TIME ", line)
    return re.sub(r"(peer|ms)=\S+", r"\1=X", line)


def test_log_line(start, tmp_path):
    (tmp_path / "hello.txt").write_bytes(b"Hello from ringtftpd.\n")
    (tmp_path / "hello.txt").chmod(0o644)
    server = start(tmp_path, log_format="text")
    host, port = server.address()
    subprocess.run(["curl", "-sS", "--tftp-no-options", f"tftp://{host}:{port}/hello.txt"],
                   stdout=subprocess.DEVNULL, timeout=60, check=True)
    server.stop()
    lines = [_shape(line) for line in server.lines if " transfer " in line]
    assert lines == [_shape(blocks("log")[0].strip())]


def test_documents_exist():
    """Links between our documents lead somewhere."""
    for document in [README, conftest.TOP / "CONTRIBUTING.md", conftest.TOP / "CHANGES.md",
                     conftest.TOP / "SECURITY.md", *(conftest.TOP / "docs").glob("*.md")]:
        for link in re.findall(r"\]\(([^)#:]+)\)", document.read_text(encoding="utf-8")):
            assert (document.parent / link).exists(), f"{document.name}: {link}"


def test_dependencies_are_installed():
    """A second run of tools/deps finds nothing to do and is silent."""
    result = subprocess.run([conftest.TOP / "tools" / "deps", "build"], timeout=60,
                            stdin=subprocess.DEVNULL, capture_output=True, text=True,
                            check=False)
    assert (result.returncode, result.stdout) == (0, "")


def test_operations(tmp_path):
    """The example is accepted, and no counter is missing."""
    config = tmp_path / "example.toml"
    for text in blocks("config", OPERATIONS):
        config.write_text(text, encoding="utf-8")
        subprocess.run([conftest.PROGRAM, "--root", str(tmp_path), "-c", config, "--check-config"],
                       check=True)
    table = OPERATIONS.read_text(encoding="utf-8").split("## Counters")[1]
    metrics = (conftest.TOP / "src" / "obs" / "metrics.def").read_text(encoding="ascii")
    rows = re.findall(r'METRIC\(\w+, "(\w+)", "\w+", "([^"]+)"\)', metrics)
    assert len(rows) > 20
    for name, words in rows:
        assert f"| `{name}` | {words} |\n" in table, name
