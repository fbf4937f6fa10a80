"""Starts ringtftpd for the tests: any free port, one folder of its own, watched to the end."""

import contextlib
import errno
import fcntl
import json
import os
import pathlib
import pwd
import random
import re
import signal
import subprocess
import threading
import time
import tomllib

import pytest

import tftp

TOP = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("RINGTFTP_BUILD", TOP / "build"))
PROGRAM = BUILD / "src" / "cli" / "ringtftpd"
SANITIZED = bool(os.environ.get("RINGTFTP_SANITIZED"))
SANITIZER_MARKS = ("AddressSanitizer", "LeakSanitizer", "runtime error:", "UndefinedBehavior")

# A server that root starts serves as somebody else; one that is started otherwise stays who it is,
# and only then has to be told that its descriptors may be counted.
# A sanitizer opens and traces whatever it likes at the end, so the walls are tested without it.
SURROUNDINGS = (() if os.geteuid() == 0 else ("security.debuggable=true",)) + \
    (("security.landlock=off", "security.seccomp=off") if SANITIZED else ())

# File back end and network engine, as configuration.
BACKENDS = {
    "threads-mmsg": ("performance.platform.io_uring.enabled=false",
                     "performance.platform.network.engine=mmsg"),
    "uring-mmsg": ("performance.platform.io_uring.enabled=true",
                   "performance.platform.io_uring.fallback_on_error=false",
                   "performance.platform.network.engine=mmsg"),
    "threads-uring": ("performance.platform.io_uring.enabled=false",
                      "performance.platform.network.engine=io_uring"),
    "uring-uring": ("performance.platform.io_uring.enabled=true",
                    "performance.platform.io_uring.fallback_on_error=false",
                    "performance.platform.network.engine=io_uring"),
}
REQUIRED_BACKEND = "threads-mmsg"
# The same server in a sandbox that refuses io_uring; only run when RINGTFTP_BACKENDS names them.
DENIED = {f"denied-{name}": (str(BUILD / "tests" / "helpers" / "deny-call"), "io_uring_setup",
                             str(getattr(errno, name))) for name in ("EPERM", "ENOSYS")}
BACKENDS_DENIED = {name: ("performance.platform.io_uring.enabled=true",
                          "performance.platform.network.engine=auto") for name in DENIED}


class NotBuilt(Exception):
    """The server says that it cannot do what the configuration asks for here."""


def service_user():
    """Who serves when root starts the server without saying who."""
    for name in ("tftp", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            pass
    raise AssertionError("neither a user tftp nor nobody")


def hand_over(root, arguments=()):
    """What is below becomes the server's: folders of tests are root's alone otherwise. The folder of
    its configuration, which that user reads again, is open to it."""
    for file in (arguments[i + 1] for i, word in enumerate(arguments) if word == "-c"):
        os.chmod(pathlib.Path(file).parent, 0o755)
    user = service_user()
    for folder, _, files in os.walk(root):
        for path in (folder, *(os.path.join(folder, name) for name in files)):
            os.chown(path, user.pw_uid, user.pw_gid, follow_symlinks=False)


class Server:
    """A running ringtftpd. Its log is read as it comes; nothing is waited for by sleeping."""

    def __init__(self, root, options=(), listen=("127.0.0.1:0", "[::1]:0"), log_format="json",
                 arguments=(), program=(PROGRAM,), environment=None, prepare=None, inherited=()):
        self.root = pathlib.Path(root)
        self.log_format = log_format
        self.lines = []
        self.addresses = []
        self.changed = threading.Condition()
        self.closed = False
        if os.geteuid() == 0:
            hand_over(root, arguments)
        command = [*map(str, program), "--root", str(root), "-o", f"log.format={log_format}",
                   "-o", "log.level=info"]
        for address in listen:
            command += ["--listen", address]
        for option in (*SURROUNDINGS, *options):
            command += ["-o", option]
        self.process = subprocess.Popen([*command, *map(str, arguments)], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                        env={**os.environ, **(environment or {})},
                                        preexec_fn=prepare, pass_fds=inherited)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        self._wait_listening(len(listen))

    def _read(self):
        for raw in self.process.stderr:
            line = raw.decode("utf-8", "replace").rstrip("\n")
            with self.changed:
                self.lines.append(line)
                address = self._listening(line)
                if address:
                    self.addresses.append(address)
                self.changed.notify_all()
        with self.changed:
            self.closed = True
            self.changed.notify_all()

    def _listening(self, line):
        if self.log_format == "json":
            try:
                event = json.loads(line)
            except ValueError:
                return None
            text = event.get("address") if event.get("event") == "listening" else None
        else:
            match = re.search(r"\blistening\b.*\baddress=(\S+)", line)
            text = match.group(1) if match else None
        if not text:
            return None
        host, _, port = text.rpartition(":")
        return host.strip("[]"), int(port)

    def _wait_listening(self, count):
        with self.changed:
            self.changed.wait_for(lambda: len(self.addresses) >= count or self.closed, 20)
            if len(self.addresses) >= count:
                return
        self.process.kill()
        self.process.wait()
        text = "\n".join(self.lines)
        if re.search(r"not built|built without|not available|not supported|io_uring.*refuse", text):
            raise NotBuilt(self.lines[-1])
        raise AssertionError(f"ringtftpd did not start listening:\n{text}")

    def address(self, host="127.0.0.1"):
        """Where to send requests; the first listening address of that family."""
        want6 = ":" in host
        for own, port in self.addresses:
            if (":" in own) == want6:
                return (host, port)
        raise AssertionError(f"does not listen on {host}")

    def events(self, name):
        """The lines of one kind so far (JSON log)."""
        with self.changed:
            lines = list(self.lines)
        found = []
        for line in lines:
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if event.get("event") == name:
                found.append(event)
        return found

    def wait_event(self, name, match=lambda event: True, timeout=10):
        """The first line of this kind that matches; waits for it."""
        end = time.monotonic() + timeout
        with self.changed:
            while True:
                for line in self.lines:
                    if name not in line:
                        continue
                    try:
                        event = json.loads(line)
                    except ValueError:
                        continue
                    if event.get("event") == name and match(event):
                        return event
                left = end - time.monotonic()
                if left <= 0 or not self.changed.wait(left):
                    tail = "\n".join(self.lines[-20:])
                    raise AssertionError(f"no {name!r} line came; the log ends:\n{tail}")

    def wait_line(self, match, timeout=10):
        """The first line for which match(line) is true; waits for it."""
        with self.changed:
            self.changed.wait_for(lambda: any(match(line) for line in self.lines), timeout)
            for line in self.lines:
                if match(line):
                    return line
            tail = "\n".join(self.lines[-20:])
        raise AssertionError(f"the line did not come; the log ends:\n{tail}")

    def counters(self):
        """The counters of all workers together, as SIGUSR1 has them logged (JSON log)."""
        workers = len([line for line in self.lines if "packets by" in line])
        for _ in range(20):  # a line is lost when thousands of others fill the pipe
            before = len(self.events("stats"))
            self.process.send_signal(signal.SIGUSR1)
            with self.changed:
                if self.changed.wait_for(lambda before=before: sum(
                        '"event":"stats"' in line for line in self.lines) >= before + workers, 1):
                    break
        total = {}
        for event in self.events("stats")[before:before + workers]:
            for name, value in event.items():
                if isinstance(value, int):
                    total[name] = total.get(name, 0) + value
        return total

    def rss_kib(self):
        text = pathlib.Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return int(re.search(r"VmRSS:\s+(\d+)", text).group(1))

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def works(self):
        """A download that must succeed; leaves the file in place."""
        path = self.root / "still-alive.txt"
        path.write_bytes(b"still alive\n" * 100)
        path.chmod(0o644)
        content, _ = tftp.fetch(self.address(), "still-alive.txt")
        assert content == b"still alive\n" * 100

    def stop(self):
        """SIGTERM; the exit code must be 0 and no sanitizer may have spoken. Tests leave transfers
        half way, which the server would let finish: a second SIGTERM ends these."""
        assert self.process.poll() is None, f"ringtftpd had ended ({self.process.returncode}):\n" \
            + "\n".join(self.lines[-40:])
        self.process.send_signal(signal.SIGTERM)
        try:
            try:
                code = self.process.wait(0.5)
            except subprocess.TimeoutExpired:
                self.process.send_signal(signal.SIGTERM)
                code = self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError("ringtftpd did not end within 20 s of SIGTERM") from None
        finally:
            self.reader.join(5)
            self.process.stderr.close()
        text = "\n".join(self.lines)
        spoken = [text.find(mark) for mark in SANITIZER_MARKS if mark in text]
        assert not spoken, text[max(0, min(spoken) - 200):][:6000]
        assert code == 0, f"exit code {code}:\n{text[-4000:]}"

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def backends():
    chosen = os.environ.get("RINGTFTP_BACKENDS")
    return chosen.split(",") if chosen else list(BACKENDS)


def catalogue_numbers():
    """{(file, test function): the numbers of docs/catalogue.toml that name it}."""
    table = tomllib.loads((TOP / "docs" / "catalogue.toml").read_text(encoding="utf-8"))
    named = {}
    for group in table.values():
        for number, _, _, tests, *_ in group["entries"]:
            for reference in tests.split():
                if reference.startswith("e2e/"):
                    file, _, name = reference.removeprefix("e2e/").partition("::")
                    named.setdefault((f"test_{file}.py", name), set()).add(number)
    return named


def pytest_collection_modifyitems(config, items):
    """`-k B59` finds what the catalogue names for B59. Long tests run with both file back ends and
    both engines, but not with all mixtures."""
    named = catalogue_numbers()
    for item in items:
        item.extra_keyword_matches |= named.get((item.path.name, item.originalname), set())
    plain = [name for name in backends() if name in ("threads-mmsg", "uring-uring")] or backends()
    dropped = [item for item in items if item.get_closest_marker("thorough")
               and item.callspec.params["backend"] not in plain]
    config.hook.pytest_deselected(items=dropped)
    items[:] = [item for item in items if item not in set(dropped)]


@pytest.fixture(scope="session", autouse=True)
def _program():
    assert PROGRAM.exists(), f"{PROGRAM} is not built"


@pytest.fixture(scope="module", params=backends())
def backend(request):
    """Each combination of file back end and network engine."""
    return request.param


def _start(root, backend=None, options=(), **rest):
    own = (BACKENDS | BACKENDS_DENIED)[backend] if backend else ()
    if backend in DENIED:
        rest["program"] = (*DENIED[backend], *rest.get("program", (PROGRAM,)))
    try:
        return Server(root, (*own, *options), **rest)
    except NotBuilt as reason:
        if backend in (None, REQUIRED_BACKEND):
            raise
        pytest.skip(f"{backend}: {reason}")


@pytest.fixture(scope="module")
def module_servers():
    """start(root, ...) for servers that live as long as the test module."""
    yield from _starter()


@pytest.fixture
def start():
    """start(root, ...) for servers of one test."""
    yield from _starter()


def _starter():
    servers = []

    def begin(root, backend=None, options=(), **rest):
        server = _start(root, backend, options, **rest)
        servers.append(server)
        return server

    yield begin
    problem = None
    for server in servers:
        try:
            if server.process.returncode is None:
                server.stop()
        except AssertionError as error:
            problem = problem or error
            server.kill()
    if problem:
        raise problem


@contextlib.contextmanager
def handed(*sockets):
    """Arguments of start() for a server that gets these from a service manager (sd_listen_fds(3))."""
    high = [fcntl.fcntl(sock, fcntl.F_DUPFD, 20) for sock in sockets]
    places = " ".join(f"{3 + i}<&{fd}" for i, fd in enumerate(high))
    # LISTEN_PID is the server's own: a shell sets it and becomes the server.
    try:
        yield {"program": ("/bin/bash", "-c",
                           f'LISTEN_PID=$$ LISTEN_FDS={len(high)} exec "$@" {places}', "bash",
                           PROGRAM), "inherited": high}
    finally:
        for fd in high:
            os.close(fd)


def pattern(size, seed=None):
    """Bytes that repeat nowhere in step with a block; the same for the same size."""
    return random.Random(size if seed is None else seed).randbytes(size)


@pytest.fixture(scope="session")
def samples(tmp_path_factory):
    """A folder of files to download, made once: {name: bytes}, and where it is."""
    root = tmp_path_factory.mktemp("samples")
    files = {f"{n}.bin": pattern(n)
             for n in (0, 1, 511, 512, 513, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 33 << 20)}
    files["edges.txt"] = netascii_edges()
    files["plain.txt"] = b"".join(b"line %d\n" % n for n in range(5000))
    files["ends-in-cr.txt"] = b"x" * 511 + b"\r"
    for name, content in files.items():
        path = root / name
        path.write_bytes(content)
        path.chmod(0o644)
    return root, files


def netascii_edges():
    """Text with CR, LF, CR LF, CR CR and CR NUL before, on and behind many block ends."""
    text = bytearray()
    for special in (b"\n", b"\r", b"\r\n", b"\r\r", b"\n\n", b"\n\r", b"\r\0"):
        for before in range(505, 514):
            text += b"a" * before + special
    return bytes(text) + b"\n" * 1500 + b"\r" * 1500 + b"\r\n" * 700
