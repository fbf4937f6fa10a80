"""A slow file system, the load generator, and what the server says of itself, for tests that
need them."""

import json
import os
import signal
import subprocess
import time

import conftest
import tftp

BENCH = conftest.BUILD / "src" / "cli" / "ringtftp-bench"
SLOW_FS = conftest.BUILD / "tests" / "helpers" / "slow-fs"


class SlowDisk:
    """Shows `folder` at `mountpoint`, each read `delay_ms` late; files named hang... do not answer
    at all until release()."""

    def __init__(self, folder, mountpoint, delay_ms):
        self.mountpoint = mountpoint
        mountpoint.mkdir(exist_ok=True)
        self.process = subprocess.Popen([str(SLOW_FS), str(folder), str(mountpoint),
                                         str(delay_ms)], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        end = time.monotonic() + 10
        while not os.path.ismount(mountpoint):
            if self.process.poll() is not None or time.monotonic() > end:
                self.process.kill()
                raise OSError(self.process.stderr.read().decode("utf-8", "replace").strip())
            time.sleep(0.005)

    @staticmethod
    def unavailable():
        """Why there is none here, or None."""
        if not SLOW_FS.exists():
            return "the helper is not built (libfuse3 >= 3.12 is missing)"
        if not os.access("/dev/fuse", os.R_OK | os.W_OK):
            return "/dev/fuse is missing or not ours"
        return None

    def release(self):
        self.process.send_signal(signal.SIGUSR1)

    def close(self):
        self.release()
        subprocess.run(["umount", "--lazy", str(self.mountpoint)], check=False,
                       stderr=subprocess.DEVNULL)
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stderr.close()


def begin_load(server, names, local, *arguments):
    """Starts the generator; end_load() gives its numbers."""
    host, port = server.address()
    command = [str(BENCH), f"{host}:{port}", "--quiet", "--json", "-", "--local", str(local),
               *map(str, arguments), *names]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE)


def end_load(process, timeout=120):
    out, err = process.communicate(timeout=timeout)
    assert process.returncode in (0, 75), err.decode("utf-8", "replace")
    return json.loads(out)


def load(server, names, local, *arguments, timeout=120):
    result = end_load(begin_load(server, names, local, *arguments), timeout)
    result["server_says"] = [event for event in server.events("transfer")
                             if event["outcome"] != "ok" or event["resent"]]
    return result


def numbers(server):
    """The line of engine numbers, summed over the workers where that makes sense."""
    before = len(server.events("engines"))
    workers = {event["msg"].split(":")[0] for event in server.events("message")
               if "packets by" in event["msg"]}
    server.process.send_signal(signal.SIGUSR1)
    server.wait_event("engines",
                      lambda _: len(server.events("engines")) >= before + len(workers))
    lines = server.events("engines")[before:]
    total = dict(lines[0])
    for line in lines[1:]:
        for key, value in line.items():
            if key.endswith("_max") or "_us_p" in key:
                total[key] = max(total[key], value)
            elif isinstance(value, int):
                total[key] += value
    return total


def messages(server, part):
    """The log's messages that hold this text."""
    return [event["msg"] for event in server.events("message") if part in event["msg"]]


def block_latencies(address, name):
    """Fetches a file in lock-step with blocks of 512; seconds from each ACK to its DATA."""
    times = []
    with tftp.Peer(address) as peer:
        packet = peer.ask(tftp.rrq(name))
        while len(packet.payload) == 512:
            begin = time.perf_counter()
            peer.reply(tftp.ack(packet.block))
            packet = peer.receive()
            assert packet is not None and packet.opcode == tftp.DATA, packet
            times.append(time.perf_counter() - begin)
        peer.reply(tftp.ack(packet.block))
    return times


def quantile(values, q):
    values = sorted(values)
    return values[min(len(values) - 1, int(q * len(values)))]


def make_files(folder, count, size, prefix="f"):
    """Files of bytes that differ from file to file; their names."""
    names = []
    for n in range(count):
        path = folder / f"{prefix}{n}"
        path.write_bytes(conftest.pattern(size, seed=f"{prefix}{n}"))
        path.chmod(0o644)
        names.append(path.name)
    return names


def drop_from_page_cache(folder):
    """Takes the files of a folder out of the page cache. False where that cannot be done."""
    os.sync()
    cold = True
    for path in folder.iterdir():
        fd = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            try:
                cold = cold and os.preadv(fd, [bytearray(1)], 0, os.RWF_NOWAIT) == 0
            except BlockingIOError:
                pass  # it would have to wait for the disk
            except OSError:
                cold = False
        finally:
            os.close(fd)
    return cold


def bytes_from_disk(server):
    """What the process has caused to be read from storage."""
    with open(f"/proc/{server.process.pid}/io", encoding="ascii") as lines:
        return int(next(line for line in lines if line.startswith("read_bytes")).split()[1])
