"""ringtftp on a terminal: the progress display, and Ctrl-C."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import threading
import time

import pytest

import tftp
from scripted import Scripted


class Terminal:
    """The client as a session leader on a pseudo-terminal of 100 columns."""

    def __init__(self, client, *arguments):
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            os.chdir(client.folder)
            for number in signal.SIGINT, signal.SIGHUP:  # ignored where tests run in background
                signal.signal(number, signal.SIG_DFL)
            command = client.command(*arguments)
            os.execv(command[0], command)
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
        self.output = b""

    def read_until(self, pattern, timeout=15):
        """Reads until the output so far matches."""
        end = time.monotonic() + timeout
        while not re.search(pattern, self.output):
            left = end - time.monotonic()
            assert left > 0, f"{pattern!r} did not come: {self.output!r}"
            if not select.select([self.master], [], [], left)[0]:
                continue
            try:
                self.output += os.read(self.master, 65536)
            except OSError:
                assert re.search(pattern, self.output), f"{pattern!r} not in {self.output!r}"

    def wait(self):
        """Reads to the end; the exit code."""
        while True:
            try:
                data = os.read(self.master, 65536)
            except OSError:
                break
            if not data:
                break
            self.output += data
        _, status = os.waitpid(self.pid, 0)
        os.close(self.master)
        self.pid = None
        return os.waitstatus_to_exitcode(status)

    def screen(self, columns=100):
        """What stands on the screen in the end."""
        lines, row, column = [""], 0, 0
        for part in re.findall(rb"\x1b\[\d*[A-Za-z]|\r|\n|[^\x1b\r\n]+", self.output):
            if part == b"\r":
                column = 0
            elif part == b"\n":
                row, column = row + 1, column
                while len(lines) <= row:
                    lines.append("")
            elif part.startswith(b"\x1b["):
                count = int(part[2:-1] or 1)
                if part.endswith(b"A"):
                    row = max(0, row - count)
                elif part.endswith(b"K"):
                    lines[row] = lines[row][:column]
                elif part.endswith(b"J"):
                    lines[row] = lines[row][:column]
                    del lines[row + 1:]
            else:
                text = part.decode("utf-8", "replace")
                assert column + len(text) <= columns, f"line too long: {text!r}"
                lines[row] = lines[row][:column].ljust(column) + text + \
                    lines[row][column + len(text):]
                column += len(text)
        return [line.rstrip() for line in lines if line.strip()]


@pytest.fixture
def stepping():
    """A server that sends a file of 100 blocks, `allowed` of them."""
    state = {"allowed": 0, "changed": threading.Condition(), "cancelled": []}

    def script(c):
        c.oack(tsize=100 * 512 - 12)
        c.expect(tftp.ACK, 0)
        n = 1
        while n <= 100:
            with state["changed"]:
                if n > state["allowed"]:
                    if state["changed"].wait(0.02):
                        continue
                    pause = True
                else:
                    pause = False
            if pause:
                packet = c.receive(0.001)
                if packet and packet.opcode == tftp.ERROR:
                    state["cancelled"].append(packet)
                    return
                continue
            c.send(tftp.data(n, b"x" * (500 if n == 100 else 512)))
            c.expect(tftp.ACK, n)
            n += 1

    with Scripted(script) as server:
        def allow(blocks):
            with state["changed"]:
                state["allowed"] = blocks
                state["changed"].notify_all()

        server.allow = allow
        server.state = state
        yield server


def test_progress_bar(client, stepping):
    terminal = Terminal(client, "get", "-b", "512", "-w", "1", stepping.target("kernel"))
    stepping.allow(25)
    terminal.read_until(rb"(^|[\r\n])kernel +\[=+> +\]  25%")
    stepping.allow(60)
    terminal.read_until(rb"\[=+> +\]  60%")
    terminal.read_until(rb"ETA \d+:\d\d")
    stepping.allow(100)
    assert terminal.wait() == 0
    screen = terminal.screen()
    assert len(screen) == 1
    assert re.match(r"kernel  50\.0 KiB in [0-9.]+ s, ", screen[0])
    assert (client.folder / "kernel").read_bytes() == b"x" * (100 * 512 - 12)


def test_several_files(client, stepping):
    terminal = Terminal(client, "get", "-b", "512", "-w", "1", stepping.target("one"),
                        stepping.target("two"))
    stepping.allow(50)
    terminal.read_until(rb"one [^\n]*50%[^\n]*\n[^\n]*two [^\n]*50%[^\n]*\n[^\n]*total 0 of 2")
    stepping.allow(100)
    assert terminal.wait() == 0
    screen = terminal.screen()
    assert len(screen) == 3
    assert screen[-1].startswith("2 of 2 files, ")


@pytest.mark.parametrize("how", ["key", "SIGTERM", "SIGHUP"])
def test_interrupted(client, stepping, how):
    """Clean screen, no partial file, the server is told, exit code 130."""
    (client.folder / "other").write_bytes(b"stays")
    terminal = Terminal(client, "get", "-b", "512", "-w", "1", stepping.target("kernel"))
    stepping.allow(40)
    terminal.read_until(rb"40%")
    if how == "key":
        os.write(terminal.master, b"\x03")
    else:
        os.kill(terminal.pid, getattr(signal, how))
    assert terminal.wait() == 130
    screen = [line.replace("^C", "") for line in terminal.screen()]
    assert [line for line in screen if line] == \
        [f"ringtftp: {stepping.target('kernel')}: interrupted"]
    assert client.files() == ["other"]
    for thread in stepping.threads[1:]:
        thread.join(5)
    assert [p.code for p in stepping.state["cancelled"]] == [0]


def test_quiet(client, stepping):
    stepping.allow(100)
    terminal = Terminal(client, "get", "-q", "-b", "512", "-w", "1", stepping.target("kernel"))
    assert terminal.wait() == 0
    assert terminal.output == b""
