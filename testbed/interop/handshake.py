"""Establishment and recovery of contexts: RFC 5533 section 7, both roles."""
import hashlib
import hmac
import struct

import cga
from context import (E_FAILED, ESTABLISHED, I1_SENT, I2_SENT, I2BIS_SENT, MAPPING, NO_SUPPORT,
                     Locator, unicast)
from wire import (E_GENERATION, E_PREFERENCES, E_VERIFICATION, FII, I1, I2, I2BIS,
                  KEEPALIVE_TIMEOUT, LOCATOR_LIST, PDS, PREFERENCES, R1, R1BIS, R2, SIGNATURE,
                  ULID_PAIR, VALIDATOR, Message, aton)

NONCE_STEP = 5          # seconds per step of the Responder Nonce
SECRET_LIFE = 600
RECOVERY_GAP = 5        # least time between recoveries of one context
TAG_MEMORY = 60         # how long an R1bis may answer a packet


class Secrets:
    """The responder's secret, its predecessor, and the clock that the Responder Nonce shows."""

    def __init__(self, now, rng):
        self.now, self.rng = now, rng
        self.current = self.previous = rng.randbytes(32)
        self.born, self.base = now(), rng.getrandbits(32)

    def nonce(self):
        return (self.base + int(self.now() / NONCE_STEP)) & 0xffffffff

    def fresh(self, nonce, lifetime):
        return (self.nonce() - nonce & 0xffffffff) * NONCE_STEP <= lifetime

    def validator(self, secret, label, nonce, tag, addresses, fii):
        octets = label + struct.pack("!IQI", nonce, tag, fii) + b"".join(map(aton, addresses))
        return hmac.new(secret, octets, hashlib.sha256).digest()[:16]

    def make(self, *fields):
        if self.now() - self.born > SECRET_LIFE:
            self.previous, self.current = self.current, self.rng.randbytes(32)
            self.born = self.now()
        return self.validator(self.current, *fields)

    def matches(self, value, *fields):
        return any(hmac.compare_digest(value, self.validator(secret, *fields))
                   for secret in (self.current, self.previous))


class Handshake:
    """Mixed into Stack."""

    def offer(self, ctx, options, force_pds=True):
        """Adds what the peer needs to know and verify our locators."""
        parameters = self.identity.pds.get(ctx.ulid_local)
        if parameters is not None and len(ctx.ls_local) > 1:
            options[LOCATOR_LIST] = ctx.list_option()
            if (preferences := ctx.preferences_option()):
                options[PREFERENCES] = preferences
            if force_pds:
                options[PDS] = parameters
            self.sign(ctx, options)
            ctx.list_sent = True
        if self.config.send_timeout != 15:
            options[KEEPALIVE_TIMEOUT] = self.config.send_timeout

    def sign(self, ctx, options):
        rows = options[LOCATOR_LIST]
        if self.identity.key and any(method == cga.CGA for method, _ in rows.locators):
            options[SIGNATURE] = self.identity.key.sign(
                cga.signed_octets(rows.generation, rows.locators))

    def identify(self, ctx, pair, options):
        """ULID pair and FII, where the addresses of the packet do not say them."""
        if pair != ctx.ulids:
            options[ULID_PAIR] = ctx.ulids
        if ctx.fii:
            options[FII] = ctx.fii

    # -- initiator --------------------------------------------------------------------------------

    def establish(self, local, peer, fii=0, pair=None):
        """Sends I1. None if a context exists already or a hold-down forbids it."""
        held = self.held.get((local, peer)) or self.held.get(peer)
        if self.contexts.of(local, peer, fii) or held and held[1] > self.now():
            return None
        ctx = self.new_context(local, peer, fii)
        ctx.pair = pair or ctx.ulids
        self.attempt(ctx)
        return ctx

    def attempt(self, ctx):
        ctx.initiator_nonce, ctx.fell_back, ctx.attempt_pairs = self.random32(), 0, set()
        self.begin_i1(ctx)

    def begin_i1(self, ctx):
        ctx.ct_peer, ctx.retries = None, 0
        self.set_state(ctx, I1_SENT)
        self.send_i1(ctx)
        self.arm(ctx, self.config.i1_timeout, self.i1_timeout)

    def arm(self, ctx, nominal, call):
        """The random factor applies after the back-off."""
        self.timers.cancel(ctx.timer)
        ctx.timer = self.timers.after(nominal * self.rng.uniform(0.5, 1.5), call, ctx)

    def send_i1(self, ctx):
        options = {}
        self.identify(ctx, ctx.pair, options)
        ctx.attempt_pairs.add(ctx.pair)
        self.transmit(ctx.pair, Message(I1, ctx.ct_local, ctx.initiator_nonce, options=options))

    def i1_timeout(self, ctx):
        if ctx.retries == self.config.i1_retries:
            return self.give_up(ctx, E_FAILED)
        ctx.retries += 1
        self.send_i1(ctx)
        self.arm(ctx, self.config.i1_timeout * 2 ** ctx.retries, self.i1_timeout)

    def give_up(self, ctx, state):
        self.set_state(ctx, state)
        life = self.config.icmp_holddown if state == NO_SUPPORT else self.config.no_r1_holddown
        self.held[ctx.ulid_peer if state == NO_SUPPORT else ctx.ulids] = (state, self.now() + life)
        self.drop_context(ctx)

    def on_r1(self, m, src, dst, packet, at):
        ctx = next((c for c in self.contexts if c.initiator_nonce == m.initiator_nonce
                    and c.state == I1_SENT and (dst, src) in c.attempt_pairs), None)
        if ctx is None or VALIDATOR not in m.options:
            return self.drop("R1 without match")
        ctx.responder_nonce, ctx.validator = m.responder_nonce, m.options[VALIDATOR]
        # The validator covers the locators: the I2 has to leave on the pair that the R1 came on.
        ctx.pair = ctx.answer_pair = (dst, src)
        ctx.retries = 0
        self.set_state(ctx, I2_SENT)
        self.send_i2(ctx)
        self.arm(ctx, self.config.i2_timeout, self.i2_timeout)

    def send_i2(self, ctx):
        """I2, or I2bis in I2BIS-SENT."""
        bis, pair = ctx.state == I2BIS_SENT, ctx.answer_pair
        options = {VALIDATOR: ctx.validator}
        self.identify(ctx, pair, options)
        self.offer(ctx, options)
        ctx.attempt_pairs.add(pair)
        self.transmit(pair, Message(I2BIS if bis else I2, ctx.ct_local, ctx.initiator_nonce,
                                    ctx.responder_nonce, packet_tag=ctx.packet_tag or 0,
                                    options=options))

    def i2_timeout(self, ctx):
        if ctx.retries < self.config.i2_retries:
            ctx.retries += 1
            self.send_i2(ctx)
            return self.arm(ctx, self.config.i2_timeout * 2 ** ctx.retries, self.i2_timeout)
        ctx.fell_back += 1
        if ctx.fell_back > self.config.fallbacks:
            return self.give_up(ctx, E_FAILED)
        if ctx.state == I2BIS_SENT:
            ctx.pair = ctx.answer_pair
        ctx.reap.reset()
        self.begin_i1(ctx)

    def react(self, ctx):
        """Traffic in I2-SENT or I2BIS-SENT: the R2 was lost. At most once a second."""
        if self.now() - ctx.last_reaction >= 1:
            ctx.last_reaction = self.now()
            self.send_i2(ctx)

    def on_r2(self, m, src, dst, packet, at):
        ctx = next((c for c in self.contexts if c.initiator_nonce == m.initiator_nonce
                    and c.state in (I1_SENT, I2_SENT, I2BIS_SENT)
                    and (dst, src) in c.attempt_pairs), None)
        if ctx is None:
            return self.drop("R2 without match")
        learned = self.verified(m, ctx.ulid_peer, ctx, packet, at)
        if learned is None:
            return
        self.learn(ctx, m, learned, (dst, src), packet, at)
        self.set_state(ctx, ESTABLISHED)

    # -- responder --------------------------------------------------------------------------------

    def said_pair(self, m, src, dst):
        """(local ULID, peer ULID, FII) of I1, I2, I2bis; None if it cannot be ours."""
        peer, local = m.options.get(ULID_PAIR, (src, dst))
        if not (self.identity.owns(local) and unicast(peer) and unicast(local)):
            self.drop("ULID pair is not acceptable")
            return None
        return local, peer, m.options.get(FII, 0)

    def on_i1(self, m, src, dst, packet, at):
        key = self.said_pair(m, src, dst)
        if key is None:
            return
        ctx = self.contexts.of(*key)
        if ctx is None:
            return self.send_r1(m, key, src, dst)
        if ctx.state == ESTABLISHED and (m.tag != ctx.ct_peer or not ctx.accepts(src, dst)):
            return self.send_r1(m, key, src, dst)
        self.send_r2(ctx, m.initiator_nonce, (dst, src))

    def send_r1(self, m, key, src, dst):
        nonce = self.secrets.nonce()
        value = self.secrets.make(b"R1", nonce, m.tag, (key[0], key[1], src, dst), key[2])
        self.transmit((dst, src), Message(R1, 0, m.initiator_nonce, nonce,
                                          options={VALIDATOR: value}))

    def send_r1bis(self, tag, src, dst):
        if not self.limited("r1bis", src):
            nonce = self.secrets.nonce()
            value = self.secrets.make(b"R1bis", nonce, tag, (src, dst), 0)
            self.transmit((dst, src), Message(R1BIS, tag, responder_nonce=nonce,
                                              options={VALIDATOR: value}))

    def on_i2(self, m, src, dst, packet, at):
        key = self.said_pair(m, src, dst)
        if key is None:
            return
        local, peer, fii = key
        fields = ((b"R1bis", m.responder_nonce, m.packet_tag, (src, dst), 0) if m.type == I2BIS
                  else (b"R1", m.responder_nonce, m.tag, (local, peer, src, dst), fii))
        if not self.secrets.fresh(m.responder_nonce, self.config.validator_lifetime):
            return self.drop(f"{m.name}: Responder Nonce is not recent")
        if not self.secrets.matches(m.options.get(VALIDATOR, b""), *fields):
            return self.drop(f"{m.name}: validator")
        ctx = self.contexts.of(local, peer, fii)
        learned = self.verified(m, peer, ctx, packet, at)
        if learned is None:
            return
        # Also where no context exists: its first locator would be one that nothing vouches for.
        known = {l.address for l in (ctx.ls_peer if ctx else [])} | {l.address for l in learned}
        if src not in known and not (ctx is None and src == peer):
            return self.drop(f"{m.name}: source belongs to no verified locator")
        if ctx is None:
            ctx = self.new_context(local, peer, fii)
        self.learn(ctx, m, learned, (dst, src), packet, at)
        if ctx.state not in (I2_SENT, I2BIS_SENT):
            self.set_state(ctx, ESTABLISHED)
        self.send_r2(ctx, m.initiator_nonce, (dst, src))

    def send_r2(self, ctx, nonce, pair):
        options = {}
        self.offer(ctx, options)
        self.transmit(pair, Message(R2, ctx.ct_local, nonce, options=options))

    # -- what both roles learn --------------------------------------------------------------------

    def verified(self, m, ulid, ctx, packet, at):
        """The peer's list as Locators, [] if the message has none, None if the message must be
        dropped: the PDS does not fit the ULID, or the list is not all proven (Error 2)."""
        pds = m.options.get(PDS)
        parameters = ctx.pds_peer if ctx else None
        if pds is not None:
            try:
                parameters = cga.Parameters(pds)
            except cga.BadParameters as error:
                return self.drop(f"PDS: {error}")
            if not cga.check_ulid(parameters, ulid):
                return self.drop("PDS does not belong to the ULID")
        rows = m.options.get(LOCATOR_LIST)
        if rows is None:
            return []
        bad = 0 if parameters is None else cga.check_list(
            parameters, ulid, rows.generation, rows.locators, m.options.get(SIGNATURE))
        if bad is not None:
            self.send_error(E_VERIFICATION, at + rows.offset + 9 + bad, packet)
            return self.drop("a locator is not verified")
        return [Locator(address, method, verified=True) for method, address in rows.locators]

    def preferences_fault(self, preferences, generation, count):
        """The error that a Locator Preferences option deserves: (code, offset in it), or None."""
        if preferences.generation != generation:
            return E_GENERATION, 4
        rows = preferences.split()
        if rows is None or len(rows) != count:
            return E_PREFERENCES, 2
        return None

    def take_list(self, ctx, m, learned):
        """Replaces Ls(peer); what is known of addresses that stay is kept."""
        for locator in learned:
            old = ctx.peer_locator(locator.address)
            locator.probed = locator.address == ctx.ulid_peer or bool(old and old.probed)
        ctx.ls_peer, ctx.gen_peer = learned, m.options[LOCATOR_LIST].generation

    def take_preferences(self, ctx, preferences):
        for locator, row in zip(ctx.ls_peer, preferences.split()):
            locator.flags, locator.priority, locator.weight = row

    def learn(self, ctx, m, learned, pair, packet, at):
        """I2, I2bis or R2 has passed all checks: CT(peer), Ls(peer), and a pair that works."""
        ctx.ct_peer = m.tag
        if PDS in m.options:
            ctx.pds_peer = cga.Parameters(m.options[PDS])
        if learned:
            self.take_list(ctx, m, learned)
        elif ctx.state not in MAPPING:
            ctx.ls_peer, ctx.gen_peer = [Locator(ctx.ulid_peer, verified=True, probed=True)], None
        if (preferences := m.options.get(PREFERENCES)):
            fault = self.preferences_fault(preferences, ctx.gen_peer, len(ctx.ls_peer))
            if fault:
                self.send_error(fault[0], at + preferences.offset + fault[1], packet)
            else:
                self.take_preferences(ctx, preferences)
        if m.options.get(KEEPALIVE_TIMEOUT):
            ctx.reap.keepalive_timeout = m.options[KEEPALIVE_TIMEOUT]
        if m.type == R2 or ctx.state not in (I2_SENT, I2BIS_SENT):
            self.timers.cancel(ctx.timer)
        ctx.pair, ctx.last_use = pair, self.now()
        self.settle_update(ctx)
        ctx.reap.reset()
        if (source := ctx.peer_locator(pair[1])):
            source.probed = True
        else:
            self.timers.after(0, ctx.reap.explore, "the peer's address is not in its list")
        self.confusion(ctx)

    def confusion(self, ctx):
        """7.15: another context with the same CT(peer) towards the same host is dead there."""
        mine = {l.address for l in ctx.ls_peer if l.verified}
        for other in self.contexts:
            if (other is not ctx and other.state in MAPPING and other.ct_peer == ctx.ct_peer
                    and mine & {l.address for l in other.ls_peer if l.verified}):
                self.event("confusion", removed=other.summary())
                self.drop_context(other)

    # -- recovery ---------------------------------------------------------------------------------

    def on_r1bis(self, m, src, dst, packet, at):
        pair = (dst, src)
        ctx = next((c for c in self.contexts if c.state == ESTABLISHED and c.ct_peer == m.tag
                    and self.now() - c.tag_sent.get(pair, -1e9) <= TAG_MEMORY
                    and c.accepts(src, dst)), None)
        if ctx is None or VALIDATOR not in m.options:
            return self.drop("R1bis without match")
        if self.now() - ctx.last_recovery < RECOVERY_GAP:
            return self.drop("R1bis too soon after the last")
        ctx.last_recovery = self.now()
        ctx.initiator_nonce, ctx.fell_back, ctx.retries = self.random32(), 0, 0
        ctx.attempt_pairs, ctx.answer_pair = set(), pair
        ctx.responder_nonce, ctx.validator = m.responder_nonce, m.options[VALIDATOR]
        ctx.packet_tag = m.tag
        self.set_state(ctx, I2BIS_SENT)
        self.send_i2(ctx)
        self.arm(ctx, self.config.i2_timeout, self.i2_timeout)
