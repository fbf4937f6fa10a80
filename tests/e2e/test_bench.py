"""ringtftp-bench: what it counts is what the kernel counted, and it works with every server."""

import hashlib
import json
import os
import pathlib
import pty
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

import conftest

sys.path.insert(0, str(conftest.TOP / "bench"))
import servers  # noqa: E402

BENCH = conftest.BUILD / "src" / "cli" / "ringtftp-bench"
OK, USAGE, NOINPUT, NOHOST, CANTCREAT, TEMPFAIL = 0, 64, 66, 68, 73, 75
RANGE = "127.1.0.1-127.1.0.64"


def bench(address, *arguments, code=OK, inside=()):
    """The numbers of a run."""
    command = [*inside, str(BENCH), address, "--json", "-", *map(str, arguments)]
    got = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                         timeout=120, check=False)
    for mark in conftest.SANITIZER_MARKS:
        assert mark not in got.stderr, got.stderr
    assert got.returncode == code, got.stdout + got.stderr
    return json.loads(got.stdout)


def sentence(*arguments):
    """(exit code, the only line on standard error) of a run that cannot begin."""
    got = subprocess.run([str(BENCH), *map(str, arguments)], stdin=subprocess.DEVNULL,
                         capture_output=True, text=True, timeout=20, check=False)
    assert got.stdout == ""
    assert got.stderr.startswith("ringtftp-bench: ") and got.stderr.count("\n") == 1, got.stderr
    return got.returncode, got.stderr


def all_complete(result, count):
    assert (result["started"], result["succeeded"]) == (count, count)
    assert result["failures"]["all"] == result["unfinished"] == 0


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("bench")
    for name, size in (("small", 6), ("middle", 65536), ("large", 1 << 20)):
        (root / name).write_bytes(conftest.pattern(size))
        (root / name).chmod(0o644)
    return root


def where(server):
    return "%s:%d" % server.address()


@pytest.mark.sanitize
@pytest.mark.parametrize("how", [
    (), ("--source", RANGE), ("-b", 1428, "-w", 16), ("-b", 1428, "-w", 16, "--no-gro"),
    ("-b", 1428, "-w", 16, "--source", RANGE), ("--threads", 2), ("--threads", 2, "--source", RANGE),
    ("-m", "netascii"), ("--client", "edk2", "--client", "grub:2", "--client", "ipxe"),
    ("--client", "uboot:windowsize=8", "--client", "curl", "--client", "pxelinux", "--client",
     "busybox"),
    ("--loss", "0.5", "--dup", "1", "--reorder", "1", "--delay", "1~1", "-b", 1428, "-w", 4),
    ("--rcvbuf-packets", 4, "-b", 1428, "-w", 16),
    ("--misbehave", "repeat-request:50"), ("--misbehave", "late-ack:10", "--hold", "0.002"),
], ids=lambda how: " ".join(map(str, how)) or "plain")
def test_downloads(start, root, how):
    server = start(root)
    result = bench(where(server), "-c", 20, "-n", 60, "--local", root, "--seed", 7, *how,
                   "small", "middle:3")
    all_complete(result, 60)
    assert result["transfer_s"]["count"] == 60
    assert 0 < result["transfer_s"]["p50"] <= result["transfer_s"]["max"]


def test_downloads_over_ipv6(start, root):
    server = start(root)
    address = "[%s]:%d" % server.address("::1")
    all_complete(bench(address, "-c", 10, "-n", 50, "--local", root, "middle"), 50)


@pytest.mark.sanitize
@pytest.mark.parametrize("how", [(), ("-b", 1428, "-w", 16), ("--source", RANGE, "-b", 1428),
                                 ("--loss", "1", "-b", 1428, "-w", 8, "--tsize")],
                         ids=lambda how: " ".join(map(str, how)) or "plain")
def test_uploads(start, root, tmp_path, how):
    server = start(tmp_path, options=("write.enabled=true", "write.allow_overwrite=true"))
    result = bench(where(server), "-c", 5, "-n", 20, "--local", root, "--put", "--put-as",
                   "%f-%c", *how, "large")
    all_complete(result, 20)
    written = sorted(path.name for path in tmp_path.iterdir())
    assert written == [f"large-{n}" for n in range(5)]
    for name in written:
        assert (tmp_path / name).read_bytes() == (root / "large").read_bytes()


def test_a_path_to_send(start, root, tmp_path):
    server = start(tmp_path, options=("write.enabled=true",))
    all_complete(bench(where(server), "--put", root / "middle"), 1)
    assert (tmp_path / "middle.0").read_bytes() == (root / "middle").read_bytes()


def test_what_is_sent_again_has_a_cause(start, root):
    """A network that doubles makes ACKs of blocks that come again, one that loses those of time."""
    server = start(root)
    doubled = bench(where(server), "-c", 5, "-n", 20, "--local", root, "--dup", "in=20",
                    "--client", "pxelinux", "middle")
    all_complete(doubled, 20)
    assert doubled["acks_resent"] - doubled["acks_resent_timer"] > 20
    lost = bench(where(server), "-c", 5, "-n", 20, "--local", root, "--loss", "out=10", "--client",
                 "busybox", "middle")
    all_complete(lost, 20)
    assert lost["acks_resent_timer"] > 5


def test_live_line(start, root):
    """On a terminal: how far it is, at what rate, how many failed."""
    server = start(root)
    master, slave = pty.openpty()
    with subprocess.Popen([str(BENCH), where(server), "--rate", "50", "-d", "2.2", "small",
                           "nothing"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=slave) as running:
        os.close(slave)
        running.communicate(timeout=60)
    shown = b""
    try:
        while piece := os.read(master, 65536):
            shown += piece
    except OSError:
        pass  # nobody has the other end any more
    os.close(master)
    lines = re.findall(rb"([\d.]+) s: (\d+) done, \d+ running, (\d+) failed, [\d.]+/s, [\d.]+ MB/s",
                       shown)
    assert len(lines) >= 3, shown
    assert float(lines[-1][0]) > float(lines[0][0])
    assert int(lines[-1][1]) > 10 and int(lines[-1][2]) > 10
    assert shown.endswith(b"\r\x1b[K")


def test_summary(start, root):
    server = start(root)
    got = subprocess.run([str(BENCH), where(server), "-c", "5", "-n", "50", "--server-pid",
                          str(server.process.pid), "middle", "nothing"], stdin=subprocess.DEVNULL,
                         capture_output=True, text=True, timeout=60, check=False)
    assert got.returncode == TEMPFAIL and got.stderr == ""
    for line in (r"transfers +50 started, \d+ complete, 0 unfinished in ",
                 r"throughput +[\d.]+ MB/s, [\d.]+ transfers/s, \d+ packets/s ",
                 r"failures +(\d+): refused \1 \(\1 by ERROR 1\)\n",
                 r"sent again +requests \d+, acks \d+ \(timer \d+, blocks out of order \d+\), ",
                 r"first byte +p50 [\d.]+ p90 [\d.]+ p99 [\d.]+ p999 [\d.]+ max [\d.]+ ms",
                 r"whole transfer +p50 [\d.]+ p90 [\d.]+ p99 [\d.]+ p999 [\d.]+ max [\d.]+ ms",
                 r"generator +[\d.]+ s of CPU ",
                 r"server +[\d.]+ s of CPU .* peak memory [\d.]+ MB, \d+ context switches"):
        assert re.search("^" + line, got.stdout, re.MULTILINE), (line, got.stdout)


def names_in(value):
    """All names of a JSON value, those of objects in objects too."""
    for name, inner in value.items() if isinstance(value, dict) else ():
        yield name
        yield from names_in(inner)


def test_the_manual_is_complete(start, root):
    """Every option of --help and every name in the JSON is in ringtftp-bench(1)."""
    manual = (conftest.TOP / "man" / "ringtftp-bench.1").read_text(encoding="utf-8")
    told = subprocess.run([str(BENCH), "--help"], capture_output=True, text=True, check=True).stdout
    for option in re.findall(r"--([a-z-]+)", told):
        assert re.search(rf"\bFl (\w , )?-{option}\b", manual), option
    server = start(root)
    result = bench(where(server), "--server-pid", server.process.pid, "small")
    numbers = manual.partition(".Ss Numbers")[2].partition(".Sh ")[0]
    for name in names_in(result):
        assert re.search(rf"\b{name}\b", numbers), name


@pytest.mark.sanitize
def test_wrong_content_is_seen(start, root, tmp_path):
    server = start(root)
    content = bytearray((root / "middle").read_bytes())
    content[40000] ^= 1
    (tmp_path / "middle").write_bytes(content)
    result = bench(where(server), "-n", 3, "--local", tmp_path, "middle", code=TEMPFAIL)
    assert result["failures"]["content"] == 3
    listed = tmp_path / "list"
    listed.write_text("middle sha256=" + 64 * "0" + "\n")
    result = bench(where(server), "-n", 3, "--list", listed, code=TEMPFAIL)
    assert result["failures"]["content"] == 3
    right = hashlib.sha256((root / "middle").read_bytes()).hexdigest()
    listed.write_text(f"# name\nmiddle sha256={right} weight=2\nlarge local={root / 'large'}\n")
    all_complete(bench(where(server), "-n", 20, "-b", 1428, "--list", listed), 20)


def test_failures_by_reason(start, root):
    server = start(root)
    result = bench(where(server), "-n", 4, "nothing", code=TEMPFAIL)
    assert result["failures"]["refused"] == 4 and result["errors"][1] == 4
    server.stop()
    result = bench(where(server), "-n", 4, "small", code=TEMPFAIL)
    assert result["failures"]["unreachable"] == 4


def test_misbehaving_clients_leave_the_others_alone(start, root):
    server = start(root)
    result = bench(where(server), "-c", 20, "-n", 100, "--local", root, "--misbehave",
                   "vanish:30", "--seed", 3, "middle")
    assert result["failures"]["all"] == result["unfinished"] == 0
    assert 10 < result["misbehaved"] < 50
    assert result["succeeded"] + result["misbehaved"] == 100


def test_server_usage(start, root):
    server = start(root)
    result = bench(where(server), "-c", 10, "-n", 200, "--server-pid", server.process.pid,
                   "middle")
    assert 0 < result["server"]["cpu_s"] < result["elapsed_s"] * os.cpu_count() + 1
    assert result["server"]["memory_peak"] > 1 << 20
    assert result["generator"]["cpu_s"] > 0


def test_a_server_that_stops_cannot_hide(start, root):
    """Open loop: those who should have begun while it stood still waited for it."""
    server = start(root)
    command = [str(BENCH), where(server), "--json", "-", "--rate", "200", "-d", "3", "--retry",
               "30", "--local", str(root), "small"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as running:
        time.sleep(1)
        os.kill(server.process.pid, signal.SIGSTOP)
        time.sleep(1)
        os.kill(server.process.pid, signal.SIGCONT)
        result = json.loads(running.communicate(timeout=60)[0])
    assert 450 < result["started"] < 750
    assert result["succeeded"] == result["started"]
    assert result["transfer_s"]["max"] > 0.8
    assert result["transfer_s"]["p90"] > 0.3


@pytest.mark.sanitize
def test_one_sentence_for_a_mistake(root):
    for code, *arguments in (
            (USAGE,), (USAGE, "127.0.0.1"), (USAGE, "127.0.0.1", "f", "-c", "x"),
            (USAGE, "127.0.0.1", "f", "--nonsense"), (USAGE, "127.0.0.1", "f", "--loss"),
            (USAGE, "127.0.0.1", "f", "--client", "abacus"),
            (NOINPUT, "127.0.0.1", "f", "--local", "/nonexistent"),
            (NOINPUT, "127.0.0.1", "f", "--put"), (USAGE, "127.0.0.1", "--list", str(BENCH)),
            (USAGE, "127.0.0.1", "f", "--rate", "1", "--think", "1"),
            (CANTCREAT, "127.0.0.1", "f", "--json", "/nonexistent/json"),
            (NOINPUT, "127.0.0.1", "f", "--server-pid", "4194303"),
            (NOHOST, "no-such-host.invalid", "f"),
            (71, "127.0.0.1", "f", "--source", "192.0.2.1-192.0.2.9")):
        got, text = sentence(*arguments)
        assert got == code, (arguments, text)


class Namespace:
    """A network of its own, so that nobody else's packets are counted."""

    def __init__(self):
        self.keeper = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", "ip link set lo up && echo up && exec sleep 600"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.works = self.keeper.stdout.readline() == b"up\n"
        self.inside = ["nsenter", "--target", str(self.keeper.pid), "--net"]

    def read(self, path):
        return subprocess.run([*self.inside, "cat", path], capture_output=True, text=True,
                              check=True).stdout

    def datagrams(self):
        names, values = [line.split()[1:] for line in self.read("/proc/net/snmp").splitlines()
                         if line.startswith("Udp:")]
        counts = dict(zip(names, map(int, values)))
        return counts["InDatagrams"], counts["OutDatagrams"]

    def bytes(self):
        for line in self.read("/proc/net/dev").splitlines():
            if line.strip().startswith("lo:"):
                return int(line.split(":")[1].split()[0])
        raise AssertionError("no lo")

    def end(self):
        self.keeper.kill()
        self.keeper.wait()


@pytest.fixture
def namespace():
    if not shutil.which("unshare") or not shutil.which("nsenter"):
        pytest.skip("no unshare or nsenter")
    n = Namespace()
    if not n.works:
        n.end()
        pytest.skip("no right to make a network namespace")
    yield n
    n.end()


@pytest.mark.parametrize("how", [("middle",), ("--source", RANGE, "middle"), ("-b", 1428, "large"),
                                 ("-b", 1428, "-w", 16, "--no-gro", "large")],
                         ids=lambda how: " ".join(map(str, how)))
def test_counts_agree_with_the_kernel(namespace, root, how):
    """Packets and bytes within 1 %: every datagram comes in once, at the one end or the other."""
    # Without trains, so that the interface sees the datagrams that the receiver sees.
    command = [*namespace.inside, str(conftest.PROGRAM), "--root", str(root), "--listen",
               "127.0.0.1:6969", "-o", "performance.platform.network.gso=false"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, text=True) as server:
        try:
            while "listening" not in server.stderr.readline():
                assert server.poll() is None
            before, bytes_before = namespace.datagrams(), namespace.bytes()
            result = bench("127.0.0.1:6969", "-c", 20, "-n", 100, "--local", root, *how,
                           inside=namespace.inside)
            after, bytes_after = namespace.datagrams(), namespace.bytes()
        finally:
            server.terminate()
            server.communicate(timeout=20)
    all_complete(result, 100)
    packets = result["packets_in"] + result["packets_out"]
    assert after[0] - before[0] == pytest.approx(packets, rel=0.01)
    assert after[1] - before[1] == pytest.approx(packets, rel=0.01)
    # IPv4 and UDP headers: 20 and 8 bytes.
    traffic = result["udp_bytes_in"] + result["udp_bytes_out"] + 28 * packets
    assert bytes_after - bytes_before == pytest.approx(traffic, rel=0.01)


def test_a_range_of_sources_in_a_namespace(namespace, root):
    """Every client from an address of its own; the server's log has them."""
    subprocess.run([*namespace.inside, "ip", "route", "add", "local", "10.9.0.0/24", "dev", "lo"],
                   check=True, capture_output=True)
    command = [*namespace.inside, str(conftest.PROGRAM), "--root", str(root), "--listen",
               "10.9.0.1:6969", "-o", "log.level=info"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, text=True) as server:
        try:
            while "listening" not in server.stderr.readline():
                assert server.poll() is None
            all_complete(bench("10.9.0.1:6969", "-c", 20, "-n", 20, "--source",
                               "10.9.0.11-10.9.0.30", "--local", root, "small",
                               inside=namespace.inside), 20)
        finally:
            server.terminate()
            log = server.communicate(timeout=20)[1]
    assert {line.split("peer=")[1].split(":")[0] for line in log.splitlines() if "peer=" in line} \
        == {f"10.9.0.{n}" for n in range(11, 31)}


def peer(name):
    """What the other server is called here, or why it is not tried."""
    for place in (conftest.BUILD / "peers" / name / "usr/sbin" / name,
                  pathlib.Path("/usr/sbin") / name):
        if place.exists():
            return name
    pytest.skip(f"{name} is not installed ({servers.PEERS[name][0]})")


@pytest.mark.parametrize("name", ["floor", *servers.PEERS])
def test_other_servers(name, root):
    if name != "floor":
        peer(name)
    root.chmod(0o755)
    try:
        with servers.Server(name, conftest.BUILD, root) as server:
            for how in (("-c", 20), ("-c", 20, "--source", RANGE), ("-b", 1428, "-w", 8),
                        ("-c", 5, "--client", "ipxe")):
                result = bench(server.address, "-n", 40, "--local", root, *server.group_options,
                               "--server-pid", server.pid, *how, "middle")
                all_complete(result, 40)
                assert result["server"]["cpu_s"] > 0
    except servers.Unavailable as reason:
        pytest.skip(str(reason))
