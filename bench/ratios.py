"""What a server costs, as a ratio to the floor.

A machine that is shared changes its speed between one run and the next, by as much as a factor of
two, and keeps it for seconds. So each run is divided by the floor's runs right before and right
after it, and the ratio of a server is the median of those of its runs. Where these two differ by
more than CHANGED, the speed changed while the run was measured or right beside it, and which of
them it is to be divided by nobody knows: it is left out, unless that is so for most."""

import statistics

FLOOR = "floor"
NEAR = 60  # seconds: a floor's run further away tells nothing about this one
CHANGED = 1.15


def median(values):
    values = [v for v in values if v is not None]
    return statistics.median(values) if values else None


def _beside(run, floors, figure):
    """The floor's figures around this run, one or two; none where it was not measured."""
    known = [f for f in floors if figure(f) and abs(f["at_s"] - run["at_s"]) <= NEAR]
    before = [f for f in known if f["at_s"] <= run["at_s"]]
    after = [f for f in known if f["at_s"] > run["at_s"]]
    return [figure(f) for f in before[-1:] + after[:1]]


def _beside_floor(runs, floors, figure):
    """The ratio of a server whose runs have their time; None where there is none."""
    pairs = [(figure(r), _beside(r, floors, figure)) for r in runs]
    pairs = [(own, floor) for own, floor in pairs if own and floor]
    steady = [(own, floor) for own, floor in pairs if max(floor) <= CHANGED * min(floor)]
    if 2 * len(steady) >= len(pairs):
        pairs = steady
    return median(own / statistics.mean(floor) for own, floor in pairs)


def to_floor(by_server, figure):
    """{server: ratio}, 1 for the floor itself; figure(run) may be None. Records without the time of
    each run (`at_s`) have one floor for all of a case: the median."""
    floors = by_server.get(FLOOR, [])
    found = {FLOOR: 1} if median(figure(r) for r in floors) else {}
    for server, runs in by_server.items():
        if all("at_s" in r for r in floors + runs):
            ratio = _beside_floor(runs, floors, figure)
        else:
            own, floor = (median(figure(r) for r in of) for of in (runs, floors))
            ratio = own / floor if own and floor else None
        if ratio is not None and server != FLOOR:
            found[server] = ratio
    return found
