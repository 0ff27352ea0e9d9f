"""The shim: what comes in is told apart and given to the parts, what goes out is mapped.

Knows neither sockets nor the clock: `send` puts an IPv6 packet on the wire, `now` and `rng` are
arguments, `event` takes everything that a log or a test wants to see, `upper` takes IPv6 packets
that carry ULIDs. So two stacks can talk inside one process (selftest.py) or over a network.
"""
import collections
import struct

import wire
from context import (ESTABLISHED, I1_SENT, I2_SENT, I2BIS_SENT, MAPPING, NO_SUPPORT, Config,
                     ContextTable, Timers)
from handshake import Handshake, Secrets
from reap import Reap
from update import Updates
from wire import (ERROR, I1, I2, I2BIS, ICMPV6, KEEPALIVE, PROBE, R1, R1BIS, R2, SHIM6, UPDATE_ACK,
                  UPDATE_REQUEST, Malformed)

# Answers to one source address per second.
LIMITS = {"r1bis": 5, "error": 10}
PARAMETER_PROBLEM = 4


class Stack(Handshake, Updates):
    def __init__(self, identity, send, now, rng, event, config=None):
        self.identity, self.send, self.now, self.rng = identity, send, now, rng
        self.config = config or Config()
        self.timers = Timers(now)
        self.contexts = ContextTable(rng, self.config.tag_bits)
        self.secrets = Secrets(now, rng)
        self.held = {}                   # (ULID pair) or peer ULID: (state, until)
        self.log = event
        self.upper = lambda packet, ctx, tagged: None
        self.refusals = []               # Error codes for the next Update Requests, for tests
        self.spent = {}                  # (kind, source): [second, answers]
        self.drops = collections.Counter()
        self.counters = collections.Counter()
        self.lints, self.malformed = collections.Counter(), collections.Counter()

    # -- services for the parts -------------------------------------------------------------------

    def event(self, name, **fields):
        self.log(name, fields)

    def drop(self, reason):
        """Counts and logs; returns None, so that a handler can return it."""
        self.drops[reason] += 1
        self.event("drop", reason=reason)

    def random32(self):
        return self.rng.getrandbits(32)

    def limited(self, kind, source):
        second = int(self.now())
        if len(self.spent) > 1000:
            self.spent.clear()
        row = self.spent.setdefault((kind, source), [second, 0])
        if row[0] != second:
            row[:] = [second, 0]
        row[1] += 1
        if row[1] > LIMITS[kind]:
            self.drops[f"rate limit: {kind}"] += 1
        return row[1] > LIMITS[kind]

    def new_context(self, local, peer, fii):
        ctx = self.contexts.create(local, peer, fii)
        ctx.ls_local = self.identity.locators()
        ctx.gen_local = self.random32()
        ctx.reap = Reap(self, ctx)
        return ctx

    def set_state(self, ctx, state):
        if state != ctx.state:
            self.event("state", peer=ctx.ulid_peer, local=ctx.ulid_local, fii=ctx.fii,
                       old=ctx.state, new=state)
            ctx.state = state

    def drop_context(self, ctx):
        """Forgets it without a word to the peer."""
        self.timers.cancel(ctx.timer)
        if ctx.update:
            self.timers.cancel(ctx.update.timer)
        ctx.reap.stop()
        self.contexts.remove(ctx)

    def transmit(self, pair, message, ctx=None):
        """Sends a control message. ctx: the context whose traffic it is (not in a handshake)."""
        octets = wire.encode(message)
        self.event("send", src=pair[0], dst=pair[1], **wire.describe(message))
        self.counters["sent " + message.name] += 1
        self.send(wire.ipv6(pair[0], pair[1], SHIM6, octets))
        if ctx is not None:
            if message.type != ERROR:
                ctx.tag_sent[pair] = self.now()
            if message.type not in (KEEPALIVE, PROBE) and ctx.state in MAPPING:
                ctx.reap.payload_out()

    def transmit_raw(self, pair, octets):
        """Any octets as a Shim6 header, for tests that misbehave."""
        self.event("send_raw", src=pair[0], dst=pair[1], octets=octets.hex())
        self.send(wire.ipv6(pair[0], pair[1], SHIM6, octets))

    # -- from above -------------------------------------------------------------------------------

    def output(self, src, dst, next_header, payload, fii=0):
        """A packet of an upper layer between ULIDs."""
        ctx = self.contexts.of(src, dst, fii)
        if ctx is None or ctx.state not in MAPPING:
            return self.send(wire.ipv6(src, dst, next_header, payload))
        ctx.last_use = self.now()
        ctx.reap.payload_out()
        if not ctx.tagged:
            self.counters["payload out"] += 1
            return self.send(wire.ipv6(src, dst, next_header, payload))
        self.counters["payload out tagged"] += 1
        ctx.tag_sent[ctx.pair] = self.now()
        head = wire.payload_header(next_header, ctx.ct_peer)
        self.send(wire.ipv6(ctx.pair[0], ctx.pair[1], SHIM6, head + payload))

    # -- from below -------------------------------------------------------------------------------

    def receive(self, packet):
        """One IPv6 packet addressed to this host, without link header."""
        if len(packet) < 40 or packet[0] >> 4 != 6:
            return
        length = 40 + struct.unpack_from("!H", packet, 4)[0]
        src, dst = wire.addresses(packet)
        if length > len(packet) or not self.identity.owns(dst):
            return
        packet = packet[:length]
        found = wire.find_shim6(packet)
        if found is None:
            self.plain(packet, src, dst)
        elif packet[8] == 0xff or src == "::":
            self.drop("multicast or unspecified source")
        elif packet[found[1] + 2] & 0x80:
            self.tagged(packet, src, dst, *found)
        else:
            self.control(packet, src, dst, found[1])

    def plain(self, packet, src, dst):
        if packet[6] == ICMPV6:
            return self.icmp(packet, src)
        ctx = self.contexts.of(dst, src)
        if ctx and ctx.state in MAPPING:
            ctx.last_use = self.now()
            self.counters["payload in"] += 1
            if ctx.state == ESTABLISHED:
                ctx.reap.payload_in()
        self.upper(packet, ctx, False)

    def tagged(self, packet, src, dst, said, at):
        """12.2: any source locator is accepted, the tag alone decides."""
        if packet[at + 1] != 0:
            return self.drop("payload header longer than 8 octets")
        tag = wire.tag_at(packet, at + 2)
        ctx = self.contexts.tagged(tag)
        if ctx is None:
            return self.send_r1bis(tag, src, dst)
        if ctx.state == I1_SENT:
            return self.drop("payload header in I1-SENT")
        if ctx.state in (I2_SENT, I2BIS_SENT):
            self.react(ctx)
        else:
            ctx.reap.payload_in()
        ctx.last_use = self.now()
        self.counters["payload in tagged"] += 1
        inner = bytearray(packet[:at] + packet[at + 8:])
        inner[said] = packet[at]
        inner[4:6] = struct.pack("!H", len(inner) - 40)
        inner[8:40] = wire.aton(ctx.ulid_peer) + wire.aton(ctx.ulid_local)
        self.upper(bytes(inner), ctx, True)

    def control(self, packet, src, dst, at):
        try:
            m = wire.decode(packet[at:])
        except Malformed as error:
            self.malformed[str(error)] += 1
            return self.drop(f"malformed: {error}")
        self.lints.update(m.lints)
        self.counters["received " + m.name] += 1
        self.event("recv", src=src, dst=dst, **wire.describe(m))
        if m.type == ERROR:
            return self.on_error(m, src, dst)
        if self.refuse_unknown(m, packet, at):
            return
        for held in [key for key in self.held if key == src or src in key and isinstance(key, tuple)]:
            del self.held[held]
        handler = {I1: self.on_i1, R1: self.on_r1, I2: self.on_i2, R2: self.on_r2,
                   R1BIS: self.on_r1bis, I2BIS: self.on_i2}.get(m.type, self.on_tagged_control)
        handler(m, src, dst, packet, at)

    def on_tagged_control(self, m, src, dst, packet, at):
        """UR, UA, Keepalive, Probe: state first, then the addresses (12.4)."""
        ctx = self.contexts.tagged(m.tag)
        if ctx is None:
            return self.send_r1bis(m.tag, src, dst)
        if ctx.state == I1_SENT:
            return self.drop(f"{m.name} in I1-SENT")
        if ctx.state in (I2_SENT, I2BIS_SENT):
            self.react(ctx)
            if ctx.state == I2_SENT or m.type in (KEEPALIVE, PROBE):
                return None
        if not ctx.accepts(src, dst):
            return self.send_r1bis(m.tag, src, dst)
        if m.type == KEEPALIVE:
            return ctx.reap.keepalive_in()
        if m.type == PROBE:
            return ctx.reap.probe_in(m, src, dst)
        if ctx.state == ESTABLISHED:
            ctx.reap.payload_in()
        if m.type == UPDATE_REQUEST:
            return self.on_update_request(ctx, m, packet, at)
        assert m.type == UPDATE_ACK
        return self.on_update_ack(ctx, m)

    def icmp(self, packet, src):
        """Errors about our I1 (the peer does not know Shim6); everything else is a hint only."""
        if len(packet) < 48 + 40 or packet[40] >= 128:
            return
        kind, code, quoted = packet[40], packet[41], packet[48:]
        self.event("icmp_error", src=src, icmp_type=kind, code=code, about=wire.addresses(quoted))
        if (kind, code) == (PARAMETER_PROBLEM, 1) and len(quoted) >= 56 and quoted[6] == SHIM6 \
                and quoted[42] == I1:
            ctx = self.contexts.tagged(wire.tag_at(quoted, 46))
            if (ctx and ctx.state == I1_SENT and wire.addresses(quoted) in ctx.attempt_pairs
                    and quoted[52:56] == struct.pack("!I", ctx.initiator_nonce)):
                self.give_up(ctx, NO_SUPPORT)

    # -- what an operator asks for ----------------------------------------------------------------

    def forget(self, peer=None):
        gone = [ctx for ctx in self.contexts if peer in (None, ctx.ulid_peer)]
        for ctx in gone:
            self.drop_context(ctx)
        return len(gone)

    def status(self):
        return {"addresses": self.identity.addresses(),
                "contexts": [ctx.summary() for ctx in self.contexts],
                "counters": dict(self.counters), "drops": dict(self.drops),
                "format_errors": dict(self.lints), "malformed": dict(self.malformed),
                "held": [[list(key) if isinstance(key, tuple) else key, state]
                         for key, (state, until) in self.held.items() if until > self.now()]}
