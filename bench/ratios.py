"""What a server costs, as a ratio to the floor.

A machine that is shared changes its speed between one run and the next, by as much as a factor of
two, and keeps it for seconds. So each run is divided by the floor's runs right before and right
after it, and the ratio of a server is the median of those of its runs."""

import statistics

FLOOR = "floor"
NEAR = 60  # seconds: a floor's run further away tells nothing about this one


def median(values):
    values = [v for v in values if v is not None]
    return statistics.median(values) if values else None


def _beside(run, floors, figure):
    """The floor's figure around this run; None where it was not measured."""
    known = [f for f in floors if figure(f) and abs(f["at_s"] - run["at_s"]) <= NEAR]
    before = [f for f in known if f["at_s"] <= run["at_s"]]
    after = [f for f in known if f["at_s"] > run["at_s"]]
    found = [figure(f) for f in before[-1:] + after[:1]]
    return statistics.mean(found) if found else None


def to_floor(by_server, figure):
    """{server: ratio}, 1 for the floor itself; figure(run) may be None. Records without the time of
    each run (`at_s`) have one floor for all of a case: the median."""
    floors = by_server.get(FLOOR, [])
    found = {FLOOR: 1} if median(figure(r) for r in floors) else {}
    for server, runs in by_server.items():
        if all("at_s" in r for r in floors + runs):
            pairs = [(figure(r), _beside(r, floors, figure)) for r in runs]
            ratio = median(own / floor for own, floor in pairs if own and floor)
        else:
            own, floor = (median(figure(r) for r in of) for of in (runs, floors))
            ratio = own / floor if own and floor else None
        if ratio is not None and server != FLOOR:
            found[server] = ratio
    return found
