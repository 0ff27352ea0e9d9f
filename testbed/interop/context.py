"""What a host remembers: its identity, the contexts, locators, timers and constants."""
import dataclasses
import heapq
import itertools

from wire import BROKEN, CGA, HBA, LocatorList, Preferences, aton

IDLE, I1_SENT, I2_SENT, I2BIS_SENT = "IDLE", "I1-SENT", "I2-SENT", "I2BIS-SENT"
ESTABLISHED, E_FAILED, NO_SUPPORT = "ESTABLISHED", "E-FAILED", "NO-SUPPORT"
# The states in which CT(peer) is known and payload may be mapped.
MAPPING = (ESTABLISHED, I2BIS_SENT)


@dataclasses.dataclass
class Config:
    """Seconds and counts; defaults are those of RFC 5533 section 14 and RFC 5534 section 7."""
    i1_timeout: float = 4
    i1_retries: int = 4
    i2_timeout: float = 4
    i2_retries: int = 2
    fallbacks: int = 2                # from I2 or I2bis back to I1, per attempt
    no_r1_holddown: float = 60
    icmp_holddown: float = 600
    validator_lifetime: float = 60    # at least VALIDATOR_MIN_LIFETIME, 30 s
    update_timeout: float = 4
    max_update_timeout: float = 120
    send_timeout: int = 15            # whole seconds: the option carries no fractions
    probe_interval: float = 0.5
    initial_probes: int = 4
    max_probe_interval: float = 60
    tag_bits: int = 47                # fewer only to provoke context confusion


class Timers:
    """Calls due at a time. now: a function that returns seconds."""

    def __init__(self, now):
        self.now, self.heap, self.order = now, [], itertools.count()

    def after(self, delay, call, *args):
        entry = [self.now() + delay, next(self.order), call, args]
        heapq.heappush(self.heap, entry)
        return entry

    @staticmethod
    def cancel(entry):
        if entry:
            entry[2] = None

    def next(self):
        """The time of the next call, or None."""
        while self.heap and self.heap[0][2] is None:
            heapq.heappop(self.heap)
        return self.heap[0][0] if self.heap else None

    def run(self):
        while (due := self.next()) is not None and due <= self.now():
            entry = heapq.heappop(self.heap)
            call, entry[2] = entry[2], None
            call(*entry[3])


@dataclasses.dataclass
class Locator:
    """A locator of either side. verified and probed concern the peer's, usable our own."""
    address: str
    method: int = 0
    flags: int = 0
    priority: int = 0
    weight: int = 0
    verified: bool = False            # by hash or signature, or because it is the ULID
    probed: bool = False              # return routability was shown
    usable: bool = True               # the peer has acknowledged it: it may be a source

    @property
    def rank(self):
        return bool(self.flags & BROKEN), self.priority


class Identity:
    """The addresses of this host: members of an HBA set, and locators added under its key."""

    def __init__(self, members, key=None):
        self.pds = dict(members)      # address: the PDS that has this address's prefix
        self.key = key
        self.extra = []

    def addresses(self):
        return list(self.pds) + self.extra

    def locators(self):
        return [Locator(a, HBA if a in self.pds else CGA) for a in self.addresses()]

    def owns(self, address):
        return address in self.pds or address in self.extra


class Context:
    def __init__(self, ulid_local, ulid_peer, fii, ct_local):
        self.ulid_local, self.ulid_peer, self.fii = ulid_local, ulid_peer, fii
        self.state, self.ct_local, self.ct_peer = IDLE, ct_local, None
        self.pair = (ulid_local, ulid_peer)          # Lp(local), Lp(peer)
        self.ls_local, self.gen_local, self.list_sent = [], 0, False
        self.leaving = []                            # addresses dropped, until the UA comes
        self.ls_peer = [Locator(ulid_peer, verified=True, probed=True)]
        self.gen_peer, self.pds_peer = None, None
        self.initiator_nonce, self.responder_nonce, self.validator = 0, 0, b""
        self.attempt_pairs = set()                   # on which I1, I2, I2bis of this attempt left
        self.answer_pair = self.pair                 # on which R1 or R1bis came, I2 or I2bis leaves
        self.packet_tag = None                       # that of the R1bis under work
        self.timer, self.retries, self.fell_back, self.last_reaction = None, 0, 0, -1e9
        self.last_recovery = -1e9
        self.tag_sent = {}                           # pair: when CT(peer) was last sent on it
        self.update = None                           # the outstanding Update
        self.reap = None
        self.last_use = 0.0

    @property
    def key(self):
        return self.ulid_local, self.ulid_peer, self.fii

    @property
    def ulids(self):
        return self.ulid_local, self.ulid_peer

    @property
    def tagged(self):
        """Payload needs the extension header: other locators than the ULIDs, or a forked context."""
        return self.state in MAPPING and (self.pair != self.ulids or self.fii != 0)

    def peer_locator(self, address):
        return next((l for l in self.ls_peer if l.address == address), None)

    def local_locator(self, address):
        return next((l for l in self.ls_local if l.address == address), None)

    def accepts(self, src, dst):
        """The source is in Ls(peer) and the destination in Ls(local), one that is leaving included."""
        return (self.peer_locator(src) is not None
                and (self.local_locator(dst) is not None or dst in self.leaving))

    def pairs(self):
        """All pairs that a Probe may use, best first: (local, peer) addresses."""
        rows = [((l.rank[0] + p.rank[0], l.rank[1] + p.rank[1]), (l.address, p.address))
                for l in self.ls_local if l.usable for p in self.ls_peer if p.verified]
        return [pair for _, pair in sorted(rows, key=lambda row: row[0])]

    def list_option(self):
        return LocatorList(self.gen_local, [(l.method, l.address) for l in self.ls_local])

    def preferences_option(self):
        """None while all locators are equal."""
        rows = [(l.flags, l.priority, l.weight) for l in self.ls_local]
        if all(row == rows[0] for row in rows) and not rows[0][0]:
            return None
        return Preferences(self.gen_local, 3, b"".join(bytes(row) for row in rows))

    def summary(self):
        """As the status command shows it."""
        show = lambda l: {"address": l.address, "method": l.method, "flags": l.flags,
                          "priority": l.priority, "verified": l.verified, "probed": l.probed,
                          "usable": l.usable}
        return {"ulid_local": self.ulid_local, "ulid_peer": self.ulid_peer, "fii": self.fii,
                "state": self.state, "ct_local": f"{self.ct_local:012x}",
                "ct_peer": None if self.ct_peer is None else f"{self.ct_peer:012x}",
                "pair": list(self.pair), "tagged": self.tagged,
                "reap": self.reap.name if self.reap else None,
                "keepalive_timeout": self.reap.keepalive_timeout if self.reap else None,
                "generation_peer": self.gen_peer, "generation_local": self.gen_local,
                "update_outstanding": self.update is not None,
                "locators_local": [show(l) for l in self.ls_local],
                "locators_peer": [show(l) for l in self.ls_peer]}


class ContextTable:
    """Contexts by ULID pair and FII, and by CT(local)."""

    def __init__(self, rng, bits):
        self.rng, self.bits, self.by_key, self.by_tag = rng, bits, {}, {}

    def create(self, ulid_local, ulid_peer, fii):
        while (tag := self.rng.getrandbits(self.bits)) == 0 or tag in self.by_tag:
            pass
        ctx = Context(ulid_local, ulid_peer, fii, tag)
        self.by_key[ctx.key] = self.by_tag[tag] = ctx
        return ctx

    def remove(self, ctx):
        self.by_key.pop(ctx.key, None)
        self.by_tag.pop(ctx.ct_local, None)

    def __iter__(self):
        return iter(list(self.by_key.values()))

    def of(self, local, peer, fii=0):
        return self.by_key.get((local, peer, fii))

    def tagged(self, tag):
        return self.by_tag.get(tag)


def unicast(address):
    """Neither multicast, unspecified, loopback nor link-local."""
    octets = aton(address)
    return not (octets[0] == 0xff or octets[:2] == b"\xfe\x80" or octets[:15] == bytes(15))
