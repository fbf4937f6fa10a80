#!/usr/bin/python3
"""Measures ringtftpd and other TFTP servers and records the result.

    bench/run.py                 everything, about half an hour; writes bench/results/DATE-HOST
                                 and docs/benchmarks.md
    bench/run.py --quick         every section once, under 5 minutes; writes BUILD/bench
    bench/run.py --sections cases --cases A,S --servers floor,ringtftpd --rounds 9 --no-record
    bench/run.py --render DIR    writes docs/benchmarks.md anew from a recorded result
    bench/run.py --compare A B   the ratios of two recorded results beside each other; ends with
                                 1 when one differs by more than 15 %

The server runs on the first processor, the load on the last; all servers take turns in every
round, and the figures are medians over the rounds, and of ratios to the floor's runs right before
and after (ratios.py). A section ends when its time is up, whatever is left of its rounds.
"""

import argparse
import datetime
import json
import pathlib
import signal
import sys
import tempfile
import time

import compare
import machine
import measure
import render
import sections
import servers

TOP = pathlib.Path(__file__).resolve().parents[1]
# Seconds for each section, of a whole run and of a quick one. What has begun may take some
# seconds longer.
TIME = {"cases": (800, 120), "latency": (150, 30), "concurrency": (330, 30), "memory": (150, 35),
        "io_uring": (420, 45), "uploads": (100, 15)}


def say(text):
    print(text, flush=True)


def chosen(parser, option, text, all_names, matches=lambda name, word: name == word):
    """The names that a list on the command line asks for; all of them without one."""
    words = [w for w in text.split(",") if w]
    for word in words:
        if not any(matches(name, word) for name in all_names):
            parser.error(f"{option}: there is no {word}, only {', '.join(all_names)}")
    return [n for n in all_names if not words or any(matches(n, w) for w in words)]


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=str(TOP / "build"), help="build folder")
    parser.add_argument("--quick", action="store_true", help="under 5 minutes")
    parser.add_argument("--sections", default="", help="default: all")
    parser.add_argument("--cases", default="", help="of the section cases; default: all")
    parser.add_argument("--servers", default="", help="default: all; ringtftpd: its four kinds")
    parser.add_argument("--rounds", type=int, default=0, help="at most; default: 7; quick: 1")
    parser.add_argument("--label", default=machine.label(), help="name for the machine")
    parser.add_argument("--work", default=None, help="where the files are made (a real disk)")
    parser.add_argument("--realtime", action="store_true",
                        help="real-time priority: neighbours on the machine disturb less")
    parser.add_argument("--no-record", action="store_true", help="print only")
    parser.add_argument("--render", metavar="DIR", help="only write the document from this result")
    parser.add_argument("--compare", metavar="DIR", nargs=2, help="only compare two results")
    arguments = parser.parse_args()
    everyone = ["floor", *sections.RINGTFTPD, *servers.PEERS]
    arguments.names = chosen(parser, "--servers", arguments.servers, everyone,
                             lambda name, word: name == word or name.startswith(word + " "))
    arguments.sections = chosen(parser, "--sections", arguments.sections, sections.SECTIONS)
    arguments.cases = chosen(parser, "--cases", arguments.cases, sections.CASES)
    arguments.rounds = arguments.rounds or (1 if arguments.quick else 7)
    return arguments


def measure_all(bench, arguments, record):
    """Section after section; what is done is in `record` even if it does not end well."""
    for name in arguments.sections:
        say(f"--- {name}")
        bench.begin(name, TIME[name][1 if arguments.quick else 0])
        more = {"only": arguments.cases} if name == "cases" else {}
        try:
            record["sections"][name] = sections.SECTIONS[name](bench, arguments.names,
                                                               arguments.rounds, **more)
        except Exception as error:  # pylint: disable=broad-except
            bench.skip(f"section {name}", f"{type(error).__name__}: {error}")


def place_for(arguments, record):
    """(folder of the record, folder of its document): a quick run does not replace the real one."""
    name = f"{record['date']}-{record['label']}"
    if arguments.quick:
        below = pathlib.Path(arguments.build).resolve() / "bench"
        return below / name, below
    results = TOP / "bench/results"
    same_day = 1
    while (results / (name if same_day == 1 else f"{name}-{same_day}")).exists():
        same_day += 1
    return results / (name if same_day == 1 else f"{name}-{same_day}"), TOP / "docs"


def write(arguments, record):
    folder, document = place_for(arguments, record)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "result.json").write_text(json.dumps(record) + "\n", encoding="utf-8")
    render.write_document(record, document, folder)
    say(f"recorded in {folder} and {document / 'benchmarks.md'}")


def load(folder):
    return json.loads((pathlib.Path(folder) / "result.json").read_text(encoding="utf-8"))


def run(arguments):
    started = time.monotonic()
    record = {"machine": machine.facts(TOP), "date": datetime.date.today().isoformat(),
              "label": arguments.label, "quick": arguments.quick, "rounds": arguments.rounds,
              "sections": {}}
    with tempfile.TemporaryDirectory(prefix="ringtftp-bench.", dir=arguments.work) as work:
        pathlib.Path(work).chmod(0o755)
        bench = measure.Bench(arguments.build, pathlib.Path(work), arguments.quick,
                              arguments.realtime)
        try:
            measure_all(bench, arguments, record)
        except KeyboardInterrupt:
            bench.skip("the rest", "interrupted")
        record["default_enabled"] = servers.default_enabled(bench.build)
        record["versions"] = {name: servers.peer_version(name, bench.build)
                              for name in servers.PEERS
                              if name in arguments.names and name not in bench.absent}
    record["skipped"] = bench.skipped
    record["seconds"] = time.monotonic() - started
    return record


def main():
    arguments = parse_arguments()
    if arguments.render:
        render.write_document(load(arguments.render), TOP / "docs",
                              pathlib.Path(arguments.render))
        return 0
    if arguments.compare:
        text, agree = compare.table(*(load(folder) for folder in arguments.compare))
        say(text)
        return 0 if agree else 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything is cleaned up
    record = run(arguments)
    say("")
    say(render.text_tables(record))
    for name, reason in record["skipped"].items():
        say(f"skipped {name}: {reason}")
    say(f"{record['seconds']:.0f} seconds")
    if not arguments.no_record:
        write(arguments, record)
    return 0


if __name__ == "__main__":
    sys.exit(main())
