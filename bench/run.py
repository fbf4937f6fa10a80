#!/usr/bin/python3
"""Measures ringtftpd and other TFTP servers and records the result.

    bench/run.py                 everything; an hour or more
    bench/run.py --quick         every section once, under 5 minutes
    bench/run.py --sections cases --cases A,S --servers floor,ringtftpd --rounds 9
    bench/run.py --render DIR    writes docs/benchmarks.md anew from a recorded result

The server runs on the first processor, the load on the last; all servers take turns in every
round, and the figures are medians over the rounds and ratios to the floor of the same run.
"""

import argparse
import datetime
import json
import pathlib
import signal
import sys
import tempfile
import time

import machine
import measure
import render
import sections
import servers

TOP = pathlib.Path(__file__).resolve().parents[1]
# A quick run: seconds for each section. What has begun may take some seconds longer.
QUICK = {"cases": 160, "latency": 25, "concurrency": 35, "memory": 30, "io_uring": 40,
         "uploads": 15}


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
    parser.add_argument("--rounds", type=int, default=0, help="default: 5; quick: 1")
    parser.add_argument("--label", default=machine.label(), help="name for the machine")
    parser.add_argument("--work", default=None, help="where the files are made (a real disk)")
    parser.add_argument("--realtime", action="store_true",
                        help="real-time priority: neighbours on the machine disturb less")
    parser.add_argument("--no-record", action="store_true", help="print only")
    parser.add_argument("--render", metavar="DIR", help="only write the document from this result")
    arguments = parser.parse_args()
    everyone = ["floor", *sections.RINGTFTPD, *servers.PEERS]
    arguments.names = chosen(parser, "--servers", arguments.servers, everyone,
                             lambda name, word: name == word or name.startswith(word + " "))
    arguments.sections = chosen(parser, "--sections", arguments.sections, sections.SECTIONS)
    arguments.cases = chosen(parser, "--cases", arguments.cases, sections.CASES)
    arguments.rounds = arguments.rounds or (1 if arguments.quick else 5)
    return arguments


def measure_all(bench, arguments):
    record = {}
    for name in arguments.sections:
        say(f"--- {name}")
        bench.section = name
        bench.deadline = time.monotonic() + QUICK[name] if arguments.quick else None
        more = {"only": arguments.cases} if name == "cases" else {}
        record[name] = sections.SECTIONS[name](bench, arguments.names, arguments.rounds, **more)
    return record


def main():
    arguments = parse_arguments()
    if arguments.render:
        folder = pathlib.Path(arguments.render)
        render.write_document(json.loads((folder / "result.json").read_text()), TOP, folder)
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything is cleaned up
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="ringtftp-bench.", dir=arguments.work) as work:
        pathlib.Path(work).chmod(0o755)
        bench = measure.Bench(arguments.build, pathlib.Path(work), arguments.quick,
                              arguments.realtime)
        record = {"machine": machine.facts(TOP), "date": datetime.date.today().isoformat(),
                  "label": arguments.label, "quick": arguments.quick, "rounds": arguments.rounds,
                  "sections": measure_all(bench, arguments)}
        record["versions"] = {name: servers.peer_version(name, bench.build)
                              for name in servers.PEERS if name in arguments.names}
    record["skipped"] = bench.skipped
    record["seconds"] = time.monotonic() - started
    say("")
    say(render.text_tables(record))
    for name, reason in bench.skipped.items():
        say(f"skipped {name}: {reason}")
    say(f"{record['seconds']:.0f} seconds")
    if not arguments.no_record:
        folder = TOP / "bench/results" / f"{record['date']}-{arguments.label}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "result.json").write_text(json.dumps(record) + "\n")
        render.write_document(record, TOP, folder)
        say(f"recorded in {folder.relative_to(TOP)} and docs/benchmarks.md")


if __name__ == "__main__":
    main()
