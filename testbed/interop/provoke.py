"""Messages that a correct peer never sends, to see what the other side does about them.

Each returns the octets of one Shim6 message, from a context that is ESTABLISHED. What the RFCs ask
for stands beside its name; PROVOCATIONS is also the help text of the `provoke` command.
"""
import struct

import wire
from wire import (CGA, HBA, KEEPALIVE, LOCATOR_LIST, PDS, PREFERENCES, PROBE, UPDATE_REQUEST,
                  LocatorList, Message, Preferences, Report)


def finished(octets):
    """The octets with their checksum filled in."""
    octets = octets[:4] + bytes(2) + octets[6:]
    return octets[:4] + struct.pack("!H", wire.checksum(octets)) + octets[6:]


def request(stack, ctx, **fields):
    return Message(UPDATE_REQUEST, ctx.ct_peer, request_nonce=stack.random32(), **fields)


def unknown_type(stack, ctx):
    return finished(bytes([59, 1, 100, 0]) + bytes(12))


def unknown_low_type(stack, ctx):
    return finished(bytes([59, 1, 33, 0]) + bytes(12))


def critical_option(stack, ctx):
    return wire.encode(request(stack, ctx, unknown=[(99, True, b"critical", 0)]))


def misplaced_critical_option(stack, ctx):
    octets = wire.encode(Message(KEEPALIVE, ctx.ct_peer)) + wire.encode_option(wire.FII, bytes(4), True)
    return finished(octets[:1] + bytes([len(octets) // 8 - 1]) + octets[2:])


def ignorable_option(stack, ctx):
    return wire.encode(request(stack, ctx, options={PREFERENCES: preferences(ctx)},
                               unknown=[(99, False, b"whatever", 0)]))


def preferences(ctx, generation=0, count=0, length=1):
    return Preferences(ctx.gen_local + generation & 0xffffffff, length,
                       bytes((len(ctx.ls_local) + count) * length))


def generation(stack, ctx):
    return wire.encode(request(stack, ctx, options={PREFERENCES: preferences(ctx, generation=1)}))


def element_count(stack, ctx):
    return wire.encode(request(stack, ctx, options={PREFERENCES: preferences(ctx, count=1)}))


def element_length(stack, ctx):
    option = Preferences(ctx.gen_local, 0, bytes(len(ctx.ls_local)))
    return wire.encode(request(stack, ctx, options={PREFERENCES: option}))


def foreign_locator(stack, ctx):
    """The last of the list is no member of the set."""
    rows = [(l.method, l.address) for l in ctx.ls_local] + [(HBA, "2001:db8:bad::1")]
    return wire.encode(request(stack, ctx, options={LOCATOR_LIST: LocatorList(1, rows)}))


def unsigned_locator(stack, ctx):
    rows = [(l.method, l.address) for l in ctx.ls_local] + [(CGA, "2001:db8:bad::1")]
    return wire.encode(request(stack, ctx, options={LOCATOR_LIST: LocatorList(1, rows)}))


def unknown_method(stack, ctx):
    rows = [(201, l.address) for l in ctx.ls_local]
    return wire.encode(request(stack, ctx, options={LOCATOR_LIST: LocatorList(1, rows)}))


def foreign_pds(stack, ctx):
    parameters = bytearray(stack.identity.pds[ctx.ulid_local])
    parameters[0] ^= 1
    return wire.encode(request(stack, ctx, options={PDS: bytes(parameters)}))


def unknown_tag(stack, ctx):
    return wire.encode(Message(KEEPALIVE, ctx.ct_peer ^ 1))


def bad_checksum(stack, ctx):
    octets = wire.encode(Message(KEEPALIVE, ctx.ct_peer ^ 1))
    return octets[:4] + bytes([octets[4] ^ 1]) + octets[5:]


def hip_bit(stack, ctx):
    octets = wire.encode(Message(KEEPALIVE, ctx.ct_peer ^ 1))
    return finished(octets[:3] + b"\1" + octets[4:])


def too_long(stack, ctx):
    octets = wire.encode(Message(KEEPALIVE, ctx.ct_peer ^ 1))
    return finished(octets[:1] + b"\x7f" + octets[2:])


def option_overrun(stack, ctx):
    octets = wire.encode(request(stack, ctx, unknown=[(99, True, bytes(4), 0)]))
    return finished(octets[:18] + b"\x7f\xff" + octets[20:])


def probe_without_report(stack, ctx):
    return finished(wire.encode(Message(PROBE, ctx.ct_peer, state=1)))


def probe_about_others(stack, ctx):
    report = Report("2001:db8:bad::1", ctx.pair[1], stack.random32())
    return wire.encode(Message(PROBE, ctx.ct_peer, state=1, sent=[report]))


def reserved_bits(stack, ctx):
    """Everything that receivers have to ignore is set: reserved fields, R bit, padding."""
    octets = bytearray(wire.encode(request(stack, ctx, options={PREFERENCES: preferences(ctx)})))
    octets[3], octets[6], octets[-1] = 0xfe, octets[6] | 0x80, 0xff
    return finished(bytes(octets))


PROVOCATIONS = {
    "unknown-type": (unknown_type, "Error 0, pointer 42"),
    "unknown-low-type": (unknown_low_type, "Error 0, pointer 42"),
    "critical-option": (critical_option, "Error 1, pointer to the option's type"),
    "misplaced-critical-option": (misplaced_critical_option, "Error 1: not listed for this message"),
    "ignorable-option": (ignorable_option, "Update Acknowledgement"),
    "foreign-locator": (foreign_locator, "Error 2, pointer to its method"),
    "unsigned-locator": (unsigned_locator, "Error 2, pointer to its method"),
    "unknown-method": (unknown_method, "Error 2, pointer to the method"),
    "generation": (generation, "Error 3, pointer to the option's generation"),
    "element-count": (element_count, "Error 4, pointer to the option's length"),
    "element-length": (element_length, "Error 4, pointer to the option's length"),
    "reserved-bits": (reserved_bits, "Update Acknowledgement"),
    "unknown-tag": (unknown_tag, "R1bis"),
    "foreign-pds": (foreign_pds, "nothing"),
    "bad-checksum": (bad_checksum, "nothing"),
    "hip-bit": (hip_bit, "nothing"),
    "too-long": (too_long, "nothing"),
    "option-overrun": (option_overrun, "nothing"),
    "probe-without-report": (probe_without_report, "nothing"),
    "probe-about-others": (probe_about_others, "nothing"),
}
