"""Octets of IPv6 and Shim6: RFC 5533 section 5, RFC 5534 section 5, RFC 8200 as far as needed.

decode() is lenient where the RFCs tell receivers to ignore something (reserved fields, padding) but
notes every deviation from what a sender has to write in Message.lints, so that a run can say how
often the other implementation broke a rule. What no receiver can make sense of raises Malformed.
"""
import dataclasses
import socket
import struct

SHIM6, NO_NEXT_HEADER = 140, 59
HOP_BY_HOP, UDP, ROUTING, FRAGMENT, ICMPV6, DEST_OPTS = 0, 17, 43, 44, 58, 60
MIN_MTU = 1280

I1, R1, I2, R2, R1BIS, I2BIS = 1, 2, 3, 4, 5, 6
UPDATE_REQUEST, UPDATE_ACK, KEEPALIVE, PROBE, ERROR = 64, 65, 66, 67, 68
NAMES = {I1: "I1", R1: "R1", I2: "I2", R2: "R2", R1BIS: "R1bis", I2BIS: "I2bis",
         UPDATE_REQUEST: "UpdateRequest", UPDATE_ACK: "UpdateAck", KEEPALIVE: "Keepalive",
         PROBE: "Probe", ERROR: "Error"}

VALIDATOR, LOCATOR_LIST, PREFERENCES, PDS, SIGNATURE, ULID_PAIR, FII = 1, 2, 3, 4, 5, 6, 7
KEEPALIVE_TIMEOUT = 10
OPTION_NAMES = {VALIDATOR: "validator", LOCATOR_LIST: "locators", PREFERENCES: "preferences",
                PDS: "pds", SIGNATURE: "signature", ULID_PAIR: "ulid_pair", FII: "fii",
                KEEPALIVE_TIMEOUT: "keepalive_timeout"}
LISTED = {LOCATOR_LIST, PREFERENCES, PDS, SIGNATURE, KEEPALIVE_TIMEOUT}
# The options that the sections on the message formats list; any other one counts as unknown there.
ALLOWED = {I1: {ULID_PAIR, FII}, R1: {VALIDATOR}, I2: LISTED | {VALIDATOR, ULID_PAIR, FII},
           R2: LISTED, R1BIS: {VALIDATOR}, I2BIS: LISTED | {VALIDATOR, ULID_PAIR, FII},
           UPDATE_REQUEST: LISTED, UPDATE_ACK: set(), KEEPALIVE: set(), PROBE: set()}
# Octets before the options (a Probe's reports come on top).
FIXED = {I1: 16, R1: 16, I2: 24, R2: 16, R1BIS: 16, I2BIS: 32, UPDATE_REQUEST: 16, UPDATE_ACK: 16,
         KEEPALIVE: 16, PROBE: 16}

HBA, CGA = 1, 2                                  # verification methods, RFC 5533 5.15.2
BROKEN, TRANSIENT = 1, 2                         # flags of a preference
OPERATIONAL, EXPLORING, INBOUND_OK = 0, 1, 2     # REAP states on the wire
STATE_NAMES = ("Operational", "Exploring", "InboundOk")
TAG_MASK = (1 << 47) - 1

E_UNKNOWN_TYPE, E_CRITICAL_OPTION, E_VERIFICATION, E_GENERATION, E_PREFERENCES = range(5)


class Malformed(ValueError):
    """The message cannot be used and has to be dropped without a word."""


def aton(text):
    return socket.inet_pton(socket.AF_INET6, text)


def ntoa(octets):
    return socket.inet_ntop(socket.AF_INET6, octets)


@dataclasses.dataclass
class Report:
    """One Probe that was sent or received. Addresses are text."""
    src: str
    dst: str
    nonce: int
    data: int = 0

    def encode(self):
        return aton(self.src) + aton(self.dst) + struct.pack("!II", self.nonce, self.data)

    @staticmethod
    def decode(octets):
        nonce, data = struct.unpack_from("!II", octets, 32)
        return Report(ntoa(octets[:16]), ntoa(octets[16:32]), nonce, data)


@dataclasses.dataclass
class LocatorList:
    generation: int
    locators: list                               # of (method, address)
    offset: int = 0                              # of the option in the message

    def encode(self):
        head = struct.pack("!IB", self.generation, len(self.locators))
        head += bytes(method for method, _ in self.locators)
        head += bytes(-(4 + len(head)) % 8)      # counted from the option's first octet
        return head + b"".join(aton(address) for _, address in self.locators)


@dataclasses.dataclass
class Preferences:
    generation: int
    element_length: int
    elements: bytes
    offset: int = 0

    def encode(self):
        return struct.pack("!IB", self.generation, self.element_length) + self.elements

    def split(self):
        """[(flags, priority, weight)], or None where the length is no multiple of the element's."""
        n = self.element_length
        if n == 0 or len(self.elements) % n:
            return None
        rows = (self.elements[i:i + n] for i in range(0, len(self.elements), n))
        return [(r[0], r[1] if n > 1 else 0, r[2] if n > 2 else 0) for r in rows]


@dataclasses.dataclass
class Message:
    """A control message. tag is the one tag of most messages: Initiator's in I1, I2 and I2bis,
    Responder's in R2, Receiver's in UR, UA, Keepalive and Probe, Packet Context Tag in R1bis."""
    type: int
    tag: int = 0
    initiator_nonce: int = 0
    responder_nonce: int = 0
    request_nonce: int = 0
    packet_tag: int = 0                          # I2bis only
    state: int = 0                               # Probe only
    sent: list = dataclasses.field(default_factory=list)
    received: list = dataclasses.field(default_factory=list)
    code: int = 0                                # Error only
    pointer: int = 0
    quoted: bytes = b""
    options: dict = dataclasses.field(default_factory=dict)
    unknown: list = dataclasses.field(default_factory=list)   # (type, critical, content, offset)
    lints: list = dataclasses.field(default_factory=list)

    @property
    def name(self):
        return NAMES.get(self.type, f"type {self.type}")


def checksum(octets):
    total = sum(struct.unpack(f"!{len(octets) // 2}H", octets[:len(octets) & ~1]))
    if len(octets) % 2:
        total += octets[-1] << 8
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def encode_option(kind, content, critical=False):
    padding = 7 - (len(content) + 3) % 8
    return struct.pack("!HH", kind << 1 | critical, len(content)) + content + bytes(padding)


def option_content(kind, value):
    if kind in (LOCATOR_LIST, PREFERENCES):
        return value.encode()
    if kind == ULID_PAIR:
        return bytes(4) + aton(value[0]) + aton(value[1])
    if kind == FII:
        return struct.pack("!I", value)
    if kind == KEEPALIVE_TIMEOUT:
        return struct.pack("!HH", 0, value)
    return value


def encode(message):
    """The octets of a control message, checksum included."""
    m, tag, kind = message, struct.pack("!Q", message.tag)[2:], message.type
    if kind == ERROR:
        body = struct.pack("!H", m.pointer) + m.quoted
    elif kind == R1:
        body = struct.pack("!HII", 0, m.initiator_nonce, m.responder_nonce)
    elif kind in (I1, R2):
        body = tag + struct.pack("!I", m.initiator_nonce)
    elif kind == I2:
        body = tag + struct.pack("!III", m.initiator_nonce, m.responder_nonce, 0)
    elif kind == R1BIS:
        body = tag + struct.pack("!I", m.responder_nonce)
    elif kind == I2BIS:
        body = tag + struct.pack("!II", m.initiator_nonce, m.responder_nonce)
        body += bytes(6) + struct.pack("!Q", m.packet_tag)[2:]
    elif kind in (UPDATE_REQUEST, UPDATE_ACK):
        body = tag + struct.pack("!I", m.request_nonce)
    elif kind == KEEPALIVE:
        body = tag + bytes(4)
    elif kind == PROBE:
        counts = len(m.received) << 4 | len(m.sent)
        body = tag + bytes([counts, m.state << 6, 0, 0])
        body += b"".join(r.encode() for r in m.sent + m.received)
    else:
        raise ValueError(f"no format for type {kind}")
    for number, value in m.options.items():
        body += encode_option(number, option_content(number, value))
    for number, critical, content, _ in m.unknown:
        body += encode_option(number, content, critical)
    length = 6 + len(body)
    if length % 8 or length > 8 * 256:
        raise ValueError(f"a {m.name} of {length} octets")
    head = struct.pack("!BBBB", NO_NEXT_HEADER, length // 8 - 1, kind, m.code << 1)
    return head + struct.pack("!H", checksum(head + bytes(2) + body)) + body


def tag_at(octets, at):
    return int.from_bytes(octets[at:at + 6], "big") & TAG_MASK


def decode_option(kind, c, offset, lint):
    n = len(c)
    if kind == LOCATOR_LIST:
        if n < 5:
            raise Malformed("Locator List is too short")
        generation, count = struct.unpack_from("!IB", c)
        first = 5 + count + -(9 + count) % 8
        if count == 0 or n != first + 16 * count:
            raise Malformed("Locator List: number of locators and length disagree")
        if any(c[5 + count:first]):
            lint("Locator List: padding is not zero")
        rows = ((c[5 + i], ntoa(c[first + 16 * i:first + 16 * i + 16])) for i in range(count))
        return LocatorList(generation, list(rows), offset)
    if kind == PREFERENCES:
        if n < 5:
            raise Malformed("Locator Preferences are too short")
        return Preferences(*struct.unpack_from("!IB", c), c[5:], offset)
    wanted = {ULID_PAIR: 36, FII: 4, KEEPALIVE_TIMEOUT: 4}.get(kind, n)
    if n != wanted:
        raise Malformed(f"{OPTION_NAMES[kind]}: length {n}")
    if kind == ULID_PAIR:
        if any(c[:4]):
            lint("ULID Pair: Reserved2 is not zero")
        return ntoa(c[4:20]), ntoa(c[20:])
    if kind == FII:
        return struct.unpack("!I", c)[0]
    if kind == KEEPALIVE_TIMEOUT:
        if any(c[:2]):
            lint("Keepalive Timeout: Reserved is not zero")
        return struct.unpack_from("!H", c, 2)[0]
    return c


def decode_options(message, octets, at):
    """Fills in message.options and message.unknown from octets[at:]."""
    while at < len(octets):
        if at + 4 > len(octets):
            raise Malformed("rest of an option")
        kind, length = struct.unpack_from("!HH", octets, at)
        critical, kind = bool(kind & 1), kind >> 1
        total = 11 + length - (length + 3) % 8
        if at + total > len(octets):
            raise Malformed("an option runs past the message")
        if any(octets[at + 4 + length:at + total]):
            message.lints.append("option padding is not zero")
        content = octets[at + 4:at + 4 + length]
        if kind not in ALLOWED.get(message.type, ()):
            message.unknown.append((kind, critical, content, at))
        elif kind in message.options:
            raise Malformed(f"{OPTION_NAMES[kind]} twice")
        else:
            if critical:
                message.lints.append(f"{OPTION_NAMES[kind]}: C bit is set")
            message.options[kind] = decode_option(kind, content, at, message.lints.append)
        at += total


def decode(octets):
    """A Message from the octets that begin with the Shim6 header; what follows it is not looked at.
    A message of unknown type has its type only."""
    if len(octets) < 8:
        raise Malformed("shorter than 8 octets")
    length = 8 * (octets[1] + 1)
    if length > len(octets):
        raise Malformed("ends past the packet")
    octets = octets[:length]
    if octets[2] & 0x80:
        raise Malformed("not a control message")
    if octets[3] & 1:
        raise Malformed("S bit is set: HIP")
    if checksum(octets) != 0:
        raise Malformed("checksum")
    m = Message(octets[2] & 0x7f)
    lint = m.lints.append
    if octets[0] != NO_NEXT_HEADER:
        lint(f"Next Header is {octets[0]}")
    word = lambda at: struct.unpack_from("!I", octets, at)[0]
    if m.type == ERROR:
        m.code, m.pointer = octets[3] >> 1, struct.unpack_from("!H", octets, 6)[0]
        m.quoted = octets[8:]
        if length < 16:
            raise Malformed("Error without a packet in it")
        return m
    if m.type not in FIXED:
        return m
    if octets[3]:
        lint("Reserved1 is not zero")
    if length < FIXED[m.type]:
        raise Malformed(f"{m.name} of {length} octets")
    if m.type == R1:
        if any(octets[6:8]):
            lint("R1: Reserved2 is not zero")
        m.initiator_nonce, m.responder_nonce = word(8), word(12)
    else:
        m.tag = tag_at(octets, 6)
        if octets[6] & 0x80:
            lint("R bit is set")
        if m.type == R1BIS:
            m.responder_nonce = word(12)
        elif m.type in (UPDATE_REQUEST, UPDATE_ACK):
            m.request_nonce = word(12)
        elif m.type == KEEPALIVE:
            if word(12):
                lint("Keepalive: Reserved2 is not zero")
        elif m.type != PROBE:
            m.initiator_nonce = word(12)
    if m.type in (I2, I2BIS):
        m.responder_nonce = word(16)
        if word(20) or m.type == I2BIS and (any(octets[24:26]) or octets[26] & 0x80):
            lint(f"{m.name}: Reserved2 is not zero")
        if m.type == I2BIS:
            m.packet_tag = tag_at(octets, 26)
    start = FIXED[m.type]
    if m.type == PROBE:
        received, sent, m.state = octets[12] >> 4, octets[12] & 15, octets[13] >> 6
        if octets[13] & 0x3f or any(octets[14:16]):
            lint("Probe: Reserved2 is not zero")
        if length < start + 40 * (sent + received) or sent == 0 or m.state == 3:
            raise Malformed("Probe: counts, length or state")
        rows = [Report.decode(octets[start + 40 * i:start + 40 * i + 40])
                for i in range(sent + received)]
        m.sent, m.received, start = rows[:sent], rows[sent:], start + 40 * len(rows)
    decode_options(m, octets, start)
    return m


# -------------------------------------------------------------------------------------------------
# IPv6 packets

def ipv6(src, dst, next_header, payload, hop_limit=64):
    head = struct.pack("!IHBB", 6 << 28, len(payload), next_header, hop_limit)
    return head + aton(src) + aton(dst) + payload


def addresses(packet):
    return ntoa(packet[8:24]), ntoa(packet[24:40])


def find_shim6(packet):
    """(offset of the Next Header octet that says Shim6, offset of the Shim6 header) or None.
    Only headers that may precede it are skipped: Hop-by-Hop, Destination Options, Routing."""
    said, header, at = 6, packet[6], 40
    while header in (HOP_BY_HOP, DEST_OPTS, ROUTING) and at + 8 <= len(packet):
        said, header, at = at, packet[at], at + 8 * (packet[at + 1] + 1)
    return (said, at) if header == SHIM6 and at + 8 <= len(packet) else None


def payload_header(next_header, tag):
    return struct.pack("!BBH", next_header, 0, 0x8000 | tag >> 32) + struct.pack("!I", tag & 0xffffffff)


def upper_checksum(src, dst, protocol, segment):
    return checksum(aton(src) + aton(dst) + struct.pack("!II", len(segment), protocol) + segment)


def udp(src, dst, sport, dport, data):
    """A UDP segment whose checksum covers src and dst, which are ULIDs."""
    head = struct.pack("!HHH", sport, dport, 8 + len(data))
    total = upper_checksum(src, dst, UDP, head + bytes(2) + data)
    return head + struct.pack("!H", total or 0xffff) + data


def parse_udp(src, dst, segment):
    """(source port, destination port, data), or None if the segment is damaged."""
    if len(segment) < 8:
        return None
    sport, dport, length = struct.unpack_from("!HHH", segment)
    if not 8 <= length <= len(segment) or upper_checksum(src, dst, UDP, segment[:length]):
        return None
    return sport, dport, segment[8:length]


def describe(m):
    """A Message as a dictionary for the event log."""
    out = {"type": m.name}
    hexed = lambda v: f"{v:012x}"
    if m.type in (I1, I2, I2BIS):
        out["ct_initiator"] = hexed(m.tag)
    elif m.type == R2:
        out["ct_responder"] = hexed(m.tag)
    elif m.type == R1BIS:
        out["packet_tag"] = hexed(m.tag)
    elif m.type in (UPDATE_REQUEST, UPDATE_ACK, KEEPALIVE, PROBE):
        out["ct_receiver"] = hexed(m.tag)
    if m.type == I2BIS:
        out["packet_tag"] = hexed(m.packet_tag)
    if m.type in (I1, R1, I2, R2, I2BIS):
        out["initiator_nonce"] = f"{m.initiator_nonce:08x}"
    if m.type in (R1, I2, R1BIS, I2BIS):
        out["responder_nonce"] = f"{m.responder_nonce:08x}"
    if m.type in (UPDATE_REQUEST, UPDATE_ACK):
        out["request_nonce"] = f"{m.request_nonce:08x}"
    if m.type == PROBE:
        show = lambda rows: [[r.src, r.dst, f"{r.nonce:08x}"] for r in rows]
        out.update(state=STATE_NAMES[m.state], sent=show(m.sent), received=show(m.received))
    if m.type == ERROR:
        out.update(code=m.code, pointer=m.pointer, quoted=m.quoted.hex())
    for kind, value in m.options.items():
        if isinstance(value, LocatorList):
            value = {"generation": value.generation, "list": value.locators}
        elif isinstance(value, Preferences):
            value = {"generation": value.generation, "elements": value.split()}
        out[OPTION_NAMES[kind]] = value.hex() if isinstance(value, bytes) else value
    if m.unknown:
        out["unknown_options"] = [[kind, critical] for kind, critical, _, _ in m.unknown]
    if m.lints:
        out["format_errors"] = m.lints
    return out
