"""A simulated network for stacks: virtual time, a delay, failures by address, a record of packets."""
import heapq
import itertools
import random

import cga
import wire
from context import Config, Identity
from endpoints import Endpoints
from stack import Stack

PREFIXES = {"A": ["20010db800a10000", "20010db800a20000"], "B": ["20010db800b10000", "20010db800b20000"]}


class Network:
    def __init__(self, delay=0.02):
        self.time, self.delay = 0.0, delay
        self.queue, self.order = [], itertools.count()
        self.hosts, self.packets = [], []
        self.blocked = lambda src, dst, packet: False

    def now(self):
        return self.time

    def transmit(self, packet):
        self.packets.append((self.time, packet))
        if not self.blocked(*wire.addresses(packet), packet):
            heapq.heappush(self.queue, (self.time + self.delay, next(self.order), packet))

    def run(self, seconds, until=lambda: False):
        """Lets time pass; True as soon as `until` holds."""
        end = self.time + seconds
        while not until():
            times = [t for host in self.hosts if (t := host.stack.timers.next()) is not None]
            if self.queue:
                times.append(self.queue[0][0])
            if not times or min(times) > end:
                self.time = end
                return until()
            self.time = max(self.time, min(times))
            while self.queue and self.queue[0][0] <= self.time:
                packet = heapq.heappop(self.queue)[2]
                for host in self.hosts:
                    host.stack.receive(packet)
            for host in self.hosts:
                host.stack.timers.run()
        return True

    def messages(self, kind=None, since=0.0):
        """[(time, src, dst, Message)] of the control messages sent, lost ones included."""
        out = []
        for time, packet in self.packets:
            found = wire.find_shim6(packet)
            if time >= since and found and not packet[found[1] + 2] & 0x80:
                try:
                    m = wire.decode(packet[found[1]:])
                except wire.Malformed:
                    continue
                if kind is None or m.type == kind:
                    out.append((time, *wire.addresses(packet), m))
        return out

    def kinds(self, since=0.0):
        return [m.name for _, _, _, m in self.messages(since=since)]

    def payload(self, tagged, since=0.0):
        """Number of payload packets with or without the extension header."""
        count = 0
        for time, packet in self.packets:
            found = wire.find_shim6(packet)
            is_tagged = bool(found and packet[found[1] + 2] & 0x80)
            count += time >= since and (is_tagged if tagged else found is None)
        return count

    def cut(self, *prefixes, direction="both"):
        """Packets to and from addresses with these beginnings vanish."""
        starts = tuple(prefixes)

        def blocked(src, dst, _):
            return (direction != "to" and src.startswith(starts)
                    or direction != "from" and dst.startswith(starts))
        self.blocked = blocked

    def repair(self):
        self.blocked = lambda src, dst, packet: False


class Host:
    """A stack with its endpoints in a Network, and all its events."""

    def __init__(self, network, name, seed=1, key=None, prefixes=None, **config):
        self.rng = random.Random(f"{name} {seed}")
        octets = [bytes.fromhex(p) for p in (prefixes or PREFIXES[name])]
        self.identity = Identity(cga.generate_set(self.rng, octets, key))
        self.identity.key = key
        self.events = []
        self.stack = Stack(self.identity, network.transmit, network.now, self.rng,
                           lambda ev, fields: self.events.append((network.time, ev, fields)),
                           Config(**config))
        self.ends = Endpoints(self.stack, 7, lambda ev, fields: self.events.append(
            (network.time, ev, fields)))
        self.addresses = self.identity.addresses()
        self.ulid = self.addresses[0]
        network.hosts.append(self)

    def context(self, peer):
        return self.stack.contexts.of(self.ulid, peer.ulid)

    def state(self, peer):
        ctx = self.context(peer)
        return ctx.state if ctx else None

    def seen(self, name, **fields):
        return [f for _, ev, f in self.events
                if ev == name and all(f.get(k) == v for k, v in fields.items())]
