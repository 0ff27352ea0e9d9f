"""What the traffic applications share: the clock, the log, gaps, and the pseudo-random stream.

A log is a file of JSON lines. Every line has "ev" and "t" (CLOCK_BOOTTIME in seconds, the same in
all namespaces of a machine):

  start      role, src, dst, port
  connected  peer
  tick       bytes (in the last 100 ms), total; and what the application adds
  gap        start, end, seconds: a silence of the received stream, written when it ends
  error      where, errno (a name such as ECONNRESET), text
  end        total, longest_gap, errors, and what the application adds
"""
import errno
import hashlib
import json
import random
import signal
import socket
import struct
import sys
import time

TICK = 0.1


def now():
    """Seconds of CLOCK_BOOTTIME."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def errno_name(error):
    """ECONNRESET and the like; socket timeouts count as ETIMEDOUT."""
    if isinstance(error, (TimeoutError, socket.timeout)) and not error.errno:
        return "ETIMEDOUT"
    return errno.errorcode.get(error.errno, str(error.errno))


class Log:
    """JSON lines to a file, each flushed, so that a reader can follow."""

    def __init__(self, path):
        self.out = open(path, "w", buffering=1, encoding="utf-8") if path else sys.stdout
        self.errors = 0

    def write(self, ev, **fields):
        fields = {k: round(v, 6) if isinstance(v, float) else v for k, v in fields.items()}
        self.out.write(json.dumps({"ev": ev, "t": round(now(), 6), **fields}) + "\n")
        self.out.flush()

    def error(self, where, error):
        self.errors += 1
        self.write("error", where=where, errno=errno_name(error), text=str(error))


class Gaps:
    """Finds silences of at least `least` seconds between arrivals, to the microsecond."""

    def __init__(self, log, least):
        self.log, self.least, self.last, self.longest = log, least, None, 0.0

    def arrival(self, at=None):
        at = now() if at is None else at
        if self.last is not None:
            silence = at - self.last
            self.longest = max(self.longest, silence)
            if silence >= self.least:
                self.log.write("gap", start=self.last, end=at, seconds=silence)
        self.last = at

    def open_gap(self):
        """The silence that is still going on."""
        return 0.0 if self.last is None else now() - self.last

    def worst(self, finished):
        """The longest silence; one that is still going on counts unless the flow has ended."""
        return self.longest if finished else max(self.longest, self.open_gap())


class Ticker:
    """Says when the next 100 ms boundary is and writes a tick line for each that has passed."""

    def __init__(self, log):
        self.log, self.bytes, self.total = log, 0, 0
        self.next = (int(now() / TICK) + 1) * TICK

    def count(self, octets):
        self.bytes += octets
        self.total += octets

    def wait(self):
        """Seconds until the next boundary."""
        return max(0.0, self.next - now())

    def poll(self, **fields):
        """Writes the ticks that are due; True if there was one."""
        due = False
        while now() >= self.next:
            self.log.write("tick", at=self.next, bytes=self.bytes, total=self.total, **fields)
            self.bytes = 0
            self.next += TICK
            due = True
        return due


class Stream:
    """A deterministic pseudo-random octet stream: 64 KiB blocks, each with its number in front."""

    BLOCK = 65536

    def __init__(self, seed):
        self.base = random.Random(seed).randbytes(self.BLOCK - 8)
        self.number, self.rest = 0, b""
        self.digest = hashlib.sha256()

    def take(self, octets):
        """The next `octets` octets (fewer at a block's end, never none)."""
        if not self.rest:
            self.rest = memoryview(struct.pack("!Q", self.number) + self.base)
            self.number += 1
        part, self.rest = self.rest[:octets], self.rest[octets:]
        return part

    def sent(self, part):
        self.digest.update(part)


class Stop(Exception):
    """SIGTERM or SIGINT: finish the log and leave."""


def stop_on_signals():
    def handler(_signum, _frame):
        raise Stop
    signal.signal(signal.SIGTERM, handler)
    signal.signal(signal.SIGINT, handler)


def rate(text):
    """Octets per second from "500k", "2M", "1.5M"; 0 or "max" is unlimited. Steps of 1000."""
    text = text.strip().lower()
    if text in ("0", "max", "unlimited"):
        return 0.0
    factor = {"k": 1e3, "m": 1e6, "g": 1e9}.get(text[-1])
    return float(text[:-1]) * factor if factor else float(text)


def octets(text):
    """A number of octets from "10M" and the like."""
    return int(rate(text))
