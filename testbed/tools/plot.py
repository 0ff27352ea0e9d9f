"""Throughput over time as an SVG: one panel per failure, with and without shim6d as two curves."""
import html

WITH, WITHOUT, CUT, BACK, INK, FAINT = "#0b6e99", "#c8553d", "#333333", "#2e8b57", "#222222", "#d9dde1"
WIDTH, PANEL, LEFT, RIGHT, GAP, TOP = 960, 190, 74, 24, 64, 74


def nice(limit):
    """A round step that gives three to six lines up to `limit`."""
    for step in (0.1, 0.2, 0.25, 0.5, 1, 2, 2.5, 5, 10, 20, 25, 50, 100, 200, 250, 500, 1000):
        if limit / step <= 6:
            return step
    return limit / 5


def number(value):
    return f"{value:.2f}".rstrip("0").rstrip(".") if value else "0"


class Panel:
    def __init__(self, title, top, span, high):
        self.title, self.top, self.span, self.high = title, top, span, high

    def x(self, second):
        first, last = self.span
        return LEFT + (second - first) / (last - first) * (WIDTH - LEFT - RIGHT)

    def y(self, value):
        return self.top + PANEL - min(value, self.high) / self.high * PANEL

    def path(self, points):
        inside = [p for p in points if self.span[0] <= p[0] <= self.span[1]]
        return "M" + "L".join(f"{self.x(a):.1f},{self.y(b):.1f}" for a, b in inside) if inside else ""

    def axes(self, out, last):
        step = nice(self.high)
        lines, value = 0, 0.0
        while value <= self.high + 1e-9:
            y = self.y(value)
            out.append(f'<path d="M{LEFT},{y:.1f}H{WIDTH - RIGHT}" stroke="{FAINT}"/>')
            out.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{number(value)}</text>')
            lines += 1
            value = lines * step
        step = max(1, int(nice(self.span[1] - self.span[0])))
        second = -(-int(self.span[0]) // step) * step
        while second <= self.span[1]:
            x = self.x(second)
            out.append(f'<path d="M{x:.1f},{self.top + PANEL}v5" stroke="{INK}"/>')
            out.append(f'<text x="{x:.1f}" y="{self.top + PANEL + 19}" text-anchor="middle">{second}</text>')
            second += step
        out.append(f'<path d="M{LEFT},{self.top}V{self.top + PANEL}H{WIDTH - RIGHT}" fill="none" stroke="{INK}"/>')
        out.append(f'<text x="{LEFT}" y="{self.top - 10}" font-weight="600" font-size="14">{html.escape(self.title)}</text>')
        middle = self.top + PANEL / 2
        out.append(f'<text transform="translate(20,{middle}) rotate(-90)" text-anchor="middle">received, MB/s</text>')
        if last:
            out.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{self.top + PANEL + 40}" '
                       'text-anchor="middle">seconds after the failure</text>')


def throughput(runs, title):
    """`runs`: [{"title", "with": points, "without": points or [], "recovered": seconds or None,
    "complete": whether the transfer came to its end}…],
    points being [(seconds after the cut, octets per second)…]. Returns the SVG's text."""
    height = TOP + len(runs) * (PANEL + GAP) + 4
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
           f'height="{height}" font-family="system-ui, Helvetica, Arial, sans-serif" font-size="12" fill="{INK}">',
           f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
           f'<text x="{LEFT}" y="26" font-size="17" font-weight="600">{html.escape(title)}</text>']
    for i, (colour, dash, text) in enumerate(((WITH, "", "with shim6d"), (WITHOUT, "6 3", "without shim6d"))):
        x = WIDTH - RIGHT - 270 + i * 130
        out.append(f'<path d="M{x},21h24" stroke="{colour}" stroke-width="2.5" stroke-dasharray="{dash}"/>')
        out.append(f'<text x="{x + 30}" y="25">{text}</text>')
    for i, run in enumerate(runs):
        points = run["with"] + run["without"]
        both = [p for p in points if p[0] >= -4]
        span = (max(-4, min((p[0] for p in points), default=-1)), max((p[0] for p in both), default=1))
        high = max([b for _, b in both] + [1.0]) / 1e6 * 1.25
        panel = Panel(run["title"], TOP + i * (PANEL + GAP), span, high)
        panel.axes(out, i == len(runs) - 1)
        scale = lambda series: [(a, b / 1e6) for a, b in series]
        x = panel.x(0)
        recovered = run["recovered"]
        if recovered:
            out.append(f'<rect x="{x:.1f}" y="{panel.top}" width="{panel.x(recovered) - x:.1f}" height="{PANEL}" '
                       f'fill="{WITH}" opacity="0.07"/>')
        out.append(f'<path d="{panel.path(scale(run["without"]))}" fill="none" stroke="{WITHOUT}" '
                   'stroke-width="2" stroke-dasharray="6 3" stroke-linejoin="round"/>')
        out.append(f'<path d="{panel.path(scale(run["with"]))}" fill="none" stroke="{WITH}" '
                   'stroke-width="2.5" stroke-linejoin="round"/>')
        if run["complete"] and run["with"]:
            a, b = scale(run["with"])[-1]
            out.append(f'<circle cx="{panel.x(a):.1f}" cy="{panel.y(b):.1f}" r="4.5" fill="{WITH}"/>')
            out.append(f'<text x="{panel.x(a) + 9:.1f}" y="{panel.y(b) + 4:.1f}" fill="{WITH}">file complete</text>')
        out.append(f'<path d="M{x:.1f},{panel.top}v{PANEL}" stroke="{CUT}" stroke-width="1.5" stroke-dasharray="3 3"/>')
        out.append(f'<text x="{x - 6:.1f}" y="{panel.top + 14}" text-anchor="end" font-weight="600">provider fails</text>')
        if recovered is not None:
            back = panel.x(recovered)
            out.append(f'<path d="M{back:.1f},{panel.top}v{PANEL}" stroke="{BACK}" stroke-dasharray="3 3"/>')
            out.append(f'<text x="{back + 6:.1f}" y="{panel.top + 14}" fill="{BACK}">flows again after '
                       f'{recovered:.2f} s</text>')
    out.append("</svg>")
    return "\n".join(out) + "\n"
