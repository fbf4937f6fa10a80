"""What a forged request can make the server send to somebody else. The numbers of the tests are
those of the cases in docs/amplification.md, which `make amplification` writes by the same means.

Each lab is a network of its own (reflect.py), so the tests see every packet that leaves the server,
whoever it is for."""

import collections
import functools
import shutil
import subprocess
import time

import pytest

import catalogue
import conftest
import reflect
import tftp

FIRST = 516  # bytes of a first reply of DATA
ERROR_MAX = 64
PATIENCE = 2

MODES = {
    "auto": ("network.transfer_ports=auto",),
    "shared": ("network.transfer_ports=shared",),
    "single": ("network.transfer_ports=single",),
    "range": ("network.transfer_ports=range", "network.port_range=20000-40000"),
}
# Both engines with both file back ends; all kinds of ports.
RUNS = [("threads-mmsg", mode) for mode in MODES] + [("uring-uring", mode) for mode in MODES]


def make_lab():
    try:
        return reflect.Lab()
    except reflect.Impossible as reason:
        pytest.skip(str(reason))


@pytest.fixture
def lab():
    with make_lab() as made:
        yield made


@pytest.fixture
def start(start, backend):  # pylint: disable=redefined-outer-name
    """start(root, ...) for each engine with its file back end, in tests that are `thorough`."""
    return functools.partial(start, backend=backend)


def launch(start, lab, root, *options, listen=("0.0.0.0:69", "[::]:69"), space=None, **rest):
    """The server inside the lab, with a short patience, so that its last word comes soon."""
    reflect.prepare(root)
    return start(root, listen=listen,
                 program=(*(space or lab.server).prefix, conftest.PROGRAM),
                 options=("write.enabled=true", "write.allow_overwrite=true",
                          'write.allowed_patterns=["a", "missing", "n*"]',
                          f"protocol.patience={PATIENCE}", *options), **rest)


def settled(lab, server, transfers):
    """All these requests have come to their end: nothing more can be sent for them."""
    lab.watch(30, lambda: len(server.events("transfer")) >= transfers)
    assert len(server.events("transfer")) >= transfers
    lab.take(0.05)


class Run:
    """All shapes at once, each in the name of another silent and another talking address."""

    def __init__(self, lab, server):
        self.lab = lab
        self.sent = {}
        shapes = reflect.shapes()
        malformed = {f"{'silent' if answer is catalogue.SILENCE else 'illegal'}: {words}": raw
                     for words, raw, answer in catalogue.datagrams()
                     if answer in (catalogue.SILENCE, catalogue.E4) and len(raw) <= 1400}
        frames = []
        for version in (4, 6):
            for kind, base in (("silent", reflect.SILENT), ("talking", reflect.TALKING)):
                for n, (words, raw) in enumerate({**shapes, **malformed}.items()):
                    victim = reflect.numbered(base[version], 1 + n)
                    self.sent[victim] = (version, kind, words, raw)
                    frames.append(reflect.frame(victim, 1024 + n, raw))
        lab.send(frames)
        settled(lab, server, 4 * len(shapes))
        self.got = collections.defaultdict(list)
        for (victim, _), packets in lab.by_target().items():
            assert victim in self.sent, packets
            self.got[victim] += packets

    def cases(self, kind, match):
        """(words, request, packets) of those whose words match."""
        found = [(f"{words}, IPv{version}", raw, self.got[victim])
                 for victim, (version, k, words, raw) in self.sent.items()
                 if k == kind and match(words)]
        assert found
        return found


@pytest.fixture(scope="module", params=RUNS, ids=lambda run: "-".join(run))
def run(request, module_servers, tmp_path_factory):
    backend, mode = request.param
    with make_lab() as lab:
        server = launch(module_servers, lab, tmp_path_factory.mktemp("root"), *MODES[mode],
                        backend=backend)
        yield Run(lab, server)


def size(packets):
    return sum(len(p.payload) for p in packets)


def test_A01_request_of_10_bytes(run):
    """One DATA of 512 bytes, whatever time passes: no retransmission to who has not answered."""
    for words, raw, packets in run.cases("silent", lambda w: w == "RRQ of 10 bytes"):
        assert len(raw) == 10
        assert [(p.opcode, len(p.payload)) for p in packets] == [(tftp.DATA, FIRST)], words


def test_A02_request_of_50_bytes(run):
    for words, raw, packets in run.cases("silent", lambda w: w == "RRQ of 50 bytes"):
        assert len(raw) == 50
        assert [(p.opcode, len(p.payload)) for p in packets] == [(tftp.DATA, FIRST)], words


def test_A03_reads_with_options(run):
    for words, raw, packets in run.cases(
            "silent", lambda w: w.startswith("RRQ,") and "found" in w and "no opt" not in w):
        assert packets and all(p.opcode == tftp.OACK for p in packets), words
        assert size(packets) <= 3 * len(raw), words


def test_A04_writes(run):
    for words, raw, packets in run.cases(
            "silent", lambda w: w.startswith("WRQ") and "denied" not in w):
        assert packets and all(p.opcode in (tftp.ACK, tftp.OACK) for p in packets), (words, packets)
        assert size(packets) <= 3 * len(raw), words


def test_A05_missing_and_denied(run):
    for words, _, packets in run.cases(
            "silent", lambda w: "denied" in w or (w.startswith("RRQ") and "missing" in w)):
        assert [p.opcode for p in packets] == [tftp.ERROR], words
        assert size(packets) <= ERROR_MAX, words


def test_A06_malformed(run):
    for words, _, packets in run.cases("silent", lambda w: w.startswith("silent:")):
        assert not packets, words
    for words, _, packets in run.cases("silent", lambda w: w.startswith("illegal:")):
        assert [p.opcode for p in packets] == [tftp.ERROR], words
        assert size(packets) <= ERROR_MAX, words


def test_A12_stops_when_the_victim_complains(run):
    """ICMP port unreachable ends it at once, for every kind of request."""
    for words, _, packets in run.cases("talking", lambda w: not w.startswith("silent:")):
        assert len(packets) == 1, (words, packets)


def test_A13_nothing_is_told(run):
    """No reply names a path, an address or a version; an ERROR is one of a few fixed texts."""
    texts = set()
    for kind in ("silent", "talking"):
        for _, _, packets in run.cases(kind, lambda w: True):
            texts |= {p.payload[4:] for p in packets if p.opcode == tftp.ERROR}
    assert texts <= {b"File not found\0", b"Access violation\0", b"Malformed request\0",
                     b"Unknown transfer mode\0"}, texts


def test_the_bound(run):
    """Whatever is sent, no more than max(3 times as much, one first reply) comes back."""
    for words, raw, packets in run.cases("silent", lambda w: True):
        assert size(packets) <= max(3 * len(raw), FIRST), words


# ---- Many requests ----

@pytest.mark.thorough
def test_A07_ten_identical(start, lab, tmp_path):
    """Ten times the same: three answers at most, and in the time given no more than is paid for."""
    server = launch(start, lab, tmp_path)
    plain, options = (reflect.shapes()[w] for w in ("RRQ of 10 bytes", "RRQ, all options, found"))
    asked = {"198.51.100.1": plain, "198.51.100.2": options}
    for _ in range(10):  # apart, so that each is a client's repeat, not an echo on the way
        count = len(lab.seen)
        lab.send(reflect.frame(victim, 2000, raw) for victim, raw in asked.items())
        lab.watch(0.05, lambda count=count: len(lab.seen) >= count + 2)
    settled(lab, server, 2)
    got = lab.by_target()
    assert len(got["198.51.100.1", 2000]) == 3
    assert size(got["198.51.100.2", 2000]) <= 3 * 10 * len(options)
    repeats = [p for p in got["198.51.100.2", 2000] if p.at - lab.seen[0].at < 0.9]
    assert len(repeats) == 3  # the timer's may follow, within the budget


@pytest.mark.thorough
@pytest.mark.parametrize("words", ["RRQ of 10 bytes", "RRQ, no options, missing"])
def test_A07_another_request_each_time(start, lab, tmp_path, words):
    """Requests that are no repeats, from one address and port or many: the allowance of the address
    is the end."""
    raw = reflect.shapes()[words]
    server = launch(start, lab, tmp_path, "limits.unproven_bytes_per_address=500",
                    "limits.requests_per_address=30")
    start_at = time.monotonic()
    modes = (b"octet\0", b"oCtet\0")
    forged = [reflect.frame("198.51.100.1", 2000 + n % 50, raw[:-6] + modes[n // 50 % 2])
              for n in range(1000)]
    # The first one alone: others would take its place before it is answered, and then have no
    # allowance left.
    lab.send(forged[:1])
    lab.watch(10, lambda: lab.seen)
    lab.send(forged[1:])
    settled(lab, server, 1)
    lab.watch(1)
    seconds = time.monotonic() - start_at
    got = [p for packets in lab.by_target().values() for p in packets]
    assert len(got) <= 30 * (10 + seconds)
    excess = sum(len(p.payload) - len(raw) for p in got)
    assert 0 < excess <= 500 * (10 + seconds) or words.endswith("missing")


@pytest.mark.thorough
def test_A08_many_sources(start, lab, tmp_path):
    """10,000 sources of one network: the allowance of all addresses together is the end."""
    server = launch(start, lab, tmp_path, "limits.unproven_bytes=20000")
    raw = reflect.shapes()["RRQ of 10 bytes"]
    start_at = time.monotonic()
    lab.send(reflect.frame(reflect.numbered(reflect.SILENT[4], n % 256), 2000 + n // 256, raw)
             for n in range(1, 10000))
    settled(lab, server, 200)  # about 390 answers; some are a second one to the same request
    seconds = time.monotonic() - start_at
    got = [p for packets in lab.by_target().values() for p in packets]
    excess = sum(len(p.payload) - len(raw) for p in got)
    assert 150_000 < excess <= 20000 * (10 + seconds)
    assert server.wait_event("limited", lambda e: e["limit"] == "unproven_bytes")
    assert server.counters()["limited_unproven_all_total"] > 9000


SEEDS = {
    "ERROR": tftp.error(1, "File not found"),
    "RRQ": tftp.rrq("missing"),
    "RRQ of a file": tftp.rrq("a"),
    "WRQ": tftp.wrq("missing"),
    "ACK": tftp.ack(1),
    "DATA": tftp.data(1, b"x" * 512),
    "OACK": b"\0\6blksize\0" + b"512\0",
    "unknown opcode": b"\0\7text\0",
}


def exchange(lab, *ports):
    """Seeds in the name of another server, for each pair of our port and its own; what ours then has
    to say to it, for each pair: {its port: packets}."""
    lab.send(reflect.frame(reflect.CLIENT[4], other_port, raw, dport=port)
             for port, other_port in ports for raw in SEEDS.values())
    lab.watch(2 * PATIENCE + 1)
    return collections.Counter(p.dport for p in lab.seen if p.target == reflect.CLIENT[4])


@pytest.mark.thorough
def test_A09_two_of_ours(start, lab, tmp_path):
    """CVE-2024-2169: two servers that answer each other for ever. On port 69 not a word is said;
    elsewhere no more than one answer for each seed, and none to an answer."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    listen = ("0.0.0.0:69", "0.0.0.0:6969")
    launch(start, lab, tmp_path / "one", listen=listen)
    launch(start, lab, tmp_path / "two", listen=listen, space=lab.client)
    said = exchange(lab, (69, 69), (6969, 69), (6969, 6969))
    assert said[69] == 0 and 0 < sum(said.values()) <= len(SEEDS) + 2, said


@pytest.mark.thorough
def test_A09_dnsmasq(start, lab, tmp_path):
    if not shutil.which("dnsmasq"):
        pytest.skip("dnsmasq is not installed")
    (tmp_path / "one").mkdir()
    launch(start, lab, tmp_path / "one", listen=("0.0.0.0:69", "0.0.0.0:6969"))
    other = subprocess.Popen(
        [*lab.client.prefix, "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0",
         "--enable-tftp", f"--tftp-root={tmp_path / 'one'}", "--user=root", "--group=root",
         "--pid-file=", "--log-facility=/dev/null"], stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        probe = lab.client.inside(lambda: tftp.Peer((reflect.CLIENT[4], 69), bind=("0.0.0.0", 0)))
        with probe:
            for _ in range(100):
                probe.send(tftp.rrq("a"))
                if probe.receive(0.1):
                    break
        assert not exchange(lab, (69, 69), (6969, 69))
    finally:
        other.kill()
        other.wait()


@pytest.mark.thorough
def test_A10_blind_acks(start, lab, tmp_path):
    """Who forges a request and then ACKs to every port it might be answered from pays more than the
    victim gets."""
    server = launch(start, lab, tmp_path)
    first, last = map(int, subprocess.run(
        [*lab.server.prefix, "sysctl", "-n", "net.ipv4.ip_local_port_range"], check=True,
        capture_output=True, text=True).stdout.split())
    victims = {"198.51.100.1": ("RRQ of 10 bytes", 1), "198.51.100.2": ("RRQ, all options, found", 0)}
    spent = dict.fromkeys(victims, 0)
    for victim, (words, block) in victims.items():
        raw = reflect.shapes()[words]
        lab.send([reflect.frame(victim, 2000, raw)])
        spent[victim] += 28 + len(raw)
        lab.send(reflect.frame(victim, 2000, tftp.ack(block), dport=port)
                 for port in range(first, last + 1))
        spent[victim] += (28 + 4) * (last + 1 - first)
    settled(lab, server, 2)
    got = lab.by_target()
    for victim in victims:
        bytes_out = sum(p.ip_bytes for p in got[victim, 2000])
        assert len(got[victim, 2000]) > 1, "the ACK has hit"
        assert bytes_out <= spent[victim], victim


@pytest.mark.thorough
def test_A11_ports(start, lab, tmp_path):
    """10,000 sessions: no port twice running, spread evenly, the next one not to be told from the
    last. The victims' ICMP ends each session, so there is room for the next."""
    server = launch(start, lab, tmp_path)
    raw = reflect.shapes()["RRQ of 10 bytes"]
    sessions = 10000
    for n in range(0, sessions, 200):
        lab.send(reflect.frame(reflect.numbered(reflect.TALKING[4], 1 + m % 250), 2000 + m // 250, raw)
                 for m in range(n, n + 200))
        lab.watch(10, lambda n=n: len(lab.seen) >= n + 200)
    assert len(lab.seen) == sessions
    ports = [p.sport for p in lab.seen]
    assert all(a != b for a, b in zip(ports, ports[1:]))
    first, last = min(ports), max(ports)
    assert last - first > 20000
    bins = collections.Counter((p - first) * 20 // (last + 1 - first) for p in ports)
    expected = sessions / 20
    assert sum((bins[i] - expected) ** 2 / expected for i in range(20)) < 60  # 19 degrees, p < 1e-5
    steps = collections.Counter((b - a) % 65536 for a, b in zip(ports, ports[1:]))
    assert steps.most_common(1)[0][1] < 20


@pytest.mark.thorough
def test_A14_packets_to_wrong_ports(start, lab, tmp_path):
    """ERROR 5 of at most 12 bytes, at most ten a second to one source, a hundred to all."""
    server = launch(start, lab, tmp_path, "performance.workers=1")
    lab.send([reflect.frame("198.51.100.1", 2000, reflect.shapes()["RRQ of 10 bytes"])])
    lab.watch(5, lambda: lab.seen)
    tid = lab.seen[0].sport
    lab.send(reflect.frame("198.51.100.9", 3000 + n, tftp.ack(n % 7), dport=tid)
             for n in range(1000))
    lab.watch(1.5)
    got = [p for p in lab.seen if p.target == "198.51.100.9"]
    assert got and all(p.opcode == tftp.ERROR and len(p.payload) <= 12 for p in got)
    for one in got:
        assert sum(1 for p in got if one.at <= p.at < one.at + 1) <= 10
    lab.send(reflect.frame(reflect.numbered(reflect.SILENT[4], n), 3000, tftp.ack(1), dport=tid)
             for n in range(1, 251))
    lab.watch(0.5)
    told = [p for p in lab.seen if p.opcode == tftp.ERROR]
    assert len(told) > len(got) + 50
    for one in told:
        assert sum(1 for p in told if one.at <= p.at < one.at + 0.9) <= 200  # two halves of a second
    seen = server.counters()
    assert seen["unknown_tid_total"] == 1250 and seen["unknown_tid_answered_total"] == len(told)
    assert seen["unknown_tid_limited_total"] == 1250 - len(told)


# ---- Addresses that are never answered ----

@pytest.mark.thorough
def test_sources_never_answered(start, lab, tmp_path):
    """Ports 0 and 69, nobody's and everybody's addresses, our own; requests to everybody."""
    server = launch(start, lab, tmp_path)
    raw = reflect.shapes()["RRQ of 10 bytes"]
    sources = [("198.51.100.1", 0), ("198.51.100.1", 69), ("0.0.0.0", 2000),
               ("255.255.255.255", 2000), ("224.0.0.1", 2000), ("192.0.2.255", 2000),
               ("127.0.0.1", 2000), (reflect.SERVER[4], 69), (reflect.SERVER[4], 2000),
               ("2001:db8:2::1", 0), ("2001:db8:2::1", 69), ("::", 2000), ("ff02::1", 2000),
               ("::1", 2000), (reflect.SERVER[6], 69), ("::ffff:198.51.100.1", 2000)]
    frames = [reflect.frame(source, port, raw) for source, port in sources]
    for target in ("192.0.2.255", "255.255.255.255", "224.0.0.1"):
        frames.append(reflect.frame("198.51.100.5", 2000, raw, target=target))
    frames.append(reflect.frame("2001:db8:2::5", 2000, raw, target="ff02::1"))
    frames.append(reflect.frame("198.51.100.6", 2000, raw))  # the proof that all was read
    lab.send(frames)
    settled(lab, server, 1)
    assert [(p.target, p.dport) for p in lab.seen] == [("198.51.100.6", 2000)]
    # Most of them the kernel keeps from us; ports 0 and 69 it does not.
    assert server.counters()["listen_bad_source_total"] >= 4


@pytest.mark.thorough
def test_lowest_source_port(start, lab, tmp_path):
    """network.source_port_min: nothing is reflected to other services."""
    server = launch(start, lab, tmp_path, "network.source_port_min=1024")
    raw = reflect.shapes()["RRQ of 10 bytes"]
    lab.send([reflect.frame("198.51.100.1", port, raw) for port in (7, 19, 53, 123, 161, 1023)])
    lab.send([reflect.frame("198.51.100.1", 1024, raw)])
    settled(lab, server, 1)
    assert [p.dport for p in lab.seen] == [1024]
