#!/usr/bin/python3
"""How many bytes a forged request makes each server send to a victim: every kind of request at once,
each in the name of another victim, in a network of its own for each server (tests/e2e/reflect.py).
Writes the tables of docs/amplification.md. Needs root; takes two minutes."""

import argparse
import concurrent.futures
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time

TOP = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TOP / "tests" / "e2e"))
import reflect  # noqa: E402
import servers  # noqa: E402
import tftp  # noqa: E402

OURS = {"ringtftpd": ("mmsg", "false"), "ringtftpd, io_uring": ("io_uring", "true")}
PEERS = {"tftpd-hpa": "in.tftpd", "atftpd": "atftpd", "dnsmasq": "dnsmasq"}
TENFOLD = "10 times RRQ of 10 bytes"
BLIND = {"RRQ of 10 bytes": 1, "RRQ, all options, found": 0}  # and the ACK that is guessed
DOCUMENT = TOP / "docs" / "amplification.md"


def command(name, build, root):
    """Arguments and environment of a server on port 69 of its own network."""
    if name in OURS:
        engine, uring = OURS[name]
        options = {"write.enabled": "true", "write.allow_overwrite": "true",
                   "write.allowed_patterns": '["a", "missing", "n*"]', "log.level": "error",
                   "performance.platform.network.engine": engine,
                   "performance.platform.io_uring.enabled": uring}
        arguments = [str(build / "src/cli/ringtftpd"), "--root", str(root)]
        for key, value in options.items():
            arguments += ["-o", f"{key}={value}"]
        return arguments, None
    program = PEERS[name]
    path = str(servers.peer_program(program, build))
    arguments = {
        "tftpd-hpa": [path, "-L", "-c", "-p", "-u", "root", "-s", str(root)],
        "atftpd": [path, "--daemon", "--no-fork", "--port", "69", "--maxthread", "20000", "--user",
                   "root", "--group", "root", "--logfile", "/dev/null", str(root)],
        "dnsmasq": [path, "--keep-in-foreground", "--conf-file=/dev/null", "--port=0",
                    "--enable-tftp", f"--tftp-root={root}", "--tftp-max=20000", "--user=root",
                    "--group=root", "--pid-file=", "--log-facility=/dev/null"],
    }[name]
    return arguments, servers.peer_environment(program, build)


class Running:
    """A server inside a lab, ready."""

    def __init__(self, space, name, build, root):
        arguments, environment = command(name, build, root)
        self.process = subprocess.Popen([*space.prefix, *arguments], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                        env=environment, start_new_session=True)
        end = time.monotonic() + 20
        while not self._listens(space):
            if self.process.poll() is not None or time.monotonic() > end:
                self.stop()
                raise servers.Unavailable(f"{name} did not start")
            time.sleep(0.02)

    @staticmethod
    def _listens(space):
        """Somebody in the same namespace is answered."""
        with space.inside(lambda: tftp.Peer(("127.0.0.1", 69))) as probe:
            probe.send(tftp.rrq("a"))
            answer = probe.receive(0.1)
            if answer is not None:
                probe.reply(tftp.error(0))
            return answer is not None

    def stop(self):
        for sig in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.process.pid, sig)
                self.process.wait(5)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue


def sums(packets):
    return {"packets": len(packets), "bytes": sum(len(p.payload) for p in packets),
            "ip": sum(p.ip_bytes for p in packets)}


def measure(name, build, seconds):
    """{(words, victim's kind, IP version): result}: packets, bytes and IP bytes, of a request of so
    many bytes."""
    with tempfile.TemporaryDirectory() as folder, reflect.Lab() as lab:
        root = pathlib.Path(folder) / "root"
        root.mkdir()
        root.chmod(0o777)
        pathlib.Path(folder).chmod(0o755)
        reflect.prepare(root)
        server = Running(lab.server, name, build, root)
        try:
            return _measure(lab, seconds)
        finally:
            server.stop()


def _measure(lab, seconds):
    asked, victims = {}, {}
    frames, tenfold = [], []
    for version in (4, 6):
        for kind, base in (("silent", reflect.SILENT), ("talking", reflect.TALKING)):
            requests = {**reflect.shapes()}
            requests[TENFOLD] = requests["RRQ of 10 bytes"]
            for n, (words, raw) in enumerate(requests.items()):
                victim = reflect.numbered(base[version], 1 + n)
                victims[words, kind, version] = victim
                asked[words, kind, version] = raw
                one = reflect.frame(victim, 2000 + n, raw)
                (tenfold if words == TENFOLD else frames).append(one)
    for one in frames:  # not faster than any server reads
        lab.send([one])
        lab.watch(0.005)
    for _ in range(10):
        lab.send(tenfold)
        lab.watch(0.1)
    lab.watch(seconds)
    got = {}
    for (target, _), packets in lab.by_target().items():
        got.setdefault(target, []).extend(packets)
    found = {}
    for case, raw in asked.items():
        times = 10 if case[0] == TENFOLD else 1
        head = 48 if case[2] == 6 else 28
        found[case] = {**sums(got.get(victims[case], [])), "asked": times * len(raw),
                       "asked_ip": times * (len(raw) + head)}
    return found


def blind(name, build, seconds):
    """A forged request and then a forged ACK to each port from which it might be answered."""
    with tempfile.TemporaryDirectory() as folder, reflect.Lab() as lab:
        root = pathlib.Path(folder)
        root.chmod(0o755)
        reflect.prepare(root)
        server = Running(lab.server, name, build, root)
        try:
            first, last = map(int, subprocess.run(
                [*lab.server.prefix, "sysctl", "-n", "net.ipv4.ip_local_port_range"], check=True,
                capture_output=True, text=True).stdout.split())
            spent = {}
            for n, (words, block) in enumerate(BLIND.items()):
                victim = reflect.numbered(reflect.SILENT[4], 1 + n)
                raw = reflect.shapes()[words]
                lab.send([reflect.frame(victim, 2000, raw)])
                lab.watch(0.2)
                lab.send(reflect.frame(victim, 2000, b"\0\4\0" + bytes([block]), dport=port)
                         for port in range(first, last + 1))
                spent[words] = 28 + len(raw) + 32 * (last + 1 - first)
            lab.watch(seconds)
            got = lab.by_target()
            return {words: {**sums(got[reflect.numbered(reflect.SILENT[4], 1 + n), 2000]),
                            "spent": spent[words]} for n, words in enumerate(BLIND)}
        finally:
            server.stop()


SEEDS = (b"\0\5\0\1File not found\0", b"\0\1missing\0octet\0", b"\0\1a\0octet\0",
         b"\0\2missing\0octet\0", b"\0\4\0\1", b"\0\3\0\1" + b"x" * 512, b"\0\6blksize\x00512\0")


def loop(other, build, seconds):
    """Packets that ringtftpd sends to another server in whose name seeds have come, from its port
    69 and from a port where it may have a transfer."""
    with tempfile.TemporaryDirectory() as folder, reflect.Lab() as lab:
        root = pathlib.Path(folder)
        root.chmod(0o755)
        reflect.prepare(root)
        running = [Running(lab.server, "ringtftpd", build, root)]
        try:
            running.append(Running(lab.client, other, build, root))
            lab.send(reflect.frame(reflect.CLIENT[4], 69, raw) for raw in SEEDS)
            lab.watch(seconds)
            return len([p for p in lab.seen if p.target == reflect.CLIENT[4]])
        finally:
            for server in running:
                server.stop()


# ---- The document ----

def factor(result, kind=""):
    asked = result["asked" + ("_ip" if kind == "ip" else "")]
    return result["ip" if kind == "ip" else "bytes"] / asked


def largest(results, kind=""):
    """The case with the largest factor, of one request."""
    return max((case for case in results if case[0] != TENFOLD and case[1] == "silent"),
               key=lambda case: factor(results[case], kind))


def peers_table(all_results):
    lines = ["| Server | Largest factor, bytes of UDP payload | of IP | by | packets, bytes | "
             "with ICMP | 10 times the same |", "| --- | ---: | ---: | --- | --- | --- | --- |"]
    for name, results in all_results.items():
        case = largest(results)
        ip = max(factor(r, "ip") for c, r in results.items()
                 if c[1] == "silent" and c[0] != TENFOLD)
        talking = results[case[0], "talking", case[2]]
        ten = results[TENFOLD, "silent", 4]
        result = results[case]
        lines.append(f"| {name} | {factor(result):.1f} | {ip:.1f} | {case[0]} | "
                     f"{result['packets']}, {result['bytes']:,} | "
                     f"{talking['packets']}, {talking['bytes']:,} | "
                     f"{ten['packets']}, {ten['bytes']:,} |")
    return lines


def own_table(results):
    lines = ["| Request | Its bytes | Silent victim: packets, bytes | Factor | IPv4 factor | "
             "IPv6 factor | With ICMP: packets, bytes |",
             "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"]
    for words in [*reflect.shapes(), TENFOLD]:
        four, six = results[words, "silent", 4], results[words, "silent", 6]
        talking = results[words, "talking", 4]
        lines.append(f"| {words} | {four['asked']} | {four['packets']}, {four['bytes']:,} | "
                     f"{factor(four):.1f} | {factor(four, 'ip'):.1f} | {factor(six, 'ip'):.1f} | "
                     f"{talking['packets']}, {talking['bytes']:,} |")
    return lines


def blind_table(results):
    lines = ["| Request | Spent, IP bytes | To the victim: packets, IP bytes | Factor |",
             "| --- | ---: | ---: | ---: |"]
    for words, r in results.items():
        lines.append(f"| {words} | {r['spent']:,} | {r['packets']}, {r['ip']:,} | "
                     f"{r['ip'] / r['spent']:.2f} |")
    return lines


def loop_table(results):
    lines = ["| Other server | Packets sent to it |", "| --- | ---: |"]
    return lines + [f"| {name} | {count} |" for name, count in results.items()]


def write(parts):
    text = DOCUMENT.read_text(encoding="utf-8")
    for name, lines in parts.items():
        text, count = re.subn(rf"(<!-- measured: {name} -->\n).*?(<!-- end -->)",
                              lambda m, lines=lines: m[1] + "\n".join(lines) + "\n" + m[2], text,
                              flags=re.DOTALL)
        assert count == 1, name
    DOCUMENT.write_text(text, encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=pathlib.Path, default=TOP / "build")
    parser.add_argument("--seconds", type=float, default=70, help="how long is listened")
    given = parser.parse_args()
    wanted = [*OURS, *PEERS]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        tables = {name: pool.submit(measure, name, given.build, given.seconds) for name in wanted}
        acks = pool.submit(blind, "ringtftpd", given.build, given.seconds)
        loops = {name: pool.submit(loop, name, given.build, 60) for name in wanted}
        found, versions = {}, []
        for name, job in tables.items():
            try:
                found[name] = job.result()
            except servers.Unavailable as reason:
                print(f"left out: {reason}")
                continue
            if name in PEERS:
                versions.append(f"{name} {servers.peer_version(PEERS[name], given.build)}")
        looped = {}
        for name, job in loops.items():
            try:
                looped[name] = job.result()
            except servers.Unavailable as reason:
                print(f"left out: {reason}")
    parts = {"peers": ["", *peers_table(found), "", f"Versions: {', '.join(versions)}; Linux "
                       f"{os.uname().release}; listened for {given.seconds:.0f} seconds.", ""],
             "ours": ["", *own_table(found["ringtftpd"]), ""],
             "blind": ["", *blind_table(acks.result()), ""], "loops": ["", *loop_table(looped), ""]}
    write(parts)
    for lines in parts.values():
        print("\n".join(lines))
    differ = [case for case in found["ringtftpd"]
              if factor(found["ringtftpd, io_uring"][case]) > factor(found["ringtftpd"][case])]
    bound = [case for case, r in found["ringtftpd"].items()
             if case[0] != TENFOLD and r["bytes"] > max(3 * r["asked"], 516)]
    for case in differ:
        print("io_uring sends more for", case)
    for case in bound:
        print("more than is paid for:", case)
    unanswered = [(name, case) for name in OURS for case, r in found[name].items()
                  if r["packets"] == 0]
    for name, case in unanswered:
        print(name, "has not answered", case)
    return 1 if bound or unanswered else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except reflect.Impossible as reason:
        sys.exit(f"cannot be measured here: {reason}")
