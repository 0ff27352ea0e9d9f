"""REAP, RFC 5534: the machine of one context.

Three timers: Send and Keepalive, of which at most one runs, and the one that repeats Probes (and,
in Operational, spaces Keepalives). START leaves a running timer alone, RESTART does not.
"""
from context import ESTABLISHED
from wire import (BROKEN, EXPLORING, INBOUND_OK, KEEPALIVE, OPERATIONAL, PROBE, STATE_NAMES,
                  Message, Report)

REPORTS = 15             # what four bits count
LATE = 10                # seconds that reports outlive an exploration, for Probes still under way
REPLIES_PER_SECOND = 10


class Reap:
    def __init__(self, stack, ctx):
        self.stack, self.ctx, self.timers = stack, ctx, stack.timers
        self.state, self.keepalive_timeout = OPERATIONAL, 15
        self.send_timer = self.keepalive_timer = self.interval_timer = self.probe_timer = None
        self.ended = -1e9
        self.replies = []
        self.clear()

    @property
    def name(self):
        return STATE_NAMES[self.state]

    def clear(self):
        self.sent, self.received = [], []        # Reports, newest first
        self.round, self.count, self.mirror = [], 0, None
        self.failed = self.ctx.pair

    def stop(self):
        for timer in (self.send_timer, self.keepalive_timer, self.interval_timer, self.probe_timer):
            self.timers.cancel(timer)
        self.send_timer = self.keepalive_timer = self.interval_timer = self.probe_timer = None

    def reset(self):
        """A handshake has just proven the pair."""
        self.stop()
        self.become(OPERATIONAL, "handshake")
        self.clear()

    def become(self, state, reason):
        if state == self.state:
            return
        if state == EXPLORING:
            self.clear()
        self.state, self.count = state, 0
        if state == OPERATIONAL:
            self.ended = self.stack.now()
            self.timers.cancel(self.probe_timer)
            self.probe_timer = None
        else:
            self.stop_keepalive()
        self.stack.event("reap", peer=self.ctx.ulid_peer, state=self.name, reason=reason)

    # -- timers -----------------------------------------------------------------------------------

    def start_send(self, again=False):
        if again:
            self.stop_send()
        if not self.send_timer:
            timeout = self.stack.config.send_timeout * self.stack.rng.uniform(0.95, 1)
            self.send_timer = self.timers.after(timeout, self.send_timeout)

    def stop_send(self):
        self.timers.cancel(self.send_timer)
        self.send_timer = None

    def start_keepalive(self):
        if not self.keepalive_timer:
            self.keepalive_timer = self.timers.after(self.keepalive_timeout, self.keepalive_expired)
            self.space_keepalive()

    def stop_keepalive(self):
        self.timers.cancel(self.keepalive_timer)
        self.timers.cancel(self.interval_timer)
        self.keepalive_timer = self.interval_timer = None

    def space_keepalive(self):
        gap = max(1, self.keepalive_timeout / 3) * self.stack.rng.uniform(0.9, 1)
        self.interval_timer = self.timers.after(gap, self.keepalive_interval)

    def keepalive_interval(self):
        self.send_keepalive()
        self.space_keepalive()

    def keepalive_expired(self):
        self.stop_keepalive()
        self.send_keepalive()                    # the last one: nothing was received meanwhile

    def send_keepalive(self):
        if self.ctx.state == ESTABLISHED:
            self.stack.transmit(self.ctx.pair, Message(KEEPALIVE, self.ctx.ct_peer), self.ctx)

    def send_timeout(self):
        self.send_timer = None
        self.explore("send timeout")

    # -- events of sections 6.1 to 6.9 ------------------------------------------------------------

    def explore(self, reason):
        """6.4, and the way in for local knowledge that the pair is dead."""
        if self.ctx.state != ESTABLISHED or self.state == EXPLORING:
            return
        self.stop_send()
        self.become(EXPLORING, reason)
        self.probe()

    def payload_in(self):
        if self.state == OPERATIONAL:
            self.stop_send()
            self.start_keepalive()
        elif self.state == EXPLORING:
            self.inbound("payload")
        else:
            self.stop_send()

    def payload_out(self):
        if self.state == OPERATIONAL:
            self.stop_keepalive()
            self.start_send()
        elif self.state == INBOUND_OK:
            self.start_send()

    def keepalive_in(self):
        if self.state == EXPLORING:
            self.inbound("keepalive")
        else:
            self.stop_send()

    def inbound(self, reason):
        self.become(INBOUND_OK, reason)
        self.start_send()
        self.probe()

    def probe_in(self, m, src, dst):
        if (m.sent[0].src, m.sent[0].dst) != (src, dst):
            return self.stack.drop("Probe: the first report is not about this packet")
        if self.state == OPERATIONAL and self.stack.now() - self.ended > LATE:
            self.clear()
        self.received = [r for r in self.received if r != m.sent[0]]
        self.received.insert(0, m.sent[0])
        self.mirror = (dst, src)
        if m.state == EXPLORING:
            self.become(INBOUND_OK, "the peer explores")
            self.start_send(again=True)
            self.reply()
        elif m.state == INBOUND_OK:
            chosen = self.choose(m)
            self.stop_keepalive()
            self.become(OPERATIONAL, "the peer is InboundOk")
            self.start_send(again=True)
            self.reply(chosen)
        else:
            self.choose(m)
            self.stop_send()
            self.become(OPERATIONAL, "the peer is Operational")
            self.start_keepalive()

    def choose(self, m):
        """A new current pair from the peer's reports, if one is about a Probe of ours."""
        proven = [(r.src, r.dst) for r in m.received if r in self.sent]
        for _, peer in proven:
            locator = self.ctx.peer_locator(peer)
            if locator:
                locator.probed = True
        usable = [pair for pair in self.ctx.pairs() if pair in proven]
        if not usable:
            return None
        current = self.ctx.peer_locator(self.ctx.pair[1])
        if self.ctx.pair in usable and not (current and current.flags & BROKEN):
            return self.ctx.pair
        self.stack.event("pair", peer=self.ctx.ulid_peer, old=self.ctx.pair, new=usable[0])
        self.ctx.pair = usable[0]
        return usable[0]

    # -- Probes -----------------------------------------------------------------------------------

    def next_pair(self):
        """The pair of the newest Probe received first; else every pair once per round, the one
        that failed last."""
        pairs = self.ctx.pairs() or [self.ctx.pair]
        if self.mirror in pairs:
            pair, self.mirror = self.mirror, None
            return pair
        self.round = [pair for pair in self.round if pair in pairs]
        if not self.round:
            self.round = [p for p in pairs if p != self.failed] + [p for p in pairs if p == self.failed]
        return self.round.pop(0)

    def probe(self):
        """One Probe, and the timer for the one after it: four at a fixed distance, then back-off."""
        self.timers.cancel(self.probe_timer)
        self.probe_timer = None
        if self.ctx.state != ESTABLISHED or self.state == OPERATIONAL:
            return
        self.send_probe(self.next_pair())
        config, past = self.stack.config, self.count - self.stack.config.initial_probes
        self.count += 1
        gap = config.probe_interval if past < -1 else min(
            config.probe_interval * 2 ** (past + 2), config.max_probe_interval)
        self.probe_timer = self.timers.after(gap * self.stack.rng.uniform(0.8, 1.2), self.repeat)

    def repeat(self):
        self.probe_timer = None
        if self.state == INBOUND_OK:
            self.start_send()
        self.probe()

    def reply(self, pair=None):
        """The Probe that answers a Probe; the schedule of the repeated ones goes on beside it."""
        now = self.stack.now()
        self.replies = [t for t in self.replies if t > now - 1]
        if len(self.replies) >= REPLIES_PER_SECOND:
            return self.stack.drop("too many Probes to answer")
        self.replies.append(now)
        if self.state == OPERATIONAL:
            self.send_probe(pair or (self.mirror if self.mirror in self.ctx.pairs() else self.ctx.pair))
        elif self.probe_timer:
            self.send_probe(self.next_pair())
        else:
            self.probe()

    def send_probe(self, pair):
        report = Report(*pair, self.stack.random32(), 0)
        self.sent.insert(0, report)
        message = Message(PROBE, self.ctx.ct_peer, state=self.state, sent=self.sent[:REPORTS],
                          received=self.received[:REPORTS])
        self.stack.transmit(pair, message, self.ctx)
