"""From a record to tables (Markdown) and to the data of the plots."""

import sections
from ratios import FLOOR, median, to_floor


def fmt(x):
    """Three digits that mean something."""
    if x is None:
        return "–"
    if abs(x) >= 100:
        return f"{x:,.0f}"
    digits = 1 if abs(x) >= 10 else 2 if abs(x) >= 1 else 3
    return f"{x:.{digits}f}"


def failed(runs):
    return sum(r["failures"]["all"] for r in runs)


def cut_off(runs):
    return sum(r["unfinished"] for r in runs)


def started(runs):
    return sum(r["started"] for r in runs)


def lost_text(runs):
    """What failed, and what was not done when the time of the measurement was up."""
    text = f"{failed(runs):,} of {started(runs):,}" if failed(runs) else "none"
    return f"{text}; {cut_off(runs):,} cut off" if cut_off(runs) else text


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |",
             "| --- |" + " ---: |" * (len(head) - 1)]
    lines += ["| " + " | ".join(str(c) for c in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def ratio(value):
    return "–" if value is None else f"{value:.2f}"


def megabytes(runs):
    return median(r["bytes_per_s"] / 1e6 for r in runs)


def glance(record):
    """Every server's ratio to the floor in every case."""
    raw = record["sections"].get("cases", {})
    by_server = {}
    for case, servers in raw.items():
        name = sections.CASES[case][1]
        found = to_floor(servers, lambda r, n=name: sections.figure(r, n))
        for server, runs in servers.items():
            if server != FLOOR and runs:
                by_server.setdefault(server, {})[case] = ratio(found.get(server))
    if not by_server:
        return None
    rows = [[server, *(cells.get(case, "–") for case in raw)] for server, cells in by_server.items()]
    rows.append(["*goal of ringtftpd*",
                 *(("≥ " if sections.FIGURES_UP[sections.CASES[c][1]] else "≤ ")
                   + f"{sections.CASES[c][2]:.2f}" for c in raw)])
    return table(["Server", *raw], rows)


def case_tables(record):
    """[(title, table)] and the plots' data."""
    raw = record["sections"].get("cases", {})
    out, cpu, rate = [], {}, {}
    for case, by_server in raw.items():
        title, name = sections.CASES[case][:2]
        values = {s: median(sections.figure(r, name) for r in runs)
                  for s, runs in by_server.items() if runs}
        to = to_floor(by_server, lambda r, n=name: sections.figure(r, n))
        rows = []
        for server, runs in by_server.items():
            if not runs:
                continue
            spread = [v for v in (sections.figure(r, name) for r in runs) if v is not None]
            rows.append([
                server, fmt(values[server]),
                f"{fmt(min(spread))}–{fmt(max(spread))}" if len(spread) > 1 else "–", len(runs),
                ratio(to.get(server)), fmt(megabytes(runs)),
                fmt(median(r["transfers_per_s"] for r in runs)), lost_text(runs),
                f"{median(sections.share(r, 'server') for r in runs):.0f} %",
                f"{median(sections.share(r, 'generator') for r in runs):.0f} %"])
        out.append((f"{case}: {title}", table(
            ["Server", sections.FIGURES[name], "min–max", "runs", "× floor", "MB/s",
             "transfers/s", "failed", "server's processor", "generator's"], rows)))
        cpu[case] = {s: 1 / x if sections.FIGURES_UP[name] else x
                     for s, x in to.items()}
        rate[case] = {s: megabytes(runs) for s, runs in by_server.items() if runs}
    return out, cpu, rate


def generator_table(record):
    """How busy the floor is, and how busy the generator that drives it."""
    rows = []
    for case, by_server in record["sections"].get("cases", {}).items():
        runs = by_server.get(FLOOR, [])
        if not runs:
            continue
        own, floor = (median(sections.share(r, who) for r in runs)
                      for who in ("generator", "server"))
        rows.append([f"{case}: {sections.CASES[case][0]}", f"{floor:.0f} %", f"{own:.0f} %",
                     fmt(median(r["generator"]["us_per_packet"] for r in runs)),
                     fmt(median(r["packets_per_s"] for r in runs)),
                     "the floor" if floor >= 95 else "the generator" if own >= 95
                     else "neither"])
    return table(["Case", "the floor's processor", "the generator's", "generator µs/packet",
                  "packets/s", "the limit is"], rows) if rows else None


def latency_table(record):
    data = record["sections"].get("latency")
    if not data:
        return None, {}
    rows, bars = [], {q: {} for q in ("p50", "p90", "p99", "p999", "max")}
    for server, runs in data["runs"].items():
        good = [r for r in runs if r["succeeded"]]
        if not good:
            continue
        times = {q: median(r["transfer_s"][q] for r in good) for q in bars}
        for q, value in times.items():
            bars[q][server] = value * 1e3
        rows.append([server, *(fmt(t * 1e3) for t in times.values()),
                     *(fmt(median(r["first_byte_s"][q] for r in good) * 1e3)
                       for q in ("p50", "p99", "max")), lost_text(runs)])
    return table(["Server", "p50 ms", "p90", "p99", "p999", "max", "first byte p50", "p99", "max",
                  "failed"], rows), bars


def concurrency_tables(record):
    raw = record["sections"].get("concurrency", {})
    cost, memory, tail, rows = {}, {}, {}, []
    for clients, by_server in raw.items():
        to = to_floor(by_server, lambda r: sections.figure(r, "us_per_packet"))
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
            rows.append([f"{int(clients):,}", server, fmt(us),
                         ratio(to.get(server)),
                         fmt(megabytes(good)), fmt(p50), fmt(p99), fmt(kept),
                         f"{median(r['requests_resent'] for r in good):,.0f}", lost_text(runs)])
    text = table(["Clients", "Server", "µs/packet", "× floor", "MB/s", "p50 ms", "p99 ms",
                  "memory grown, MB", "requests repeated", "failed"], rows) if rows else None
    return text, cost, memory, tail


def engine(result, name):
    return result["server"].get("engines", {}).get(name)


def read_latency(result):
    """(p50, p99, p999) in µs of the back end that did the reads."""
    own = "io_uring" if engine(result, "reads_io_uring") else "threads"
    return tuple(engine(result, f"read_{own}_us_{q}") for q in ("p50", "p99", "p999"))


def disk_title(kind):
    if kind.startswith("slow"):
        return f"slow disk, {kind.split()[1]} ms a read"
    return {"cold": "cold, the disk that is here", "warm": "warm, from the page cache"}[kind]


def from_disk(kind, runs):
    """How much of what was sent came from the disk; the kernel does not count FUSE's reads."""
    if kind.startswith("slow"):
        return "all"
    part = median(r["server"].get("disk_bytes", 0) / max(r["payload_bytes"], 1) for r in runs)
    return f"{100 * part:.0f} %"


def io_uring_tables(record):
    """[(title, table)], and {kind: {server: [(files, MB/s)]}} for the plots."""
    data = record["sections"].get("io_uring")
    out, plots = [], {}
    for kind, by_count in (data or {"runs": {}})["runs"].items():
        rows = []
        for count, by_server in by_count.items():
            for server, runs in by_server.items():
                good = [r for r in runs if r["payload_bytes"]]  # cut off or not
                if not good:
                    continue
                reads = [read_latency(r) for r in good]
                rows.append([
                    f"{int(count):,}", server, len(good), fmt(megabytes(good)),
                    fmt(median(r["server"]["s_per_gb"] for r in good)),
                    f"{median(sections.share(r, 'server') for r in good):.0f} %",
                    fmt(median(sections.grown(r) / int(count) / 1024 for r in good)),
                    *(fmt(median(r[i] for r in reads) / 1e3
                          if median(r[i] for r in reads) is not None else None) for i in range(3)),
                    fmt(median(engine(r, "turn_us_max") for r in good)),
                    from_disk(kind, good), lost_text(runs)])
                plots.setdefault(kind, {}).setdefault(server, []).append(
                    (int(count), megabytes(good)))
        text = table(["Transfers", "Server", "runs", "MB/s", "CPU s/GB", "server's processor",
                      "KB a transfer", "read p50 ms", "p99", "p999", "longest turn µs",
                      "read from disk", "failed"], rows)
        if kind == "cold":
            for n, values in data["disk_mb_per_s"].items():
                text += (f"\nThe disk alone, 128 readers of 32 KB, {int(n):,} cold files: "
                         f"{fmt(median(values))} MB/s.\n")
        out.append((disk_title(kind)[0].upper() + disk_title(kind)[1:], text))
    return out, plots


def memory_table(record):
    data = record["sections"].get("memory")
    if not data:
        return None
    rows = []
    for kind in ("one file", "own files", "small cache"):
        for clients, by_server in data.get(kind, {}).items():
            for server, r in by_server.items():
                what = f"own files, cache of {sections.SMALL_CACHE >> 20} MiB"
                rows.append([what if kind == "small cache" else kind, f"{int(clients):,}", server, fmt(sections.grown(r) / 1e6),
                             fmt(sections.grown(r) / int(clients) / 1024), lost_text([r])])
    return table(["Files", "Transfers", "Server", "memory grown, MB", "KB a transfer",
                  "failed"], rows)


def leak_table(record):
    leaks = (record["sections"].get("memory") or {}).get("leaks")
    if not leaks:
        return None
    rows = [[server, f"{x['transfers']:,}", f"{x['bytes'][0] / 1e6:.2f}",
             f"{x['bytes'][1] / 1e6:.2f}", x["descriptors"][0], x["descriptors"][1]]
            for server, x in leaks.items()]
    return table(["Server", "transfers between", "MB resident before", "after",
                  "descriptors before", "after"], rows)


def uploads_table(record):
    raw = record["sections"].get("uploads")
    if not raw:
        return None
    rows = [[server, len(runs), fmt(median(r["server"]["s_per_gb"] for r in runs
                                           if r["succeeded"])),
             fmt(median(r["server"]["us_per_packet"] for r in runs if r["succeeded"])),
             fmt(megabytes(runs)), lost_text(runs)]
            for server, runs in raw.items() if runs]
    return table(["Server", "runs", "CPU s/GB", "µs/packet", "MB/s", "failed"], rows)
