"""From a record to tables, plots and docs/benchmarks.md."""

import statistics

import plot
import sections

FLOOR = "floor"


def median(values):
    values = [v for v in values if v is not None]
    return statistics.median(values) if values else None


def fmt(x, digits=3):
    if x is None:
        return "–"
    if abs(x) >= 10000:
        return f"{x:,.0f}"
    return f"{x:.{digits}g}" if abs(x) < 1000 else f"{x:.0f}"


def lost(runs):
    return sum(r["failures"]["all"] + r["unfinished"] for r in runs)


def failed(runs):
    return sum(r["failures"]["all"] for r in runs)


def started(runs):
    return sum(r["started"] for r in runs)


def lost_text(runs):
    """What failed, and what was not done when the time of the measurement was up."""
    text = f"{failed(runs):,} of {started(runs):,}" if failed(runs) else "none"
    cut = lost(runs) - failed(runs)
    return f"{text}, {cut:,} cut off" if cut else text


def table(head, rows):
    """Markdown."""
    lines = ["| " + " | ".join(head) + " |", "| " + " | ".join("---" for _ in head) + " |"]
    lines += ["| " + " | ".join(str(c) for c in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def ratio(value, floor, name=""):
    if value is None or not floor:
        return "–"
    return f"{value / floor:.2f}"


def case_tables(record):
    """[(title, table)] and the plots' data."""
    raw = record["sections"].get("cases", {})
    out, cpu, rate = [], {}, {}
    for case, by_server in raw.items():
        title, name = sections.CASES[case][:2]
        values = {s: median(sections.figure(r, name) for r in runs)
                  for s, runs in by_server.items() if runs}
        floor = values.get(FLOOR)
        rows = []
        for server, runs in by_server.items():
            if not runs:
                continue
            spread = [v for v in (sections.figure(r, name) for r in runs) if v is not None]
            rows.append([
                server, fmt(values[server]),
                f"{fmt(min(spread))}–{fmt(max(spread))}" if spread else "–",
                ratio(values[server], floor),
                fmt(median(r["bytes_per_s"] / 1e6 for r in runs)),
                fmt(median(r["transfers_per_s"] for r in runs)),
                lost_text(runs),
                f"{median(sections.share(r, 'server') for r in runs):.0f} / "
                f"{median(sections.share(r, 'generator') for r in runs):.0f}"])
        out.append((f"{case}: {title}", table(
            ["Server", f"{sections.FIGURES[name]} (median)", "min–max", "× floor", "MB/s",
             "transfers/s", "failed", "% of a CPU: server / load"], rows)))
        cost = {s: (floor / v if name == "transfers_per_cpu_s" else v / floor)
                for s, v in values.items() if v and floor}
        cpu[case] = cost
        rate[case] = {s: median(r["bytes_per_s"] / 1e6 for r in runs)
                      for s, runs in by_server.items() if runs}
    return out, cpu, rate


def latency_table(record):
    data = record["sections"].get("latency")
    if not data:
        return None, {}
    rows, bars = [], {q: {} for q in ("p50", "p90", "p99", "p999", "max")}
    for server, runs in data["runs"].items():
        if not runs:
            continue
        times = {q: median(r["transfer_s"][q] for r in runs if r["succeeded"]) for q in bars}
        first = median(r["first_byte_s"]["p99"] for r in runs if r["succeeded"])
        for q, value in times.items():
            if value is not None:
                bars[q][server] = value * 1e3
        rows.append([server, *(fmt(t * 1e3 if t is not None else None) for t in times.values()),
                     fmt(first * 1e3 if first is not None else None), lost_text(runs)])
    return table(["Server", "p50 ms", "p90", "p99", "p999", "max", "first byte p99", "failed"],
                 rows), bars


def concurrency_tables(record):
    raw = record["sections"].get("concurrency", {})
    cost, memory, tail, rows = {}, {}, {}, []
    for clients, by_server in raw.items():
        floor = median(sections.figure(r, "us_per_packet") for r in by_server.get(FLOOR, []))
        for server, runs in by_server.items():
            good = [r for r in runs if r["succeeded"]]
            if not good:
                continue
            us = median(r["server"]["us_per_packet"] for r in good)
            kept = median(sections.grown(r) / 1e6 for r in good)
            p50 = median(r["transfer_s"]["p50"] * 1e3 for r in good)
            p99 = median(r["transfer_s"]["p99"] * 1e3 for r in good)
            cost.setdefault(server, []).append((int(clients), us))
            memory.setdefault(server, []).append((int(clients), max(kept, 0.01)))
            tail.setdefault(server, []).append((int(clients), p99))
            rows.append([f"{int(clients):,}", server, fmt(us), ratio(us, floor),
                         fmt(median(r["bytes_per_s"] / 1e6 for r in good)), fmt(p50), fmt(p99),
                         fmt(kept), lost_text(runs)])
    text = table(["Clients", "Server", "µs/packet", "× floor", "MB/s", "p50 ms", "p99 ms",
                  "memory grown, MB", "failed"], rows) if rows else None
    return text, cost, memory, tail


def engine(result, name):
    return result["server"].get("engines", {}).get(name)


def read_latency(result):
    """(p50, p99, p999) in µs of the back end that did the reads."""
    own = "io_uring" if engine(result, "reads_io_uring") else "threads"
    return tuple(engine(result, f"read_{own}_us_{q}") for q in ("p50", "p99", "p999"))


def io_uring_table(record):
    data = record["sections"].get("io_uring")
    if not data:
        return None
    kinds = [(f"cold, {n} files", by) for n, by in data["cold"].items()]
    kinds += [(f"warm, {n} files", by) for n, by in data["warm"].items()]
    kinds += [("slow disk (20 ms a read), 200 files", data["slow"])] if data["slow"] else []
    rows = []
    for title, by_server in kinds:
        for server, runs in by_server.items():
            good = [r for r in runs if r["succeeded"]]
            if not good:
                continue
            reads = [read_latency(r) for r in good]
            rows.append([title, server, fmt(median(r["bytes_per_s"] / 1e6 for r in good)),
                         fmt(median(r["server"]["s_per_gb"] for r in good)),
                         *(fmt(median(r[i] for r in reads)) for i in range(3)),
                         fmt(median(engine(r, "turn_us_max") for r in good)), lost_text(runs)])
    text = table(["Case", "Server", "MB/s", "CPU s/GB", "read p50 µs", "p99", "p999",
                  "longest turn µs", "failed"], rows)
    for n, values in data["disk_mb_per_s"].items():
        text += f"\nThe disk alone, 128 readers of 32 KB, {n} cold files: {fmt(median(values))} MB/s.\n"
    return text


def memory_table(record):
    data = record["sections"].get("memory")
    if not data:
        return None
    rows = []
    for kind, by_clients in data.items():
        for clients, by_server in by_clients.items():
            for server, r in by_server.items():
                rows.append([kind, f"{int(clients):,}", server, fmt(sections.grown(r) / 1e6),
                             fmt(sections.grown(r) / int(clients)), lost_text([r])])
    return table(["Files", "Transfers", "Server", "memory grown, MB", "bytes per transfer",
                  "failed"], rows)


def uploads_table(record):
    raw = record["sections"].get("uploads")
    if not raw:
        return None
    rows = [[server, fmt(median(r["server"]["s_per_gb"] for r in runs if r["succeeded"])),
             fmt(median(r["server"]["us_per_packet"] for r in runs if r["succeeded"])),
             fmt(median(r["bytes_per_s"] / 1e6 for r in runs)), lost_text(runs)]
            for server, runs in raw.items() if runs]
    return table(["Server", "CPU s/GB", "µs/packet", "MB/s", "failed"], rows)


def gate(record):
    """The targets of io_uring against the thread pool, as far as they were measured."""
    data = record["sections"].get("io_uring") or {"cold": {}}
    rows = []

    def pick(by_server, name, value):
        runs = [r for r in by_server.get(f"ringtftpd {name}", []) if r["succeeded"]]
        return median(value(r) for r in runs)

    for count, by_server in data["cold"].items():
        for net in ("mmsg", "io_uring"):
            threads, ring = f"{net}+threads", f"{net}+io_uring"
            mb = [pick(by_server, n, lambda r: r["bytes_per_s"]) for n in (threads, ring)]
            cpu = [pick(by_server, n, lambda r: r["server"]["s_per_gb"]) for n in (threads, ring)]
            if None in mb or None in cpu:
                continue
            rows.append([f"cold, {count} files, network {net}: throughput ≥ 2 × the pool",
                         f"{mb[1] / mb[0]:.2f} ×", "yes" if mb[1] >= 2 * mb[0] else "no"])
            rows.append([f"cold, {count} files, network {net}: ≥ 30 % less CPU per GB",
                         f"{100 * abs(1 - cpu[1] / cpu[0]):.0f} % "
                         f"{'less' if cpu[1] < cpu[0] else 'more'}",
                         "yes" if cpu[1] <= 0.7 * cpu[0] else "no"])
    own = (record["sections"].get("memory") or {}).get("own files", {}).get("1000", {})
    for server, r in own.items():
        if server.endswith("+io_uring"):
            each = sections.grown(r) / 1000
            rows.append([f"{server}: ≤ 64 KB a transfer, each with its own file",
                         f"{each / 1024:.1f} KB", "yes" if each <= 65536 else "no"])
    for clients, by_server in record["sections"].get("concurrency", {}).items():
        if int(clients) < 1000:
            continue
        for server, runs in by_server.items():
            if server.endswith("+io_uring") and runs:
                rows.append([f"{server}: {int(clients):,} at once, none fails",
                             f"{lost_text(runs)} failed", "no" if lost(runs) else "yes"])
    return table(["Target", "Measured", "Holds"], rows) if rows else None


def facts(record):
    m = record["machine"]
    rows = [["Machine", f"{m['architecture']}, {m['processors']} processors, {m['processor']}, "
             f"{m['memory_mb']:,} MB"],
            ["Kernel", f"Linux {m['kernel']}, loopback MTU {m['loopback_mtu']}, "
             f"io_uring_disabled {m['io_uring_disabled']}"],
            ["Built from", m["commit"]], ["Date", record["date"]],
            ["Rounds", f"{record['rounds']}{', quick' if record['quick'] else ''}"]]
    rows += [[name, f"Debian {version}"] for name, version in record["versions"].items()]
    return table(["", ""], rows)


INTRO = """# Benchmarks

Written by `make bench`; the numbers behind it are in `{folder}/result.json`. `make bench QUICK=1`
does a short version in under 5 minutes.

The server runs on one processor, the load (`ringtftp-bench`) on another, over loopback. Each
client has an address of its own. The load generator compares every byte. "Server CPU" is all
the processor time of the server's control group, the kernel's work for it included. The floor
is `bench/floor.c`, a bare loop that serves files from memory and does nothing else that a
server must do. All servers take turns in each round, each started anew and warmed with one
download; tables show medians. Figures of shared machines differ from hour to hour: look at the
ratios.
"""


def write_document(record, top, folder):
    """docs/benchmarks.md and its plots."""
    pictures = top / "docs" / "benchmarks"
    pictures.mkdir(parents=True, exist_ok=True)
    parts = [INTRO.format(folder=folder.resolve().relative_to(top)), facts(record)]

    def picture(name, done, alt):
        if done:
            parts.append(f"![{alt}](benchmarks/{name})\n")

    tables, cpu, rate = case_tables(record)
    names = list(dict.fromkeys(n for g in cpu.values() for n in g))
    if tables:
        parts.append("## Throughput and CPU\n")
        picture("cpu.svg", plot.bars(pictures / "cpu.svg", "Server CPU for the same work",
                                     "floor = 1; less is better; cut at 8", cpu, names, clip=8),
                "server CPU by case")
        picture("throughput.svg", plot.bars(pictures / "throughput.svg", "Throughput", "MB/s",
                                            {c: v for c, v in rate.items() if c != "S"}, names),
                "throughput by case")
        parts += [f"### {title}\n\n{text}" for title, text in tables]
    text, bars = latency_table(record)
    if text:
        rate_of = record["sections"]["latency"]["rate"]
        parts.append(f"## Latency\n\nOpen loop: {rate_of} transfers of 64 KB begin each second "
                     "(blksize 1428, lock-step), whether or not the server keeps up; the time "
                     "counts from when a transfer should have begun.\n")
        picture("latency.svg", plot.bars(pictures / "latency.svg", "Whole transfer, open loop",
                                         "ms; cut at 100", bars, names or list(bars["p50"]),
                                         clip=100), "latency percentiles")
        parts.append(text)
    text, cost, memory, tail = concurrency_tables(record)
    if text:
        parts.append("## Concurrency\n\n64 KB files, blksize 1428, lock-step, N clients at once.\n")
        picture("concurrency-cpu.svg", plot.lines(
            pictures / "concurrency-cpu.svg", "Cost of a packet as clients become more",
            "µs of server CPU per packet", cost, "clients"), "cost over concurrency")
        picture("concurrency-memory.svg", plot.lines(
            pictures / "concurrency-memory.svg", "Memory as clients become more",
            "MB more than idle", memory, "clients"), "memory over concurrency")
        picture("concurrency-latency.svg", plot.lines(
            pictures / "concurrency-latency.svg", "Whole transfer, p99", "ms", tail, "clients"),
            "latency over concurrency")
        parts.append(text)
    for title, text in (
            ("Memory per transfer", memory_table(record)),
            ("Thread pool and io_uring\n\nEvery client fetches a file of its own, blksize 65464. "
             "Cold: the files were taken out of the page cache. Read latency is from submission "
             "to completion, by the server's own count.", io_uring_table(record)),
            ("Uploads\n\n100 clients, 1 MB files, blksize 1428, windowsize 16 where the server "
             "knows it; nobody syncs to disk.", uploads_table(record)),
            ("Is io_uring worth being the default?", gate(record))):
        if text:
            parts.append(f"## {title}\n\n{text}")
    if record["skipped"]:
        parts.append("## Skipped\n\n" + "".join(f"- {n}: {r}\n"
                                                for n, r in record["skipped"].items()))
    (top / "docs" / "benchmarks.md").write_text("\n".join(parts), encoding="utf-8")


def text_tables(record):
    """For the terminal."""
    tables, _, _ = case_tables(record)
    parts = [f"{title}\n{text}" for title, text in tables]
    for title, text in (("latency", latency_table(record)[0]),
                        ("concurrency", concurrency_tables(record)[0]),
                        ("memory", memory_table(record)), ("io_uring", io_uring_table(record)),
                        ("uploads", uploads_table(record)), ("gate", gate(record))):
        if text:
            parts.append(f"{title}\n{text}")
    return "\n".join(parts)
