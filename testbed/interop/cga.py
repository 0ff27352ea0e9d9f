"""CGA and HBA (RFC 3972, RFC 5535), RSASSA-PKCS1-v1_5 with SHA-1, verification of locator lists."""
import base64
import hashlib
import math
import struct

from wire import CGA, HBA, aton, ntoa

# The 128-bit message type tag for Shim6, RFC 5533 5.15.5.
SHIM6_TAG = bytes.fromhex("4A305662 4858574B 3655416F 506A6D48")
MULTI_PREFIX = 0x0012
RSA_ENCRYPTION = bytes.fromhex("300d06092a864886f70d0101010500")   # AlgorithmIdentifier, NULL
SHA1_INFO = bytes.fromhex("3021300906052b0e03021a05000414")        # DigestInfo of SHA-1
IGNORED = bytes.fromhex("e3") + bytes(7)                           # Sec, u, g in an identifier


class BadParameters(ValueError):
    """Octets that are no CGA Parameters data structure, or no RSA key."""


# -------------------------------------------------------------------------------------------------
# DER, as much as keys need

def der(tag, content):
    n = len(content)
    size = bytes([n]) if n < 128 else (
        lambda b: bytes([0x80 | len(b)]) + b)(n.to_bytes((n.bit_length() + 7) // 8, "big"))
    return bytes([tag]) + size + content


def der_integer(value):
    return der(2, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def der_read(octets, at, tag):
    """(offset of the content, offset behind it) of the element at `at`, which must have that tag."""
    try:
        if octets[at] != tag:
            raise BadParameters(f"DER tag {octets[at]:#x} instead of {tag:#x}")
        length, start = octets[at + 1], at + 2
        if length & 0x80:
            count = length & 0x7f
            length, start = int.from_bytes(octets[start:start + count], "big"), start + count
            if not 1 <= count <= 3 or length < 128 or length >> 8 * (count - 1) == 0:
                raise BadParameters("DER length is not the shortest")
    except IndexError:
        raise BadParameters("DER element is cut off") from None
    if start + length > len(octets):
        raise BadParameters("DER element is cut off")
    return start, start + length


def public_key(spki):
    """(modulus, exponent) of a SubjectPublicKeyInfo."""
    start, end = der_read(spki, 0, 0x30)
    a, b = der_read(spki, start, 0x30)
    if end != len(spki) or spki[start:b] != RSA_ENCRYPTION:
        raise BadParameters("not an rsaEncryption key")
    start, end = der_read(spki, b, 3)
    if spki[start:start + 1] != b"\0":
        raise BadParameters("BIT STRING with unused bits")
    start, _ = der_read(spki, start + 1, 0x30)
    a, b = der_read(spki, start, 2)
    c, d = der_read(spki, b, 2)
    return int.from_bytes(spki[a:b], "big"), int.from_bytes(spki[c:d], "big")


def spki(modulus, exponent=65537):
    key = der(0x30, der_integer(modulus) + der_integer(exponent))
    return der(0x30, RSA_ENCRYPTION + der(3, b"\0" + key))


# -------------------------------------------------------------------------------------------------
# RSA

class PrivateKey:
    def __init__(self, n, e, d):
        self.n, self.e, self.d = n, e, d
        self.spki = spki(n, e)

    @staticmethod
    def generate(rng, bits=1024):
        """A fresh key. rng: random.Random or SystemRandom. Slow beyond 2048 bits."""
        while True:
            p, q = prime(rng, bits // 2), prime(rng, bits - bits // 2)
            n, phi = p * q, (p - 1) * (q - 1)
            if p != q and n.bit_length() == bits and math.gcd(65537, phi) == 1:
                return PrivateKey(n, 65537, pow(65537, -1, phi))

    @staticmethod
    def from_pem(text):
        body = base64.b64decode("".join(
            line for line in text.splitlines() if line and not line.startswith("-----")))
        if "BEGIN RSA PRIVATE KEY" not in text:                  # PKCS #8 around PKCS #1
            start, _ = der_read(body, 0, 0x30)
            _, at = der_read(body, start, 2)
            _, at = der_read(body, at, 0x30)
            start, end = der_read(body, at, 4)
            body = body[start:end]
        at, _ = der_read(body, 0, 0x30)
        numbers = []
        for _ in range(4):                                       # version, n, e, d
            start, at = der_read(body, at, 2)
            numbers.append(int.from_bytes(body[start:at], "big"))
        return PrivateKey(*numbers[1:])

    def sign(self, octets):
        k = (self.n.bit_length() + 7) // 8
        return pow(int.from_bytes(padded(octets, k), "big"), self.d, self.n).to_bytes(k, "big")


def prime(rng, bits):
    while True:
        n = rng.getrandbits(bits) | 3 << bits - 2 | 1
        if all(n % p for p in (3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43)) and probably_prime(n, rng):
            return n


def probably_prime(n, rng, rounds=20):
    shift = (n - 1 & 1 - n).bit_length() - 1
    for _ in range(rounds):
        x = pow(rng.randrange(2, n - 1), n - 1 >> shift, n)
        for _ in range(shift):
            y = x * x % n
            if y == 1 and x not in (1, n - 1):
                return False
            x = y
        if x != 1:
            return False
    return True


def padded(octets, k):
    """EMSA-PKCS1-v1_5 with SHA-1 of k octets."""
    info = SHA1_INFO + hashlib.sha1(octets).digest()
    if k < len(info) + 11:
        raise BadParameters("the key is too short for a signature")
    return b"\0\1" + b"\xff" * (k - len(info) - 3) + b"\0" + info


def signature_ok(key, octets, signature):
    try:
        n, e = public_key(key)
        k = (n.bit_length() + 7) // 8
        value = int.from_bytes(signature, "big")
        return len(signature) == k and value < n and pow(value, e, n).to_bytes(k, "big") == padded(octets, k)
    except (BadParameters, ValueError):
        return False


# -------------------------------------------------------------------------------------------------
# CGA Parameters data structure (PDS)

class Parameters:
    """A parsed PDS. prefixes is None without the Multi-Prefix extension; has_key is its P flag, and
    true without the extension, because a plain CGA always has a key."""

    def __init__(self, octets):
        if len(octets) < 25:
            raise BadParameters("shorter than its fixed part")
        self.octets = octets
        self.prefix, self.collisions = octets[16:24], octets[24]
        _, end = der_read(octets, 25, 0x30)
        self.key, self.prefixes, self.has_key = octets[25:end], None, True
        while end < len(octets):
            if end + 4 > len(octets):
                raise BadParameters("rest of an extension")
            kind, length = struct.unpack_from("!HH", octets, end)
            data = octets[end + 4:end + 4 + length]
            if len(data) != length:
                raise BadParameters("an extension runs past the end")
            if kind == MULTI_PREFIX:
                if length < 12 or (length - 4) % 8:
                    raise BadParameters("Multi-Prefix extension of wrong length")
                if self.prefixes is None:
                    self.has_key = bool(data[0] & 0x80)
                    self.prefixes = [data[i:i + 8] for i in range(4, length, 8)]
            end += 4 + length

    def with_prefix(self, prefix):
        return self.octets[:16] + prefix + self.octets[24:]

    def verifies_cga(self, address):
        """RFC 3972 section 5: the address belongs to this PDS as it stands."""
        return cga_ok(self.octets, aton(address))

    def verifies_hba(self, address):
        """RFC 5535 7.2: the address is a member of the set."""
        octets = aton(address)
        return (self.prefixes is not None and octets[:8] in self.prefixes
                and cga_ok(self.with_prefix(octets[:8]), octets))


def hash2_ok(octets, sec):
    digest = hashlib.sha1(octets[:16] + bytes(9) + octets[25:]).digest()
    return digest[:2 * sec] == bytes(2 * sec)


def identifier(octets, sec):
    """The interface identifier that a PDS yields."""
    first = hashlib.sha1(octets).digest()[:8]
    return bytes([first[0] & 0x1c | sec << 5]) + first[1:]


def cga_ok(octets, address):
    if octets[24] > 2 or octets[16:24] != address[:8]:
        return False
    first = hashlib.sha1(octets).digest()[:8]
    if any((a ^ b) & ~mask & 0xff for a, b, mask in zip(first, address[8:], IGNORED)):
        return False
    sec = address[8] >> 5
    # Beyond 2 the registry of RFC 4982 would have to say which hash is meant; it says nothing.
    return sec <= 2 and hash2_ok(octets, sec)


def multi_prefix(prefixes, has_key):
    body = struct.pack("!I", has_key << 31) + b"".join(prefixes)
    return struct.pack("!HH", MULTI_PREFIX, len(body)) + body


def generate_set(rng, prefixes, key=None, sec=0):
    """RFC 5535 section 6: [(address, PDS)] for prefixes of 8 octets; key: PrivateKey or None."""
    encoded = key.spki if key else spki(rng.getrandbits(384) | 1 << 383 | 1)
    tail = encoded + multi_prefix(prefixes, key is not None)
    modifier = rng.getrandbits(128)
    while not hash2_ok(modifier.to_bytes(16, "big") + bytes(9) + tail, sec):
        modifier = (modifier + 1) % (1 << 128)
    out = []
    for prefix in prefixes:
        octets = modifier.to_bytes(16, "big") + prefix + b"\0" + tail
        out.append((ntoa(prefix + identifier(octets, sec)), octets))
    return out


# -------------------------------------------------------------------------------------------------
# Locator lists

def signed_octets(generation, locators):
    """What the signature covers; locators: [(method, address)]."""
    return SHIM6_TAG + struct.pack("!I", generation) + b"".join(
        aton(address) for method, address in locators if method == CGA)


def check_ulid(parameters, ulid):
    """The PDS corresponds to the ULID: as it stands, or as the PDS of another member of the set."""
    return parameters.verifies_cga(ulid) or parameters.verifies_hba(ulid)


def check_list(parameters, ulid, generation, locators, signature):
    """None if every locator is proven to belong to the ULID, else the index of the first that is
    not. The signature counts once for all locators with method CGA."""
    signed = None
    for index, (method, address) in enumerate(locators):
        if method == HBA:
            good = parameters.verifies_hba(address)
        elif method == CGA:
            if signed is None:
                signed = (signature is not None and parameters.has_key
                          and check_ulid(parameters, ulid)
                          and signature_ok(parameters.key, signed_octets(generation, locators), signature))
            good = signed
        else:
            good = False
        if not good:
            return index
    return None
