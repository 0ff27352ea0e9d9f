"""The daemon's events in words that need no knowledge of the protocol."""
import json
import re


def name(address):
    """2001:db8:a2::… as A2: host A's address from its provider 2."""
    match = re.match(r"2001:db8:([ab]\d)(:|$)", address or "")
    return match.group(1).upper() if match else address


def pair(value):
    return f"{name(value['local'])} → {name(value['peer'])}"


def event_of(line):
    """The event in one line of `shim6ctl monitor --json`, or None."""
    try:
        value = json.loads(line)
    except ValueError:
        return None
    value = value.get("event", value)
    return value if isinstance(value, dict) and "type" in value else None


def seconds(event):
    """When it happened, CLOCK_BOOTTIME."""
    return event["at_ms"] / 1000


# In this order events of the same millisecond make sense to a reader.
RANK = ["exploring", "probe_answered", "path_switched", "recovered"]


def order(event):
    """A key to sort by: when, then what, what somebody else caused last."""
    kind = event["type"]
    return (event["at_ms"], RANK.index(kind) if kind in RANK else -1, event.get("reason") == "peer_probe")


REASONS = {
    "local_failure": "its own link or address has failed",
    "peer_locator": "the other side has withdrawn the address in use",
    "peer_probe": "the other side says that nothing arrives there",
    "test_failed": "a test of the pair in use went unanswered",
    "requested": "somebody asked for it",
}


def sentence(event, send_timeout):
    """One sentence, or None for events that would only distract."""
    kind = event["type"]
    if kind == "context_established":
        return "has a context with the other side: both know and trust each other's addresses"
    if kind == "establish_failed":
        return f"no context: {event['state']}"
    if kind == "exploring":
        why = REASONS.get(event["reason"])
        if event["reason"] == "send_timeout":
            why = f"send timeout: no answer for {send_timeout:.1f} s"
        return f"{why or event['reason']} → exploring other pairs of addresses"
    if kind == "probe_answered":
        return f"probe answered on {pair(event['pair'])} after {event['rtt_us'] / 1000:.1f} ms"
    if kind == "path_switched":
        return (f"switched from {pair(event['from'])} to {pair(event['to'])}, "
                f"{event['after_ms'] / 1000:.2f} s after exploration began")
    if kind == "recovered":
        return f"both directions work again on {pair(event['pair'])}"
    if kind == "lost":
        return "no pair of addresses works; keeps trying, more slowly"
    if kind == "context_discarded":
        return f"context is gone: {event['reason']}"
    if kind == "rules_reinstalled":
        return f"somebody removed the packet rules; back after {event['after_ms'] / 1000:.1f} s"
    return None
