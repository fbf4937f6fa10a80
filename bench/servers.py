"""How each server under test is started: pinned to one processor, quiet, on a folder of files.

    bench/servers.py BUILD    unpacks the servers of others below BUILD/peers where they are absent
"""

import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

TOP = pathlib.Path(__file__).resolve().parents[1]
# Program: its Debian package and the libraries that are not on every machine.
PEERS = {"in.tftpd": ("tftpd-hpa", "libwrap0"), "atftpd": ("atftpd", "libwrap0", "libpcre3"),
         "dnsmasq": ("dnsmasq-base",)}

# ringtftpd: network engine and file back end.
COMBINATIONS = {
    "mmsg+threads": ("mmsg", "false"),
    "mmsg+io_uring": ("mmsg", "true"),
    "io_uring+threads": ("io_uring", "false"),
    "io_uring+io_uring": ("io_uring", "true"),
}


class Unavailable(Exception):
    """A measurement that cannot be made; the text says why."""


class Absent(Unavailable):
    """This server cannot be had here at all."""


def free_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def peer_program(name, build):
    """The program from its Debian package: unpacked below BUILD/peers (two of them cannot be
    installed together, and one brings a program of the other's name), or as installed."""
    folder = build / "peers" / name
    place = folder / "usr/sbin" / name
    absent = [p for p in PEERS[name] if not list(folder.glob(f"{p}_*.deb"))]
    installed = pathlib.Path("/usr/sbin") / name
    if absent and not place.exists() and installed.exists():
        return installed
    if absent and (not shutil.which("apt-get") or not shutil.which("dpkg-deb")):
        raise Absent(f"{name} is not installed and this is not Debian")
    for package in absent:
        folder.mkdir(parents=True, exist_ok=True)
        got = subprocess.run(["apt-get", "download", package], cwd=folder,
                             stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        found = sorted(folder.glob(f"{package}_*.deb"))
        if got.returncode != 0 or not found:
            raise Absent(f"the package {package} cannot be downloaded")
        subprocess.run(["dpkg-deb", "-x", str(found[-1]), str(folder)], check=True)
    if not place.exists():
        raise Absent(f"the package {PEERS[name][0]} holds no {name}")
    return place


def peer_environment(name, build):
    """With the libraries that were unpacked."""
    folders = [str(p) for p in (build / "peers" / name).glob("**/*-linux-gnu*") if p.is_dir()]
    path = os.environ.get("LD_LIBRARY_PATH", "")
    return {**os.environ, "LD_LIBRARY_PATH": ":".join([*folders, *([path] if path else [])])}


def peer_version(name, build):
    """As the package says."""
    found = sorted((build / "peers" / name).glob(f"{PEERS[name][0]}_*.deb"))
    if found:
        return found[-1].name.split("_")[1]
    got = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", PEERS[name][0]],
                         capture_output=True, text=True, check=False)
    return got.stdout or "unknown"


def default_enabled(build):
    """The default of performance.platform.io_uring.enabled, as the program says."""
    got = subprocess.run([str(build / "src/cli/ringtftpd"), "--dump-config"],
                         stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    section = got.stdout.partition("[performance.platform.io_uring]")[2]
    found = re.search(r"^#?\s*enabled = (\w+)", section, re.MULTILINE)
    return found.group(1) if found else "unknown"


def command_of(name, build, root, options, address=None):
    """(arguments, host, port) of a server by its name, on loopback unless told otherwise."""
    port = free_port()
    host = address or "127.0.0.1"
    if name == "floor":
        files = sorted(str(p) for p in root.iterdir() if p.is_file())
        return [str(build / "src/bench/floor"), str(port), *files], host, port
    if name.startswith("ringtftpd"):
        engine, uring = COMBINATIONS[name.split(" ")[1]]
        settings = {"performance.platform.network.engine": engine,
                    "performance.platform.io_uring.enabled": uring,
                    "performance.workers": "1", "log.level": "notice", "log.format": "json"}
        if uring == "true":
            settings["performance.platform.io_uring.fallback_on_error"] = "false"
        settings.update(options)
        command = [str(build / "src/cli/ringtftpd"), "--root", str(root), "--listen",
                   f"{host}:{port}"]
        for key, value in settings.items():
            command += ["-o", f"{key}={value}"]
        return command, host, port
    program = str(peer_program(name, build))
    if os.geteuid() != 0:
        raise Absent(f"{name} wants to be started by root")
    if name == "in.tftpd":
        return [program, "-L", "-c", "-p", "-a", f"{host}:{port}", "-u", "root", "-s",
                str(root)], host, port
    if name == "atftpd":
        return [program, "--daemon", "--no-fork", "--port", str(port), "--bind-address", host,
                "--maxthread", "20000", "--user", "root", "--group", "root", "--logfile",
                "/dev/null", str(root)], host, port
    host, port = address or "127.0.69.1", 69  # its port is fixed, so it has an address of its own
    return [program, "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--enable-tftp",
            f"--tftp-root={root}", "--tftp-max=20000", f"--listen-address={host}",
            "--bind-interfaces", "--user=root", "--group=root", "--pid-file=",
            "--log-facility=/dev/null"], host, port


def make_group():
    """A control group that counts the processor time of all that run in it, or None."""
    for place in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/cpuacct"):
        group = pathlib.Path(place) / f"ringtftp-bench-{os.getpid()}"
        if not (pathlib.Path(place) / "cgroup.procs").exists():
            continue
        try:
            group.mkdir(exist_ok=True)
        except OSError:
            continue
        if (group / "cpu.stat").exists() or (group / "cpuacct.usage").exists():
            return group
        group.rmdir()
    return None


class Server:
    """A running server. With `with`: it and all its children are gone afterwards."""

    def __init__(self, name, build, root, cpu=None, options=None, realtime=False, address=None):
        self.name = name
        command, self.host, self.port = command_of(name, build, pathlib.Path(root), options or {},
                                                   address)

        self.group = make_group()

        def prepare():
            os.setsid()
            if self.group:
                (self.group / "cgroup.procs").write_text("0")
            if cpu is not None:
                os.sched_setaffinity(0, {cpu})
            if realtime:
                os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))

        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log,
                                        stderr=subprocess.STDOUT, preexec_fn=prepare,
                                        env=peer_environment(name, build) if name in PEERS else None)
        try:
            self._wait_ready()
        except BaseException:
            self.stop()
            raise

    @property
    def pid(self):
        return self.process.pid

    @property
    def group_options(self):
        """For the load generator."""
        return ["--server-cgroup", str(self.group)] if self.group else []

    @property
    def address(self):
        return f"{self.host}:{self.port}"

    def _listening(self):
        want = "%08X:%04X" % (int.from_bytes(socket.inet_aton(self.host), "little"), self.port)
        anywhere = "00000000:%04X" % self.port
        with open("/proc/net/udp", encoding="ascii") as lines:
            return any(line.split()[1] in (want, anywhere) for line in lines if ":" in line)

    def _wait_ready(self):
        end = time.monotonic() + 20
        while not self._listening():
            if self.process.poll() is not None or time.monotonic() > end:
                self.log.seek(0)
                text = self.log.read().decode("utf-8", "replace").strip().splitlines()
                raise Unavailable(f"{self.name} did not start: {text[-1] if text else 'no word'}")
            time.sleep(0.01)

    def disk_bytes(self):
        """What it has read from disk so far, past the page cache."""
        try:
            for line in pathlib.Path(f"/proc/{self.pid}/io").read_text().splitlines():
                if line.startswith("read_bytes"):
                    return int(line.split()[1])
        except OSError:
            pass
        return None

    def holds(self):
        """(resident bytes, open descriptors) now."""
        folder = pathlib.Path(f"/proc/{self.pid}")
        pages = int((folder / "statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE"), len(list((folder / "fd").iterdir()))

    def memory_high(self):
        """The most memory it ever had resident, in bytes; None when it has children."""
        children = pathlib.Path(f"/proc/{self.pid}/task/{self.pid}/children")
        try:
            if children.read_text():
                return None
            for line in pathlib.Path(f"/proc/{self.pid}/status").read_text().splitlines():
                if line.startswith("VmHWM"):
                    return int(line.split()[1]) * 1024
        except OSError:
            pass
        return None

    def words(self):
        """What ringtftpd says of its reads and turns when it is asked."""
        if not self.name.startswith("ringtftpd"):
            return {}
        self.process.send_signal(signal.SIGUSR1)
        end = time.monotonic() + 5
        while time.monotonic() < end and self.process.poll() is None:
            said = os.pread(self.log.fileno(), 1 << 20, 0).decode("utf-8", "replace")
            for line in said.splitlines(keepends=True):
                if '"event":"engines"' in line and line.endswith("\n"):
                    return {"engines": json.loads(line)}
            time.sleep(0.01)
        return {}

    def stop(self):
        for sig in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.process.pid, sig)
            except ProcessLookupError:
                pass
            try:
                self.process.wait(5)
                break
            except subprocess.TimeoutExpired:
                continue
        try:
            os.killpg(self.process.pid, signal.SIGKILL)  # children that outlived it
        except ProcessLookupError:
            pass
        self.log.close()
        for _ in range(100):  # the last of its processes may still be on their way out
            if not self.group:
                break
            try:
                self.group.rmdir()
                self.group = None
            except OSError:
                time.sleep(0.01)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def main():
    for name in PEERS:
        try:
            peer_program(name, pathlib.Path(sys.argv[1]).resolve())
        except (Unavailable, OSError, subprocess.SubprocessError) as error:
            print(f"{name} will not be tested with: {error}", file=sys.stderr)


if __name__ == "__main__":
    main()
