"""Update Request and Acknowledgement (RFC 5533 section 10), Error messages (5.14, 12.3)."""
import dataclasses

import cga
import wire
from context import ESTABLISHED, MAPPING
from wire import (BROKEN, E_CRITICAL_OPTION, E_GENERATION, E_PREFERENCES, E_UNKNOWN_TYPE,
                  E_VERIFICATION, ERROR, I1, I2, I2BIS, R2, KEEPALIVE_TIMEOUT, LOCATOR_LIST, MIN_MTU,
                  PDS, PREFERENCES, UPDATE_ACK, UPDATE_REQUEST, EXPLORING, Message)


@dataclasses.dataclass
class Update:
    """The outstanding Update Request of a context."""
    nonce: int
    options: dict
    retries: int = 0
    repaired: bool = False               # an Error has been answered already
    timer: list = None


class Updates:
    """Mixed into Stack."""

    def change_locators(self, ctx, keep=None, add=(), flags=None, priorities=None):
        """Tells the peer about our locators. keep: addresses that stay (None: all); add: Locators;
        flags and priorities: {address: value}. Anything not yet acknowledged is told again."""
        old = [l.address for l in ctx.ls_local]
        rows = [l for l in ctx.ls_local if keep is None or l.address in keep] + list(add)
        for locator in rows:
            locator.flags = (flags or {}).get(locator.address, locator.flags)
            locator.priority = (priorities or {}).get(locator.address, locator.priority)
        changed = [l.address for l in rows] != old
        ctx.ls_local = rows
        ctx.leaving += [a for a in old if ctx.local_locator(a) is None]
        if changed:
            ctx.gen_local = ctx.gen_local + 1 & 0xffffffff
        listed = changed or not ctx.list_sent or bool(ctx.update and LOCATOR_LIST in ctx.update.options)
        self.begin_update(ctx, listed)

    def begin_update(self, ctx, listed, repaired=False):
        """At most one is outstanding: a new one replaces it and has a new nonce."""
        options = {}
        if listed:
            options[LOCATOR_LIST] = ctx.list_option()
        preferences = ctx.preferences_option()
        if preferences or not listed:
            options[PREFERENCES] = preferences or wire.Preferences(
                ctx.gen_local, 1, bytes(len(ctx.ls_local)))
        if listed:
            if (repaired or not ctx.list_sent) and ctx.ulid_local in self.identity.pds:
                options[PDS] = self.identity.pds[ctx.ulid_local]
            self.sign(ctx, options)
            ctx.list_sent = True
        if ctx.update:
            self.timers.cancel(ctx.update.timer)
        ctx.update = Update(self.random32(), options, repaired=repaired)
        self.send_update(ctx)

    def send_update(self, ctx):
        update, config = ctx.update, self.config
        # While no pair works there is nothing to send on; the timer goes on.
        if ctx.state in MAPPING and ctx.reap.state != EXPLORING:
            self.transmit(self.update_pair(ctx), Message(
                UPDATE_REQUEST, ctx.ct_peer, request_nonce=update.nonce, options=update.options), ctx)
        nominal = min(config.update_timeout * 2 ** update.retries, config.max_update_timeout)
        update.timer = self.timers.after(nominal * self.rng.uniform(0.5, 1.5), self.update_timeout, ctx)

    def update_pair(self, ctx):
        """The source must be one that the peer knows, and should be one that it will still know
        when it has taken the update and its acknowledgement got lost."""
        sources = [l.address for l in ctx.ls_local if l.usable]
        if ctx.pair[0] in sources or not sources:
            return ctx.pair
        return sources[ctx.update.retries % len(sources)], ctx.pair[1]

    def update_timeout(self, ctx):
        ctx.update.retries = min(ctx.update.retries + 1, 16)
        self.send_update(ctx)

    def settle_update(self, ctx):
        """The peer knows our list: by an acknowledgement, or by the I2, I2bis or R2 that held it."""
        if ctx.update:
            self.timers.cancel(ctx.update.timer)
            ctx.update = None
        for locator in ctx.ls_local:
            locator.usable = True
        ctx.leaving = []

    def on_update_ack(self, ctx, m):
        if ctx.update is None or m.request_nonce != ctx.update.nonce:
            return self.drop("Update Acknowledgement for another request")
        self.settle_update(ctx)
        self.event("update_done", peer=ctx.ulid_peer, generation=ctx.gen_local)
        current = ctx.local_locator(ctx.pair[0])
        if current is None or current.flags & BROKEN:
            ctx.reap.explore("own locator is gone")

    def on_update_request(self, ctx, m, packet, at):
        """All of it takes effect or nothing."""
        if self.refusals:
            return self.send_error(self.refusals.pop(0), at + 16, packet, ctx)
        learned = self.verified(m, ctx.ulid_peer, ctx, packet, at)
        if learned is None:
            return
        preferences = m.options.get(PREFERENCES)
        if preferences:
            generation = m.options[LOCATOR_LIST].generation if learned else ctx.gen_peer
            fault = self.preferences_fault(preferences, generation, len(learned or ctx.ls_peer))
            if fault:
                return self.send_error(fault[0], at + preferences.offset + fault[1], packet, ctx)
        if PDS in m.options:
            ctx.pds_peer = cga.Parameters(m.options[PDS])
        if learned:
            self.take_list(ctx, m, learned)
        if preferences:
            self.take_preferences(ctx, preferences)
        if m.options.get(KEEPALIVE_TIMEOUT):
            ctx.reap.keepalive_timeout = m.options[KEEPALIVE_TIMEOUT]
        self.event("update_taken", peer=ctx.ulid_peer, generation=ctx.gen_peer,
                   locators=[[l.address, l.flags, l.priority] for l in ctx.ls_peer])
        self.transmit(ctx.pair, Message(UPDATE_ACK, ctx.ct_peer, request_nonce=m.request_nonce), ctx)
        if learned:
            self.confusion(ctx)
        current = ctx.peer_locator(ctx.pair[1])
        if current is None or current.flags & BROKEN:
            ctx.reap.explore("the peer's locator is gone")

    # -- Error messages ---------------------------------------------------------------------------

    def send_error(self, code, pointer, packet, ctx=None):
        """pointer counts from the first octet of the invoking IPv6 packet. Never about an Error."""
        src, dst = wire.addresses(packet)
        if not self.limited("error", src):
            # The Error has no length but its header's, so whole units of 8 octets only.
            quoted = packet[:min(len(packet), MIN_MTU - 48) // 8 * 8]
            self.transmit((dst, src), Message(ERROR, code=code, pointer=pointer, quoted=quoted), ctx)

    def refuse_unknown(self, m, packet, at):
        """12.3: true if the message must not be processed any further."""
        if m.type not in wire.NAMES:
            self.send_error(E_UNKNOWN_TYPE, at + 2, packet)
            return True
        critical = next((offset for _, critical, _, offset in m.unknown if critical), None)
        if critical is not None:
            self.send_error(E_CRITICAL_OPTION, at + critical, packet)
        return critical is not None

    def quoted_context(self, quoted):
        """(context, type of the quoted message, its request nonce) or None."""
        if len(quoted) < 56 or quoted[0] >> 4 != 6 or (found := wire.find_shim6(quoted)) is None:
            return None
        pair, at = wire.addresses(quoted), found[1]
        if quoted[at + 2] & 0x80:
            tag, kind = wire.tag_at(quoted, at + 2), None
        else:
            tag, kind = wire.tag_at(quoted, at + 6), quoted[at + 2] & 0x7f
        for ctx in self.contexts:
            if kind in (I1, I2, I2BIS, R2):
                if tag == ctx.ct_local and (kind == R2 or pair in ctx.attempt_pairs):
                    return ctx, kind, None
            elif tag == ctx.ct_peer and pair in ctx.tag_sent:
                return ctx, kind, int.from_bytes(quoted[at + 12:at + 16], "big")
        return None

    def on_error(self, m, src, dst):
        found = self.quoted_context(m.quoted)
        if found is None:
            return self.drop("Error about a packet that is not ours")
        ctx, kind, nonce = found
        self.event("error_in", peer=ctx.ulid_peer, code=m.code, pointer=m.pointer,
                   about=wire.NAMES.get(kind, kind))
        if ctx.state == ESTABLISHED:
            ctx.reap.payload_in()
        update = ctx.update
        if kind != UPDATE_REQUEST or update is None or update.nonce != nonce:
            return
        if m.code in (E_VERIFICATION, E_GENERATION, E_PREFERENCES) and not update.repaired:
            self.begin_update(ctx, True, repaired=True)
        elif m.code <= E_PREFERENCES:
            # Asked again would be refused again.
            self.timers.cancel(update.timer)
            ctx.update = None
            self.event("update_refused", peer=ctx.ulid_peer, code=m.code)
