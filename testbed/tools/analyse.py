"""What the logs of the traffic applications say about a failure at a known moment."""
import json
import os

# Streams with a silence this long after they had come back count as stalled again.
SLOW = float(os.environ.get("SHIM6_SLOW", "1"))
STALL = 1.0 * SLOW
# A silence belongs to the failure if it begins this soon after it, or if it is this long; seconds.
SOON, NOTABLE = 0.3 * SLOW, 0.5 * SLOW


def read(path):
    """The lines of a log as dictionaries; a half-written last line is left out."""
    lines = []
    try:
        with open(path, encoding="utf-8") as log:
            for line in log:
                if line.endswith("\n"):
                    lines.append(json.loads(line))
    except FileNotFoundError:
        pass
    return lines


def around(lines, cut, until=None):
    """How the flow of a receiving log (tcp-recv, udp-send, ping-type) took the cut.

    recovered     seconds from the cut to the first octet after the longest silence that belongs to
                  it; 0 if there was none, None if the flow never came back
    longest_gap   the longest silence that ended after the cut, or that still lasts
    stalls        silences of a second or more after the recovery
    errors        [[seconds after the cut, where, errno]…]
    """
    end = next((x for x in reversed(lines) if x["ev"] == "end"), None)
    ticks = [x for x in lines if x["ev"] == "tick"]
    horizon = until or (end or (lines[-1] if lines else {"t": cut}))["t"]
    gaps = [x for x in lines if x["ev"] == "gap" and x["end"] > cut]
    # Short silences of a busy machine do not count, unless the failure itself lies in one.
    gaps = [x for x in gaps if x["start"] <= cut + SOON or x["seconds"] >= NOTABLE]
    longest = max(gaps, key=lambda x: x["seconds"], default=None)
    alive = [x["at"] for x in ticks if x["bytes"] > 0]
    last = max(alive, default=cut)
    finished = bool(end and end.get("finished"))
    if end and "tail_gap" in end:
        silent = end["tail_gap"]
    else:
        silent = 0.0 if finished else max(0.0, horizon - last)
    dead = last <= cut + 0.1 and not finished and horizon > cut + 0.3 or silent > 2.0
    if dead:
        recovered, gap = None, max(silent, horizon - max(last, cut) if not finished else 0.0)
        stalls = 0
    elif longest is None:
        recovered, gap, stalls = 0.0, 0.0, 0
    else:
        recovered, gap = max(0.0, longest["end"] - cut), longest["seconds"]
        stalls = sum(1 for x in gaps if x["start"] >= longest["end"] and x["seconds"] >= STALL)
    return {
        "recovered": recovered,
        "longest_gap": gap,
        "stalls": stalls,
        "finished": finished,
        "errors": [[round(x["t"] - cut, 3), x["where"], x["errno"]] for x in lines if x["ev"] == "error"],
        "last_arrival": last - cut,
    }


def end_of(lines):
    """The last line of a log that came to its end, else an empty dictionary."""
    return next((x for x in reversed(lines) if x["ev"] == "end"), {})


def series(lines, cut, width=0.3):
    """[(seconds after the cut, octets per second)…], averaged over `width` seconds."""
    ticks = [(x["at"] - cut, x["bytes"]) for x in lines if x["ev"] == "tick"]
    count = max(1, round(width / 0.1))
    points = []
    for i in range(len(ticks)):
        part = ticks[max(0, i - count + 1):i + 1]
        points.append((ticks[i][0], sum(b for _, b in part) / (0.1 * count)))
    return points
