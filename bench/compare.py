"""Two recorded runs beside each other: ratios, for absolute figures of a shared machine differ
from hour to hour."""

import sections
from ratios import FLOOR, median, to_floor

WITHIN = 0.15


def _ring_to_threads(by_server, value):
    for net in ("mmsg", "io_uring"):
        ring, pool = (median(value(r) for r in by_server.get(f"ringtftpd {net}+{files}", []))
                      for files in ("io_uring", "threads"))
        if ring and pool:
            yield f"{net}: io_uring to threads", ring / pool


def _speed(result):
    return result["bytes_per_s"] if result["succeeded"] else None


def ratios(record):
    """{(what, server): ratio}: server CPU to the floor's, and of io_uring to the thread pool what
    they carry."""
    parts, found = record["sections"], {}
    for case, by_server in parts.get("cases", {}).items():
        name = sections.CASES[case][1]
        for server, x in to_floor(by_server, lambda r, n=name: sections.figure(r, n)).items():
            if server != FLOOR:
                found[f"{case}: CPU", server] = x
    for clients, by_server in parts.get("concurrency", {}).items():
        for server, x in to_floor(by_server,
                                  lambda r: sections.figure(r, "us_per_packet")).items():
            if server != FLOOR:
                found[f"{int(clients):,} clients: CPU", server] = x
    for kind, by_count in (parts.get("io_uring") or {"runs": {}})["runs"].items():
        for count, by_server in by_count.items():
            for server, x in _ring_to_threads(by_server, _speed):
                found[f"{kind}, {int(count):,} files: throughput", server] = x
    for server, x in _ring_to_threads(parts.get("uploads", {}), _speed):
        found["uploads: throughput", server] = x
    return found


def table(a, b):
    """(text, do all agree)."""
    of_a, of_b = ratios(a), ratios(b)
    rows, apart = [], 0
    for key, x in of_a.items():
        y = of_b.get(key)
        if y is None:
            continue
        difference = abs(x - y) / min(x, y)
        apart += difference > WITHIN
        rows.append(f"| {key[0]} | {key[1]} | {x:.2f} | {y:.2f} | {100 * difference:.0f} % |"
                    + (" apart" if difference > WITHIN else ""))
    head = ("| What | Server | first | second | difference |\n| --- | --- | --- | --- | --- |\n")
    verdict = (f"\n{len(rows) - apart} of {len(rows)} ratios agree within {100 * WITHIN:.0f} %"
               if rows else "\nthe two results have nothing in common")
    return head + "\n".join(rows) + verdict, bool(rows) and not apart
