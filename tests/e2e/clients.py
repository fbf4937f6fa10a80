"""The TFTP clients of Debian 12, each behind the same three functions.

A client is a row: which program, how a get and a put are spelled, which options it can ask for.
"""

import itertools
import pathlib
import shutil
import subprocess

import pytest

TIMEOUT = 60


def need(program):
    path = shutil.which(program, path="/usr/bin:/bin:/usr/sbin:/sbin:/usr/local/bin")
    if path is None:
        pytest.skip(f"{program} is not installed")
    return path


def _bracket(host):
    return f"[{host}]" if ":" in host else host


class Curl:
    """curl(1): blksize, tsize and timeout, or no option at all. Netascii stays unconverted."""

    name = "curl"

    def __init__(self, blksize=None, options=True):
        self.arguments = []
        if blksize is not None:
            self.arguments += ["--tftp-blksize", str(blksize)]
        if not options:
            self.arguments += ["--tftp-no-options"]

    def get(self, address, remote, local, ascii_mode=False):
        more = ["--use-ascii"] if ascii_mode else []
        url = f"tftp://{_bracket(address[0])}:{address[1]}/{remote}"
        return [need("curl"), "-sS", "-g", *self.arguments, *more, "-o", str(local), url]

    def put(self, address, local, remote, ascii_mode=False):
        more = ["--use-ascii"] if ascii_mode else []
        url = f"tftp://{_bracket(address[0])}:{address[1]}/{remote}"
        return [need("curl"), "-sS", "-g", *self.arguments, *more, "-T", str(local), url]


class Hpa:
    """tftp(1) of tftp-hpa 5.2: no options; octet or ascii, which it converts."""

    name = "tftp-hpa"

    def get(self, address, remote, local, ascii_mode=False):
        return self._command(address, ascii_mode) + ["-c", "get", remote, str(local)]

    def put(self, address, local, remote, ascii_mode=False):
        return self._command(address, ascii_mode) + ["-c", "put", str(local), remote]

    @staticmethod
    def _command(address, ascii_mode):
        mode = "ascii" if ascii_mode else "octet"
        family = "-6" if ":" in address[0] else "-4"
        return [need("tftp"), family, "-m", mode, address[0], str(address[1])]


class Atftp:
    """atftp(1): every option it knows, by --option."""

    name = "atftp"

    def __init__(self, **options):
        self.arguments = []
        for key, value in options.items():
            self.arguments += ["--option", f"{key} {value}" if value != "" else key]

    def get(self, address, remote, local, ascii_mode=False):
        return [need("atftp"), *self._mode(ascii_mode), "--get", "-r", remote, "-l", str(local),
                address[0], str(address[1])]

    def put(self, address, local, remote, ascii_mode=False):
        return [need("atftp"), *self._mode(ascii_mode), "--put", "-l", str(local), "-r", remote,
                address[0], str(address[1])]

    def _mode(self, ascii_mode):
        return self.arguments + (["--option", "mode netascii"] if ascii_mode else [])


class Busybox:
    """busybox tftp: octet; blksize by -b, then with tsize."""

    name = "busybox"

    def __init__(self, blksize=None):
        self.arguments = [] if blksize is None else ["-b", str(blksize)]

    def get(self, address, remote, local, ascii_mode=False):
        assert not ascii_mode
        return [need("busybox"), "tftp", "-g", *self.arguments, "-r", remote, "-l", str(local),
                address[0], str(address[1])]

    def put(self, address, local, remote, ascii_mode=False):
        assert not ascii_mode
        return [need("busybox"), "tftp", "-p", *self.arguments, "-l", str(local), "-r", remote,
                address[0], str(address[1])]


def run(command, cwd=None, timeout=TIMEOUT):
    """Runs a client to its end; (exit code, what it said)."""
    result = subprocess.run(command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, timeout=timeout, check=False)
    return result.returncode, result.stdout.decode("utf-8", "replace")


def download(client, address, remote, folder, ascii_mode=False):
    """The bytes that the client stored; fails with what it said when it did not."""
    local = pathlib.Path(folder) / "got"
    local.unlink(missing_ok=True)
    command = client.get(address, remote, local, ascii_mode)
    code, said = run(command, folder)
    assert code == 0, f"{' '.join(command)}: exit code {code}: {said}"
    # A client that got an empty file may make none.
    content = local.read_bytes() if local.exists() else b""
    assert "rror" not in said, f"{' '.join(command)}: {said}"
    local.unlink(missing_ok=True)
    return content


def upload(client, address, content, remote, folder, ascii_mode=False):
    """Sends the bytes; fails with what the client said when it did not succeed."""
    local = pathlib.Path(folder) / "sent"
    local.write_bytes(content)
    command = client.put(address, local, remote, ascii_mode)
    code, said = run(command, folder)
    assert code == 0 and "rror" not in said, f"{' '.join(command)}: exit code {code}: {said}"


def same(got, expected, what):
    """Equality with a message that fits a screen."""
    if got == expected:
        return
    at = next((i for i, (a, b) in enumerate(zip(got, expected)) if a != b),
              min(len(got), len(expected)))
    raise AssertionError(f"{what}: {len(got)} bytes instead of {len(expected)}, first difference "
                         f"at {at}: {got[at:at + 16]!r} instead of {expected[at:at + 16]!r}")


def atftps(blksizes, windows, timeouts):
    """All combinations of these, and with tsize or without: {name: client}."""
    found = {}
    for blksize, window, tsize, timeout in itertools.product(
            blksizes, windows, (False, True), timeouts):
        asked = {}
        if tsize:
            asked["tsize"] = ""
        if timeout is not None:
            asked["timeout"] = timeout
        if blksize is not None:
            asked["blksize"] = blksize
        if window is not None:
            asked["windowsize"] = window
        name = "-".join(["atftp"] + [f"{key}{value}" for key, value in asked.items()])
        found[name] = Atftp(**asked)
    return found
