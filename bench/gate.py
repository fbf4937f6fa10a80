"""Is io_uring to be the default? The targets set for it, what the record says of each, and what
follows."""

from tables import cut_off, disk_title, failed, fmt, median, started, table
import sections

NETWORKS = ("mmsg", "io_uring")
SMALL_CACHE = f"cold files of 1 MB with a cache of {sections.SMALL_CACHE >> 20} MiB"
SLACK = 0.10  # what io_uring may be behind where it is not ahead


def _pair(by_server, net, value):
    """The figure with the thread pool and with io_uring."""
    found = []
    for files in ("threads", "io_uring"):
        runs = [r for r in by_server.get(f"ringtftpd {net}+{files}", []) if r["payload_bytes"]]
        found.append(median(value(r) for r in runs))
    return found


def ratios(record, kind, value):
    """io_uring to the thread pool, for all numbers of transfers and both network engines."""
    by_count = (record["sections"].get("io_uring") or {"runs": {}})["runs"].get(kind, {})
    out = []
    for by_server in by_count.values():
        for net in NETWORKS:
            pool, ring = _pair(by_server, net, value)
            if pool and ring is not None:
                out.append(ring / pool)
    return out


def speed(result):
    return result["bytes_per_s"]


def cost(result):
    return result["server"]["s_per_gb"]


def span(values, form):
    low, high = form(min(values)), form(max(values))
    return low if low == high else f"{low} to {high}"


def holds(good, of):
    return "holds" if good == of else "does not hold" if good == 0 else \
        f"does not hold ({good} of {of} do)"


def less(x):
    return f"{100 * abs(1 - x):.0f} % {'less' if x <= 1 else 'more'}"


def _disk_rows(record, kinds):
    for kind in kinds:
        found = ratios(record, kind, speed)
        if found:
            yield [f"throughput ≥ 2 × the pool of 4 threads; {disk_title(kind)}",
                   span(found, lambda x: f"{x:.2f} ×"),
                   holds(sum(x >= 2 for x in found), len(found))]
    for kind in kinds:
        found = ratios(record, kind, cost)
        if found:
            yield [f"server CPU per GB ≥ 30 % less; {disk_title(kind)}",
                   span(found, less), holds(sum(x <= 0.7 for x in found), len(found))]


def _many_rows(record):
    """A thousand and more at once."""
    found = {}
    for clients, by_server in record["sections"].get("concurrency", {}).items():
        for server, runs in by_server.items():
            if int(clients) >= 1000 and runs and server.endswith("+io_uring"):
                found.setdefault((int(clients), "one file"), []).extend(runs)
    by_kind = (record["sections"].get("io_uring") or {"runs": {}})["runs"]
    for clients, by_server in by_kind.get("cold", {}).items():
        for server, runs in by_server.items():
            if int(clients) >= 1000 and server.endswith("+io_uring"):
                found.setdefault((int(clients), "own files, cold"), []).extend(runs)
    for (clients, what), runs in sorted(found.items()):
        lost = failed(runs) + cut_off(runs)
        yield [f"{clients:,} transfers at once complete; {what}",
               f"{started(runs) - lost:,} of {started(runs):,}",
               "holds" if not lost else "does not hold"]


def _memory(record):
    """[(what, KB a transfer with the pool, with io_uring)]; each transfer has its own file."""
    part = record["sections"].get("memory") or {}
    found = [(what, int(clients), {s: [r] for s, r in by_server.items()})
             for kind, what in (("own files", "files of 256 KB"), ("small cache", SMALL_CACHE))
             for clients, by_server in part.get(kind, {}).items()]
    runs = (record["sections"].get("io_uring") or {"runs": {}})["runs"].get("cold", {})
    found += [("cold files of 1 MB", 1000, by_server) for clients, by_server in runs.items()
              if clients == "1000"]
    for what, clients, by_server in found:
        pairs = [_pair(by_server, net, lambda r, n=clients: sections.grown(r) / n / 1024)
                 for net in NETWORKS]
        pairs = [pair for pair in pairs if None not in pair]
        if pairs:
            yield f"{clients:,} {what}", [p for p, _ in pairs], [r for _, r in pairs]


def _memory_rows(record):
    for what, pool, ring in _memory(record):
        yield [f"memory ≤ 64 KB a transfer; {what}, one for each",
               f"{span(ring, lambda x: f'{x:.0f} KB')} "
               f"(the pool: {span(pool, lambda x: f'{x:.0f} KB')})",
               holds(sum(x <= 64 for x in ring), len(ring))]
    part = record["sections"].get("memory") or {}
    leaks = {s: x for s, x in part.get("leaks", {}).items() if s.endswith("+io_uring")}
    if leaks:
        more = [x["bytes"][1] - x["bytes"][0] for x in leaks.values()]
        open_more = [x["descriptors"][1] - x["descriptors"][0] for x in leaks.values()]
        number = min(x["transfers"] for x in leaks.values())
        # A megabyte: what an allocator may still take; 20,000 transfers that lose 64 bytes are more.
        yield [f"no leaks; after {number:,} further transfers",
               f"{span(more, lambda x: f'{x / 1024:+.0f} KB')}, "
               f"{span(open_more, lambda x: f'{x:+}')} descriptors",
               holds(sum(m < 1 << 20 and o <= 0 for m, o in zip(more, open_more)), len(more))]


def rows(record):
    kinds = [k for k in (record["sections"].get("io_uring") or {"runs": {}})["runs"] if k != "warm"]
    return [*_many_rows(record), *_disk_rows(record, kinds), *_memory_rows(record)]


def _limits(record):
    """What the disk that is here leaves to be won, for each number of transfers."""
    data = record["sections"]["io_uring"]
    out = []
    for count, by_server in data["runs"].get("cold", {}).items():
        alone = median(data["disk_mb_per_s"].get(count, []))
        (mb, ring_mb), (busy, _), (cold, _) = (
            _pair(by_server, "mmsg", f)
            for f in (speed, lambda r: sections.share(r, "server"), cost))
        warm, _ = _pair(data["runs"].get("warm", {}).get(count, {}), "mmsg", cost)
        if None in (mb, ring_mb, busy, cold, warm, alone):
            continue
        out.append(
            f"{int(count):,} files: the disk alone gives {fmt(alone)} MB/s, the pool "
            f"{fmt(mb / 1e6)}, io_uring {fmt(ring_mb / 1e6)}. The pool keeps the server's processor "
            f"{busy:.0f} % busy: without any waiting it would carry "
            f"{100 / max(busy, 1):.2f} times as much. A GB costs it {fmt(cold)} s cold and "
            f"{fmt(warm)} s warm: what is left to be saved where nothing comes from a disk is "
            f"copying and sending, and both ways do that alike.")
    return out


def _cache(record):
    """Why 1,000 cold files of 1 MB take more than the target, in words; None: nothing to say."""
    small = (record["sections"].get("memory") or {}).get("small cache", {}).get("1000", {})
    large = (record["sections"].get("io_uring") or {"runs": {}})["runs"].get("cold", {})
    found = [result["bytes_per_s"] / median(r["bytes_per_s"] for r in large["1000"][name])
             for name, result in small.items() if large.get("1000", {}).get(name)]
    if not found:
        return None
    return ("\nA server keeps what it has read as long as `performance.cache_size` has room for it, "
            "so with the default of 128 MiB a thousand transfers of 1 MB files come to more than 64 "
            "KB each, whatever reads them. With a cache of "
            f"{sections.SMALL_CACHE >> 20} MiB the same transfers were carried "
            f"{span(found, lambda x: f'{x:.2f}')} times as fast.\n")


def _worst(record):
    """(least throughput, most CPU, most memory) of io_uring to the pool where the disk is fast."""
    fast = [x for kind in ("cold", "warm") for x in ratios(record, kind, speed)]
    dear = [x for kind in ("cold", "warm") for x in ratios(record, kind, cost)]
    for net in NETWORKS:
        for value, into in ((speed, fast), (cost, dear)):
            pool, ring = _pair(record["sections"].get("uploads", {}), net, value)
            if pool and ring:
                into.append(ring / pool)
    large = [r / p for _, pool, ring in _memory(record) for p, r in zip(pool, ring) if p]
    return (min(fast), max(dear), max(large)) if fast and dear and large else None


def argument(record):
    """What follows from the rows, in words."""
    found = rows(record)
    failing = [r for r in found if r[2] != "holds"]
    worst = _worst(record)
    slow = [x for kind in (record["sections"].get("io_uring") or {"runs": {}})["runs"]
            if kind.startswith("slow") for x in ratios(record, kind, speed)]
    text = [f"{len(found) - len(failing)} of {len(found)} targets hold."]
    if not worst:
        return text[0] + " The record lacks what the choice of the default would follow from."
    limits = _limits(record)
    if limits:
        text.append("\nCold files on the disk that is here, network engine mmsg:\n\n"
                    + "".join(f"- {line}\n" for line in limits))
    text += filter(None, [_cache(record)])
    text.append(f"Where the disk is fast (cold and warm files on this one, uploads) io_uring "
                f"carries at least {worst[0]:.2f} times what the pool carries and costs at "
                f"most {worst[1]:.2f} times its processor time, with at most {worst[2]:.2f} times "
                "its memory."
                + (f" On the slow disks it carries {span(slow, lambda x: f'{x:.1f}')} times as "
                   "much." if slow else ""))
    sound = [r for r in failing if not r[0].startswith(("throughput", "server CPU", "memory"))]
    if not failing:
        text.append("\nAll targets hold, so `enabled = true` is the default that this record "
                    "supports.")
    elif sound:
        text.append("\nA target of soundness does not hold (" + "; ".join(r[0] for r in sound)
                    + "), so this record supports `enabled = false`.")
    elif worst[0] < 1 - SLACK or max(worst[1:]) > 1 + SLACK:
        text.append(f"\nThat is more than {100 * SLACK:.0f} % behind, so this record supports "
                    "`enabled = false`, and `true` for those whose disks are slow.")
    elif slow and min(slow) >= 2:
        text.append(f"\nIt is nowhere more than {100 * SLACK:.0f} % behind, and where a disk or a "
                    "network file system makes a server wait it is at least twice as fast. What "
                    "does not hold is no better with the thread pool. So this record supports "
                    "`enabled = true`.")
    else:
        text.append("\nNothing is lost by it but too little is won: this record supports "
                    "`enabled = false`.")
    if "default_enabled" in record:
        text.append(f"The program that was measured has `enabled = {record['default_enabled']}` as "
                    "its default.")
    return "\n".join(text) + "\n"


def text(record):
    """The section of the document; None when there is nothing to judge."""
    found = rows(record)
    if not found:
        return None
    return ("Ratios are of io_uring to the thread pool with the same network engine in the same "
            "run, medians over its rounds.\n\n" + table(["Target", "Measured", ""], found) + "\n"
            + argument(record))

