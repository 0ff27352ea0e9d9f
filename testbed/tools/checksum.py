"""The Internet checksum's sum (RFC 1071)."""
import struct


def folded(data):
    """The ones' complement sum of all 16-bit words; 0xffff over data with a right checksum."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return total
