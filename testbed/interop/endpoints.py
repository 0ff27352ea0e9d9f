"""User-space UDP above the shim: an echo, and a sender of numbered datagrams."""
import struct

import wire

# What a fragment may carry so that header, Fragment header and Shim6 header fit in any path.
MOST = (wire.MIN_MTU - 40 - 8 - 8) // 8 * 8

HEAD = struct.Struct("!6sIQ")            # mark, run, number
MARK = b"iopseq"


class Endpoints:
    """Takes the stack's packets between ULIDs. Datagrams for echo_port go back to where they came
    from; numbered ones for other ports are counted."""

    def __init__(self, stack, echo_port, event):
        self.stack, self.echo_port, self.event = stack, echo_port, event
        self.echoed = self.damaged = self.other = 0
        self.arrived = {"plain": 0, "tagged": 0}
        self.runs = {}
        self.fragments = {}
        stack.upper = self.deliver

    def deliver(self, packet, ctx, tagged):
        header, at = packet[6], 40
        while header in (wire.HOP_BY_HOP, wire.DEST_OPTS, wire.ROUTING) and at + 8 <= len(packet):
            header, at = packet[at], at + 8 * (packet[at + 1] + 1)
        if header == wire.FRAGMENT:
            whole = self.reassemble(packet, at)
            if whole is None:
                return
            header, payload = whole
        else:
            payload = packet[at:]
        if header != wire.UDP:
            self.other += 1
            return
        src, dst = wire.addresses(packet)
        parsed = wire.parse_udp(src, dst, payload)
        if parsed is None:
            self.damaged += 1
            return
        sport, dport, data = parsed
        self.arrived["tagged" if tagged else "plain"] += 1
        if dport == self.echo_port:
            self.echoed += 1
            self.send(dst, src, dport, sport, data)
        elif len(data) >= HEAD.size and data[:6] == MARK:
            _, number, sequence = HEAD.unpack_from(data)
            if (run := self.runs.get(number)):
                run.arrival(sequence)

    def reassemble(self, packet, at):
        """(next header, payload) when the last fragment has come. Bounded to 64 packets."""
        header, _, field, identity = struct.unpack_from("!BBHI", packet, at)
        key, offset, more = (packet[8:40], identity), field & 0xfff8, field & 1
        if len(self.fragments) > 64 and key not in self.fragments:
            self.fragments.clear()
        parts = self.fragments.setdefault(key, {})
        parts[offset] = (packet[at + 8:], more, header)
        end, payload = 0, b""
        while end in parts:
            piece, more, _ = parts[end]
            payload, end = payload + piece, end + len(piece)
            if not more:
                del self.fragments[key]
                return parts[0][2], payload
            if not piece:
                break
        return None

    def send(self, src, dst, sport, dport, data):
        segment = wire.udp(src, dst, sport, dport, data)
        if len(segment) <= MOST + 8:
            return self.stack.output(src, dst, wire.UDP, segment)
        # Fragmentation is above the shim: each fragment gets a payload header of its own.
        identity = self.stack.random32()
        for at in range(0, len(segment), MOST):
            more = at + MOST < len(segment)
            head = struct.pack("!BBHI", wire.UDP, 0, at | more, identity)
            self.stack.output(src, dst, wire.FRAGMENT, head + segment[at:at + MOST])
        return None

    def start(self, local, peer, port, count, size, interval):
        """A run of `count` numbered datagrams, one per interval."""
        number = len(self.runs) + 1
        self.runs[number] = run = Run(self, number, local, peer, port, count, size, interval)
        run.step()
        return number

    def status(self):
        return {"echoed": self.echoed, "damaged": self.damaged, "other": self.other,
                "arrived": self.arrived, "runs": [run.summary() for run in self.runs.values()]}


class Run:
    def __init__(self, ends, number, local, peer, port, count, size, interval):
        self.ends, self.number, self.local, self.peer = ends, number, local, peer
        self.port, self.count, self.size, self.interval = port, count, size, interval
        self.sent, self.missing, self.longest = 0, set(), 0.0
        self.last = self.began = ends.stack.now()
        self.ended = False

    def step(self):
        if self.sent >= self.count:
            return self.ends.stack.timers.after(1, self.end)
        head = HEAD.pack(MARK, self.number, self.sent)
        self.missing.add(self.sent)
        self.sent += 1
        self.ends.send(self.local, self.peer, 40001 + (self.number - 1) % 32, self.port,
                       head + bytes(max(0, self.size - HEAD.size)))
        return self.ends.stack.timers.after(self.interval, self.step)

    def arrival(self, sequence):
        now = self.ends.stack.now()
        if sequence in self.missing:
            self.missing.discard(sequence)
            self.longest, self.last = max(self.longest, now - self.last), now

    def end(self):
        if not self.ended:
            self.ended = True
            self.ends.event("run_end", self.summary())

    def stop(self):
        self.count = self.sent

    def summary(self):
        return {"run": self.number, "peer": self.peer, "sent": self.sent,
                "echoed": self.sent - len(self.missing), "lost": len(self.missing),
                "longest_silence": round(self.longest, 3), "ended": self.ended}
