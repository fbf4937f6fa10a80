"""Small SVG plots: bars in groups, and lines. Text and shapes only, readable on any ground."""

import math
from xml.sax.saxutils import escape

# The same server has the same colour in every plot.
COLOURS = {"floor": "#666666", "ringtftpd mmsg+threads": "#1f77b4",
           "ringtftpd mmsg+io_uring": "#6baed6", "ringtftpd io_uring+threads": "#2ca02c",
           "ringtftpd io_uring+io_uring": "#98df8a", "in.tftpd": "#d62728", "atftpd": "#ff7f0e",
           "dnsmasq": "#9467bd"}
WIDTH, HEIGHT = 860, 380
LEFT, RIGHT, TOP, BOTTOM = 70, 210, 40, 50


def number(x):
    """Short, for axes."""
    if x == 0:
        return "0"
    if abs(x) >= 1000:
        return f"{x / 1000:g}k" if x < 1e6 else f"{x / 1e6:g}M"
    return f"{x:.3g}"


class Plot:
    def __init__(self, title, unit, names):
        self.names = names
        self.parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" '
            f'viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
            f'<text x="{LEFT}" y="20" font-size="15">{escape(title)}</text>',
            f'<text x="{LEFT}" y="35" fill="#555">{escape(unit)}</text>']
        for i, name in enumerate(names):
            y = TOP + 10 + 20 * i
            self.parts.append(f'<rect x="{WIDTH - RIGHT + 15}" y="{y}" width="12" height="12" '
                              f'fill="{self.colour(name)}"/><text x="{WIDTH - RIGHT + 33}" '
                              f'y="{y + 11}">{escape(name)}</text>')

    @staticmethod
    def colour(name):
        return COLOURS.get(name, "#8c564b")

    def y_axis(self, top, log=False, bottom=0.0):
        """Lines and labels; returns the function from value to place."""
        span = HEIGHT - TOP - BOTTOM

        def place(value):
            if log:
                value = max(value, bottom)
                part = math.log10(value / bottom) / math.log10(top / bottom)
            else:
                part = value / top
            return HEIGHT - BOTTOM - span * min(max(part, 0), 1.04)

        if log:
            ticks = [10.0 ** e for e in range(round(math.log10(bottom)),
                                              round(math.log10(top)) + 1)]
        else:
            step = 10 ** math.floor(math.log10(top / 4)) if top > 0 else 1
            step *= next(m for m in (1, 2, 5, 10) if top / (step * m) <= 6)
            ticks = [step * i for i in range(int(top / step) + 1)]
        for tick in ticks:
            y = place(tick)
            self.parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" '
                              f'stroke="#ddd"/><text x="{LEFT - 6}" y="{y + 4:.1f}" '
                              f'text-anchor="end">{number(tick)}</text>')
        return place

    def label(self, x, text):
        self.parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" '
                          f'text-anchor="middle">{escape(text)}</text>')

    def save(self, path):
        path.write_text("\n".join([*self.parts, "</svg>"]) + "\n", encoding="utf-8")


def log_ends(values):
    """Whole powers of ten around the values."""
    bottom = 10.0 ** math.floor(math.log10(min(values)))
    return bottom, 10.0 ** max(math.ceil(math.log10(max(values))), math.log10(bottom) + 1)


def bars(path, title, unit, groups, names, clip=None, log=False):
    """groups: {label: {name: value}}; bars higher than `clip` are cut and labelled."""
    groups = {label: g for label, g in groups.items() if any(g.values())}
    names = [n for n in names if any(g.get(n) for g in groups.values())]
    plot = Plot(title, unit, names)
    values = [v for g in groups.values() for v in g.values() if v]
    if not values:
        return False
    bottom, top = log_ends(values) if log else (0, max(values))
    top = min(top, clip) if clip else top
    place = plot.y_axis(top, log, bottom)
    slot = (WIDTH - LEFT - RIGHT) / len(groups)
    width = slot * 0.8 / len(names)
    for i, (label, by_name) in enumerate(groups.items()):
        plot.label(LEFT + slot * (i + 0.5), label)
        for k, name in enumerate(names):
            value = by_name.get(name)
            if not value:
                continue
            x = LEFT + slot * (i + 0.1) + width * k
            y = place(value)
            plot.parts.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{width * 0.9:.1f}" '
                              f'height="{HEIGHT - BOTTOM - y:.1f}" fill="{plot.colour(name)}">'
                              f'<title>{escape(name)} {label}: {value:.4g}</title></rect>')
            if value > top:  # neighbours at two heights, so that they can be read
                plot.parts.append(f'<text x="{x + width / 2:.1f}" y="{y - 3 - 9 * (k % 2):.1f}" '
                                  f'font-size="9" text-anchor="middle">{value:.0f}</text>')
    plot.save(path)
    return True


def lines(path, title, unit, series, x_label):
    """series: {name: [(x, y)]}; both axes logarithmic."""
    names = [n for n, points in series.items() if points]
    values = [y for points in series.values() for _, y in points if y > 0]
    if not values:
        return False
    plot = Plot(title, unit, names)
    bottom, top = log_ends(values)
    place = plot.y_axis(top, True, bottom)
    xs = sorted({x for points in series.values() for x, _ in points})
    low, high = math.log10(xs[0]), math.log10(xs[-1])

    def at(x):
        return LEFT + (WIDTH - LEFT - RIGHT) * (math.log10(x) - low) / max(high - low, 1e-9)

    for x in xs:
        plot.label(at(x), number(x))
    plot.parts.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 12}" '
                      f'text-anchor="middle">{escape(x_label)}</text>')
    for name in names:
        points = " ".join(f"{at(x):.1f},{place(y):.1f}" for x, y in series[name] if y > 0)
        plot.parts.append(f'<polyline points="{points}" fill="none" stroke-width="2" '
                          f'stroke="{plot.colour(name)}"/>')
        for x, y in series[name]:
            if y > 0:
                plot.parts.append(f'<circle cx="{at(x):.1f}" cy="{place(y):.1f}" r="3" '
                                  f'fill="{plot.colour(name)}"><title>{escape(name)} {number(x)}: '
                                  f'{y:.4g}</title></circle>')
    plot.save(path)
    return True
