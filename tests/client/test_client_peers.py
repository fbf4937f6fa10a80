"""ringtftp against the servers people run today, each in a network namespace of its own."""

import fcntl
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

import busybox_peer
from conftest import harness, pattern
from test_client_hostile import DENIED, NOT_FOUND, OK, UNREACHABLE

sys.path.insert(0, str(harness.TOP / "bench"))
servers = pytest.importorskip("servers", reason="bench/servers.py is not in this checkout")

SIZES = (0, 1, 512, 1428, 65464, 300001)
BOTH = ("127.0.0.1", "::1")

# What is tried with each: uploads, windows, addresses.
PEERS = {
    "ringtftpd": {"uploads": True, "window": True, "hosts": BOTH},
    "in.tftpd": {"uploads": True, "window": False, "hosts": BOTH},
    "atftpd": {"uploads": True, "window": True, "hosts": BOTH[:1]},
    "dnsmasq": {"uploads": False, "window": False, "hosts": BOTH},
    "busybox": {"uploads": True, "window": False, "hosts": BOTH},
}


def program(name):
    """Where the server is, unpacked from its Debian package if need be; one test at a time."""
    if name == "ringtftpd":
        return str(harness.PROGRAM)
    folder = harness.TOP / "build"
    folder.mkdir(exist_ok=True)
    with open(folder / "peers.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            if name == "busybox":
                return busybox_peer.program(folder)
            return str(servers.peer_program(name, folder))
        except (servers.Unavailable, busybox_peer.Unavailable) as reason:
            pytest.skip(str(reason))


def command(name, root, host):
    path = program(name)
    if name == "in.tftpd":
        return [path, "-L", "-c", "-p", "-U", "022", "-u", "root", "-s", str(root)]
    if name == "atftpd":
        return [path, "--daemon", "--no-fork", "--bind-address", host, "--user", "root", "--group",
                "root", "--logfile", "/dev/null", str(root)]
    if name == "dnsmasq":
        return [path, "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--enable-tftp",
                f"--tftp-root={root}", "--user=root", "--group=root", "--pid-file=",
                "--log-facility=/dev/null"]
    if name == "ringtftpd":
        written = f"[{host}]:69" if ":" in host else f"{host}:69"
        return [path, "--root", str(root), "--listen", written, "-o", "write.enabled=true"]
    # Absolute: udpsvd enters no folder of its own, and tftpd serves below the root.
    return [path, "udpsvd", "-E", host, "69", path, "tftpd", "-c", str(root)]


@pytest.fixture(params=[(name, host) for name in PEERS for host in PEERS[name]["hosts"]],
                ids=lambda p: f"{p[0]}-{'v6' if ':' in p[1] else 'v4'}")
def peer(request, tmp_path, client):
    """(name, root, get/put/probe in the server's namespace, host as written)"""
    name, host = request.param
    if os.geteuid() != 0:
        pytest.skip("network namespaces and port 69 need root")
    if subprocess.run(["unshare", "-n", "ip", "link", "set", "lo", "up"], capture_output=True,
                      check=False).returncode != 0:
        pytest.skip("network namespaces are refused here")
    root = tmp_path / "root"
    root.mkdir()
    root.chmod(0o777)
    process = subprocess.Popen(["unshare", "-n", "/bin/sh", "-c", 'ip link set lo up; exec "$@"',
                                "sh", *command(name, root, host)], stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                               start_new_session=True,
                               env=servers.peer_environment(name, harness.TOP / "build"))

    def run(what, *arguments, **rest):
        if name == "busybox" and what != "probe":
            arguments = ("-j", "1", *arguments)  # udpsvd loses requests that come together
        return client(what, *arguments, prefix=("nsenter", "-t", str(process.pid), "-n"), **rest)

    written = f"[{host}]" if ":" in host else host
    try:
        end = time.monotonic() + 15
        while True:
            code = run("probe", "-r", "1", f"{written}:ready").returncode
            assert process.poll() is None, f"{name} has ended"
            if code in (NOT_FOUND, DENIED):
                break
            assert code == UNREACHABLE, code
            assert time.monotonic() < end, f"{name} does not listen"
        yield name, root, run, written
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def place(root, name, content):
    path = pathlib.Path(root) / name
    path.write_bytes(content)
    path.chmod(0o666)


OPTIONS = [(), ("--no-options",), ("-b", "512"), ("-b", "1428", "-w", "4"), ("-b", "8192", "-t", "2"),
           ("-b", "65464", "-w", "16"), ("--no-tsize",)]


def test_downloads(peer, client):
    name, root, run, host = peer
    for size in SIZES:
        place(root, f"{size}", pattern(size))
    for options in OPTIONS:
        done = run("get", *options, *(f"{host}:{size}" for size in SIZES))
        assert done.returncode == OK, (options, done.text)
        for size in SIZES:
            assert (client.folder / f"{size}").read_bytes() == pattern(size), (options, size)
            (client.folder / f"{size}").unlink()
    assert run("get", f"{host}:missing").returncode in (NOT_FOUND, DENIED)
    assert not client.files()
    done = run("get", "-v", "-b", "1428", "-w", "4", f"{host}:300001")
    assert ("windowsize=4" in done.text.split("< OACK")[1].splitlines()[0]) \
        == PEERS[name]["window"], done.text


def test_netascii(peer, client):
    name, root, run, host = peer
    text = b"one\ntwo\r\nthree" + b"\n" * 600
    place(root, "t", text)
    if name == "busybox":
        pytest.skip("busybox's tftpd knows octet only")
    done = run("get", "-m", "netascii", f"{host}:t")
    assert done.returncode == OK, done.text
    assert (client.folder / "t").read_bytes() == text


def stored(path, content, patience=10):
    """Whether the file comes to hold this: atftpd says so (the last ACK) before it has written all."""
    end = time.monotonic() + patience
    while path.read_bytes() != content:
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def test_uploads(peer, client):
    name, root, run, host = peer
    for size in SIZES:
        (client.folder / f"{size}").write_bytes(pattern(size))
    if not PEERS[name]["uploads"]:
        assert run("put", "1", f"{host}:").returncode != OK
        return
    for options in OPTIONS:
        done = run("put", *options, *SIZES, f"{host}:")
        assert done.returncode == OK, (options, done.text)
        for size in SIZES:
            assert stored(root / f"{size}", pattern(size)), (options, size)
            (root / f"{size}").unlink()


def test_probe(peer, client):
    _, root, run, host = peer
    place(root, "f", pattern(5000))
    done = run("probe", "--json", f"{host}:f")
    assert done.returncode == OK, done.text
    assert b'"tsize":5000' in done.stdout
