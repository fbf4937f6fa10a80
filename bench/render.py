"""docs/benchmarks.md and its plots, from a record."""

import json

import compare
import gate
import plot
import tables

INTRO = """# Benchmarks

Written by `make bench`, about half an hour; the numbers are in `{folder}/result.json`.
`make bench QUICK=1` does a short version in under 5 minutes and leaves this page alone.
"""

METHOD = """## How it is measured

The server runs on one processor and the load, [`ringtftp-bench`](../man/ringtftp-bench.1), on
another, over loopback. Each client has an address of its own, and every byte is compared. Every
measurement starts the server anew and warms it with one download; in each round all servers take
turns, and tables show medians over the rounds, with the least and the most beside them. The floor
runs before and after each of them: a ratio to the floor is of each run to the two beside it,
and then the median, for a shared machine changes its speed from one moment to the next; a run
beside which these two differ by more than 15 % is left out, unless that is so for most. A slow
server is measured less often (column "runs") and for some seconds only: "cut off" is what was
still running then and is no failure.

- **Server CPU** is all processor time of the server's control group: its children and the kernel's
  work for it included, but not what the kernel does for its packets on the generator's processor.
- **The floor** is `bench/floor.c`: a bare loop that serves files from memory and does nothing else
  that a server must do - no checks, no retransmission, no log. It is what the same kernel and the
  same sockets cost without a server.
- **Processor columns** say how busy each of the two was. Where the generator's is near 100 % the
  throughput is the generator's, not the server's; the cost of a packet is still the server's own.

Loopback has no loss, no interrupts and an MTU of {mtu} bytes: a network card adds its own cost to
every server alike. Figures of a shared machine differ from hour to hour; ratios of one run are
what can be compared.
"""


def facts(record):
    m = record["machine"]
    rows = [["Machine", f"{m['architecture']}, {m['processors']} processors, {m['processor']}, "
             f"{m['memory_mb']:,} MB"],
            ["Kernel", f"Linux {m['kernel']}, loopback MTU {m['loopback_mtu']}, "
             f"io_uring_disabled {m['io_uring_disabled']}"],
            ["Built from", m["commit"]], ["Date", record["date"]],
            ["Rounds", f"at most {record['rounds']}{', quick' if record['quick'] else ''}"],
            ["Took", f"{record['seconds'] / 60:.0f} minutes"]]
    rows += [[name, f"Debian {version}"] for name, version in record["versions"].items()]
    return "| | |\n| --- | --- |\n" + "".join(f"| {a} | {b} |\n" for a, b in rows)


class Document:
    def __init__(self, folder):
        self.folder = folder
        self.pictures = folder / "benchmarks"
        self.pictures.mkdir(parents=True, exist_ok=True)
        self.parts = []

    def add(self, text):
        if text:
            self.parts.append(text)

    def picture(self, draw, name, alt, *arguments, **rest):
        if draw(self.pictures / name, *arguments, **rest):
            self.parts.append(f"![{alt}](benchmarks/{name})\n")

    def save(self):
        (self.folder / "benchmarks.md").write_text("\n".join(self.parts), encoding="utf-8")


def add_cases(doc, record):
    found, cpu, rate = tables.case_tables(record)
    if not found:
        return
    names = list(dict.fromkeys(n for g in cpu.values() for n in g))
    doc.add("## At a glance\n\nServer CPU for the same work, as a ratio to the floor "
            "measured beside it; for S transfers per second of server CPU, where more is better. The "
            "cases are those of the next section.\n\n" + tables.glance(record))
    doc.picture(plot.bars, "cpu.svg", "server CPU by case", "Server CPU for the same work",
                "floor = 1; less is better; cut at 8", cpu, names, clip=8)
    doc.add("## Throughput and CPU\n")
    doc.picture(plot.bars, "throughput.svg", "throughput by case", "Throughput",
                "MB/s, logarithmic; more is better", {c: v for c, v in rate.items() if c != "S"}, names,
                log=True)
    for title, text in found:
        doc.add(f"### {title}\n\n{text}")
    doc.add("## Is the generator the bottleneck?\n\nThe floor, driven by the generator from the "
            "other processor. The generator compares every byte, so it costs about as much as the "
            f"floor itself.\n\n{tables.generator_table(record)}")


def add_latency(doc, record):
    text, bars = tables.latency_table(record)
    if not text:
        return
    rate = record["sections"]["latency"]["rate"]
    doc.add(f"## Latency\n\nOpen loop: {rate} transfers of 64 KB begin each second (blksize 1428, "
            "lock-step: 46 round trips), at random times, whether or not the server keeps up; the "
            "time counts from when a transfer should have begun.\n")
    doc.picture(plot.bars, "latency.svg", "latency percentiles", "Whole transfer, open loop",
                "ms, logarithmic; less is better", bars, list(bars["p50"]), log=True)
    doc.add(text)


def add_concurrency(doc, record):
    text, cost, memory, tail = tables.concurrency_tables(record)
    if not text:
        return
    doc.add("## Concurrency\n\n64 KB files, blksize 1428, lock-step, N clients at once, 2,000 "
            "transfers or one for each client.\n")
    doc.picture(plot.lines, "concurrency-cpu.svg", "cost over concurrency",
                "Cost of a packet as clients become more", "µs of server CPU per packet", cost,
                "clients")
    doc.picture(plot.lines, "concurrency-memory.svg", "memory over concurrency",
                "Memory as clients become more", "MB more than before, logarithmic", memory, "clients")
    doc.picture(plot.lines, "concurrency-latency.svg", "latency over concurrency",
                "Whole transfer, p99", "ms", tail, "clients")
    doc.add(text)


def add_memory(doc, record):
    text = tables.memory_table(record)
    if text:
        doc.add("## Memory\n\nWhat the server grows by over its idle size, shared by the transfers. "
                "One file of 64 KB for all, blksize 512; or 256 KB for each, blksize 65464, where "
                f"it includes the read cache (128 MiB at most).\n\n{text}")
    text = tables.leak_table(record)
    if text:
        doc.add("### What stays\n\nOne server, the same load again and again: downloads of two "
                "sizes, and requests of a file that is not there. Before: after the second load.\n\n"
                + text)


def add_io_uring(doc, record):
    found, plots = tables.io_uring_tables(record)
    if found:
        doc.add("## Thread pool and io_uring\n\nN clients at once, each with a file of its own: 200 "
                "of 4 MB, 1,000 of 1 MB, 5,000 of 256 KB, 10,000 of 128 KB (slow disks: 200 of 1 MB, "
                "1,000 of 256 KB); blksize 65464. The thread pool has its default of 4 threads. Cold: "
                "the files were taken out of the page cache; the slow disk is a FUSE file system "
                "that adds a time to every read and serves any number at once. Read latency is "
                "from submission to completion, by the server's own count; \"longest turn\" is how "
                "long its loop was away at most.\n")
    for kind, name in (("cold", "io_uring-cold.svg"), ("slow 20 ms", "io_uring-slow.svg")):
        data = {n: [(f"{count:,}", mb) for count, mb in points]
                for n, points in plots.get(kind, {}).items()}
        groups = {}
        for server, points in data.items():
            for label, mb in points:
                groups.setdefault(label, {})[server] = mb
        if groups:
            doc.picture(plot.bars, name, f"throughput, {tables.disk_title(kind)}",
                        f"Own files: {tables.disk_title(kind)}",
                        "MB/s; more is better; by the number of transfers at once", groups,
                        list(data))
    for title, text in found:
        doc.add(f"### {title}\n\n{text}")


def add_comparison(doc, record, folder):
    """With the newest other record of the same kind of machine, if there is one."""
    others = sorted(p for p in folder.resolve().parent.glob(f"*-{record['label']}*")
                    if p != folder.resolve() and (p / "result.json").exists())
    if record["quick"] or not others:
        return
    text, _ = compare.table(json.loads((others[-1] / "result.json").read_text(encoding="utf-8")),
                            record)
    doc.add(f"## Do two runs agree?\n\nRatios of `{others[-1].name}` (first) and of this run "
            f"(second), by `bench/run.py --compare`.\n\n{text}\n")


def write_document(record, where, folder):
    """`where`: the folder of benchmarks.md; `folder`: that of the record."""
    doc = Document(where)
    place = "/".join(folder.resolve().parts[-3:])
    doc.add(INTRO.format(folder=place))
    doc.add(facts(record))
    doc.add(METHOD.format(mtu=record["machine"]["loopback_mtu"]))
    add_cases(doc, record)
    text = gate.text(record)
    if text:
        doc.add(f"## Is io_uring to be the default?\n\n{text}")
    add_latency(doc, record)
    add_concurrency(doc, record)
    add_memory(doc, record)
    add_io_uring(doc, record)
    text = tables.uploads_table(record)
    if text:
        doc.add("## Uploads\n\n100 clients, 1 MB files, blksize 1428, windowsize 16 where the server "
                f"knows it; nobody syncs to disk.\n\n{text}")
    add_comparison(doc, record, folder)
    if record["skipped"]:
        doc.add("## Left out\n\n" + "".join(f"- {n}: {r}\n" for n, r in record["skipped"].items()))
    doc.save()


def text_tables(record):
    """For the terminal."""
    parts = [f"{title}\n{text}" for title, text in
             [("ratios to the floor", tables.glance(record)), *tables.case_tables(record)[0],
              ("generator", tables.generator_table(record)),
              ("latency", tables.latency_table(record)[0]),
              ("concurrency", tables.concurrency_tables(record)[0]),
              ("memory", tables.memory_table(record)), ("what stays", tables.leak_table(record)),
              *tables.io_uring_tables(record)[0], ("uploads", tables.uploads_table(record)),
              ("is io_uring to be the default?", gate.text(record))] if text]
    return "\n".join(parts)
