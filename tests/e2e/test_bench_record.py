"""The recorded benchmark: a short one from start to document, and what it does when things fail."""

import copy
import json
import shutil
import subprocess
import sys

import pytest

import conftest

RUN = conftest.TOP / "bench" / "run.py"
sys.path.insert(0, str(conftest.TOP / "bench"))
import gate  # noqa: E402
import measure  # noqa: E402
import ratios  # noqa: E402
import render  # noqa: E402
import sections  # noqa: E402
import servers  # noqa: E402
import tables  # noqa: E402


def run(*arguments):
    return subprocess.run([sys.executable, str(RUN), *map(str, arguments)], capture_output=True,
                          stdin=subprocess.DEVNULL, text=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    """A record of one case and two servers, as a quick run writes it."""
    work = tmp_path_factory.mktemp("record")
    build = work / "build"
    build.mkdir()
    for name in ("src", "tests"):
        (build / name).symlink_to(conftest.BUILD / name)
    got = run("--quick", "--build", build, "--work", work, "--label", "here", "--sections",
              "cases", "--cases", "S", "--servers", "floor,ringtftpd mmsg+threads")
    assert got.returncode == 0, got.stdout + got.stderr
    (folder,) = (build / "bench").glob("*-here")
    assert sorted(p.name for p in work.iterdir()) == ["build"]  # it cleans up
    return folder, build / "bench"


def test_a_record_and_its_document(record):
    folder, document = record
    found = json.loads((folder / "result.json").read_text())
    assert set(found["sections"]) == {"cases"}
    (floor,) = found["sections"]["cases"]["S"]["floor"]
    assert floor["succeeded"] == 20000 or floor["unfinished"] > 0
    assert floor["generator"]["cpu_s"] > 0 and floor["server"]["cpu_s"] > 0
    text = (document / "benchmarks.md").read_text()
    for part in ("## At a glance", "### S: 100 clients", "## Is the generator the bottleneck?",
                 "(benchmarks/cpu.svg)"):
        assert part in text, text
    assert "<svg" in (document / "benchmarks" / "cpu.svg").read_text()
    for place in (str(conftest.TOP), str(document)):
        assert place not in text and place not in (folder / "result.json").read_text()


def test_two_records_are_compared(record, tmp_path):
    folder, _ = record
    same = run("--compare", folder, folder)
    assert same.returncode == 0 and "1 of 1 ratios agree within 15 %" in same.stdout, same.stdout
    other = json.loads((folder / "result.json").read_text())
    for result in other["sections"]["cases"]["S"]["floor"]:
        result["server"]["cpu_s"] *= 1.2
    (tmp_path / "result.json").write_text(json.dumps(other))
    apart = run("--compare", folder, tmp_path)
    assert apart.returncode == 1 and "0 of 1 ratios agree" in apart.stdout, apart.stdout


def test_ratios_survive_a_machine_of_two_speeds():
    """Runs of a slow while are compared with the floor of that while."""
    speed = [1, 1, 1, 2, 2, 2, 2, 1, 1]  # a run every two seconds; floors at even places
    runs = [{"at_s": 2 * n, "us": slow * (1 if n % 2 == 0 else 1.1)} for n, slow in enumerate(speed)]
    by_server = {"floor": runs[::2], "it": runs[1::2], "none": [], "failed": [{"at_s": 1, "us": None}],
                 "alone": [{"at_s": 100, "us": 1}]}
    assert ratios.to_floor(by_server, lambda r: r["us"]) == {"floor": 1, "it": pytest.approx(1.1)}
    steady = {"floor": runs[4:7:2], "it": runs[5:6]}
    assert ratios.to_floor(steady, lambda r: r["us"]) == {"floor": 1, "it": pytest.approx(1.1)}
    old = {"floor": [{"us": 1}, {"us": 2}, {"us": 1}], "it": [{"us": 1.5}]}
    assert ratios.to_floor(old, lambda r: r["us"]) == {"floor": 1, "it": 1.5}


def test_ratios_leave_out_what_changed_meanwhile():
    """A run between a slow and a quick one of the floor may belong to either; but if most do, all
    of them count."""
    floors = [{"at_s": 4 * n, "us": us} for n, us in enumerate([1, 2, 1, 1.1, 1])]
    own = [{"at_s": 4 * n + 2, "us": us} for n, us in enumerate([2.4, 2.4, 1.155, 1.155])]

    def ratio(runs):
        return ratios.to_floor({"floor": floors, "it": runs}, lambda r: r["us"])["it"]

    assert ratio(own) == pytest.approx(1.1)
    assert ratio(own[:3]) == pytest.approx(1.6)


def test_the_floor_is_measured_beside_each(tmp_path):
    bench = measure.Bench(conftest.BUILD, tmp_path, False)
    bench.begin("cases", 60)
    names = ["floor", "ringtftpd mmsg+threads", "ringtftpd io_uring+io_uring", "dnsmasq"]
    assert sections.turns(bench, names, "A") == \
        ["floor", names[1], "floor", names[2], "floor", "dnsmasq", "floor"]
    assert sections.turns(bench, names[1:], "A") == names[1:]
    bench.quick = True
    assert sections.turns(bench, names, "A") == names


def test_a_server_that_fails_is_left_out(tmp_path, monkeypatch):
    """With its reason, and nobody else suffers."""
    known = servers.command_of

    def command_of(name, *rest):
        if name == "in.tftpd":
            raise servers.Absent("the package tftpd-hpa cannot be downloaded")
        command, host, port = known("floor", *rest)
        if name == "atftpd":
            return ["/bin/sh", "-c", "echo /usr/lib/libwrap.so.0: no such file; exit 1"], host, port
        if name == "dnsmasq":  # listens and says nothing
            return [sys.executable, "-c", "import socket, time\ns = socket.socket(socket.AF_INET, "
                    f"socket.SOCK_DGRAM)\ns.bind(('{host}', {port}))\ntime.sleep(60)"], host, port
        return command, host, port

    monkeypatch.setattr(servers, "command_of", command_of)
    bench = measure.Bench(conftest.BUILD, tmp_path, True)
    bench.limit = 1
    bench.begin("cases", 60)
    monkeypatch.setitem(sections.CASES, "S", (*sections.CASES["S"][:5], 100, 100))
    raw = sections.cases(bench, ["in.tftpd", "atftpd", "dnsmasq", "floor"], 2, only=["S"])
    assert {name: len(runs) for name, runs in raw["S"].items()} == \
        {"in.tftpd": 0, "atftpd": 0, "dnsmasq": 0, "floor": 2}
    assert all(r["succeeded"] == 100 for r in raw["S"]["floor"])
    assert bench.skipped == {
        "dnsmasq in cases, one time": "dnsmasq does not serve one client",
        "dnsmasq in cases, the rest": "dnsmasq does not serve one client",
        "in.tftpd": "the package tftpd-hpa cannot be downloaded",
        "atftpd in cases, one time": "atftpd did not start: libwrap.so.0: no such file",
        "atftpd in cases, the rest": "atftpd did not start: libwrap.so.0: no such file"}
    assert "dnsmasq" not in tables.case_tables({"sections": {"cases": raw}})[0][0][1]


def test_nothing_stays(tmp_path):
    """The measurement of leaks, on a short load."""
    bench = measure.Bench(conftest.BUILD, tmp_path, True)
    got = sections.leak(bench, "ringtftpd mmsg+threads", 4, 500)
    assert got["transfers"] == 1000 and got["refused"] == got["failed"] > 0
    assert got["descriptors"][1] <= got["descriptors"][0]
    assert got["bytes"][1] - got["bytes"][0] < 1 << 20
    table = tables.leak_table({"sections": {"memory": {"leaks": {"it": got}}}})
    assert "| it | 1,000 |" in table


def made_up(ring, cost, growth=0, lost=0):
    """A record in which io_uring does `ring` times what the pool does for `cost` of its CPU."""

    def result(mb, cpu, missing=0):
        return {"started": 1000, "succeeded": 1000 - missing, "unfinished": missing,
                "failures": {"all": 0}, "bytes_per_s": mb * 1e6, "elapsed_s": 1, "payload_bytes": 1,
                "server": {"s_per_gb": cpu, "cpu_s": 0.5, "us_per_packet": 1,
                           "memory_high_before": 0, "memory_high": 30 << 20}}

    def both(factor):
        return {f"ringtftpd {net}+{files}": [result(100 * factor if files == "io_uring" else 100,
                                                    cost if files == "io_uring" else 1, lost)]
                for net in gate.NETWORKS for files in ("threads", "io_uring")}

    own = {name: runs[0] for name, runs in both(1).items()}
    leaks = {name: {"transfers": 20000, "bytes": [5 << 20, (5 << 20) + growth],
                    "descriptors": [20, 20]} for name in own}
    runs = {"cold": {"1000": both(ring)}, "warm": {"1000": both(1)},
            "slow 20 ms": {"1000": both(4)}}
    return {"sections": {"io_uring": {"runs": runs, "disk_mb_per_s": {"1000": [500]}},
                         "memory": {"own files": {"1000": own}, "small cache": {"1000": own},
                                    "leaks": leaks},
                         "uploads": both(1)}}


@pytest.mark.parametrize("what, supported, word", [
    (made_up(2.1, 0.6), "true", "All targets hold"),
    (made_up(1.0, 1.0), "true", "nowhere more than 10 % behind"),
    (made_up(0.8, 1.0), "false", "more than 10 % behind"),
    (made_up(1.0, 1.3), "false", "more than 10 % behind"),
    (made_up(2.1, 0.6, growth=2 << 20), "false", "soundness does not hold (no leaks"),
    (made_up(2.1, 0.6, lost=3), "false", "soundness does not hold (1,000 transfers at once"),
], ids=["all", "slow disks only", "slower", "dearer", "leaks", "lost"])
def test_the_default_follows_from_the_record(what, supported, word):
    text = gate.text(copy.deepcopy(what))
    assert f"`enabled = {supported}`" in text and word in text, text
    assert "With a cache of 48 MiB the same transfers were carried" in text


def test_nothing_recorded_is_no_error(tmp_path):
    record = {"machine": {"architecture": "x", "processors": 2, "processor": "y", "memory_mb": 1,
                          "kernel": "6.1", "loopback_mtu": "65536", "io_uring_disabled": "0",
                          "commit": "z"},
              "date": "2026-01-01", "label": "here", "quick": False, "rounds": 5, "seconds": 1,
              "versions": {}, "sections": {}, "skipped": {"section cases": "no floor"}}
    render.write_document(record, tmp_path, tmp_path / "a" / "b" / "c")
    assert "- section cases: no floor" in (tmp_path / "benchmarks.md").read_text()
    assert render.text_tables(record) == ""
    shutil.rmtree(tmp_path / "benchmarks")
