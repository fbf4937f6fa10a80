"""Block sizes that cross the path in one piece, on an Ethernet of two namespaces."""

import shutil
import subprocess
import sys

import pytest

import conftest

sys.path.insert(0, str(conftest.TOP / "bench"))
import namespaces  # noqa: E402

BENCH = conftest.BUILD / "src" / "cli" / "ringtftp-bench"


@pytest.fixture
def cable():
    """cable(mtu): both machines, for one test."""
    if not all(map(shutil.which, ("unshare", "nsenter", "ip"))):
        pytest.skip("no unshare, nsenter or ip")
    made = []

    def make(mtu):
        try:
            made.append(namespaces.Cable(mtu, here=False))
        except (OSError, subprocess.CalledProcessError) as reason:
            pytest.skip(f"no namespaces here: {reason}")
        return made[-1]

    yield make
    for one in made:
        one.__exit__()


def serve(start, cable, root, *options):
    listen = [f"{namespaces.SERVER}:0"]
    if namespaces.SERVER6 in namespaces.run(*cable.near, "ip", "address").stdout:
        listen.append(f"[{namespaces.SERVER6}]:0")
    return start(root, options=options, listen=listen, program=(*cable.near, conftest.PROGRAM))


def download(server, cable, root, host, *arguments):
    """The server's line about a download that asks for the largest block size."""
    if ":" in host and len(server.addresses) == 1:
        pytest.skip("no IPv6 here")
    _, port = server.address(host)
    before = len(server.events("transfer"))
    at = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    got = subprocess.run([*cable.far, str(BENCH), at, "-n", "1", "-b", "65464", "--local",
                          str(root), *arguments, "f"], capture_output=True, text=True,
                         timeout=60, check=False)
    assert got.returncode == 0, got.stdout + got.stderr
    server.wait_event("transfer", lambda _: len(server.events("transfer")) > before)
    event = server.events("transfer")[before]
    assert event["outcome"] == "ok"
    return event


def granted(*arguments):
    return download(*arguments)["blksize"]


def fragments(cable):
    """Datagrams cut in pieces by the server's machine."""
    names, values = [line.split()[1:] for line in cable.read("/proc/net/snmp").splitlines()
                     if line.startswith("Ip:")]
    six = dict(line.split() for line in cable.read("/proc/net/snmp6").splitlines()
               if len(line.split()) == 2)
    return int(dict(zip(names, values))["FragCreates"]) + int(six.get("Ip6FragCreates", 0))


@pytest.fixture
def root(tmp_path):
    (tmp_path / "f").write_bytes(conftest.pattern(300_000))
    (tmp_path / "f").chmod(0o644)
    return tmp_path


# MTU less the headers of IP (20 or 40), UDP (8) and DATA (4).
@pytest.mark.parametrize("window", [1, 16])
@pytest.mark.parametrize("mtu, four, six", [(1500, 1468, 1448), (1400, 1368, 1348),
                                            (9000, 8968, 8948)])
def test_largest_block_that_is_not_cut(start, cable, root, mtu, four, six, window):
    c = cable(mtu)
    server = serve(start, c, root)
    assert granted(server, c, root, namespaces.SERVER, "-w", str(window)) == four
    assert fragments(c) == 0
    assert granted(server, c, root, namespaces.SERVER6, "-w", str(window)) == six
    assert fragments(c) == 0


def test_route_has_the_word(start, cable, root):
    """The MTU of the route to this client, where it is less than the interface's."""
    c = cable(1500)
    namespaces.run(*c.near, "ip", "route", "add", f"{namespaces.CLIENT}/32", "dev", "near", "mtu",
                   "1300")
    server = serve(start, c, root)
    assert granted(server, c, root, namespaces.SERVER, "-w", "16") == 1268
    assert fragments(c) == 0


def test_clamp_can_be_switched_off(start, cable, root):
    c = cable(1500)
    server = serve(start, c, root, "protocol.clamp_to_mtu=false")
    assert granted(server, c, root, namespaces.SERVER) == 65464
    assert fragments(c) > 0


def test_window_of_strangers(start, cable, root):
    """Six windows stay below the price of an ACK at each of 28,232 ports."""
    for mtu, options in ((9000, ()), (1500, ("protocol.clamp_to_mtu=false",)),
                         (1500, ("protocol.windowsize_max=65535",))):
        c = cable(mtu)
        server = serve(start, c, root, *options)
        event = download(server, c, root, namespaces.SERVER, "-w", "32768")
        window, blksize = event["windowsize"], event["blksize"]
        assert 6 * window * (blksize + 32) < 28232 * 32
        assert window == min(64, 98304 // blksize)
        server.stop()
