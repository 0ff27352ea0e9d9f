"""Octets that another implementation made (data/), and the decoder against octets that nobody made.
Run by selftest.py."""
import json
import pathlib
import random
import unittest

import cga
import wire
from wire import I2, Message

HERE = pathlib.Path(__file__).resolve().parent


def data(name):
    return json.loads((HERE / "data" / f"{name}.json").read_text())


class Vectors(unittest.TestCase):
    """Octets that another implementation made."""

    def test_messages(self):
        for row in data("messages")["messages"]:
            octets = bytes.fromhex(row["shim6_hex"])
            if row["type"] == "Payload":
                tag = int(row["ct"], 16)
                self.assertEqual(wire.payload_header(row["next_header"], tag), octets[:8])
                continue
            m = wire.decode(octets)
            self.assertEqual((m.name, m.lints, wire.encode(m)), (row["type"], [], octets))
            if "rnonce" in row:
                self.assertEqual(m.responder_nonce, int(row["rnonce"], 16))

    def test_hba_sets(self):
        for row in data("hba")["vectors"]:
            for member in row["addresses"]:
                p = cga.Parameters(bytes.fromhex(member["pds_hex"]))
                self.assertTrue(all(p.verifies_hba(a["address"]) for a in row["addresses"]), row["id"])
                self.assertEqual(cga.identifier(p.octets, row["sec"]).hex(), member["address_hex"][16:])
                self.assertFalse(p.verifies_hba("2001:db8:ffff:1::1"))

    def test_cgas(self):
        tests = data("cga")
        for row in tests["vectors"]:
            self.assertTrue(cga.Parameters(bytes.fromhex(row["pds_hex"])).verifies_cga(row["address"]))
        for row in tests["verification_cases"]:
            p = cga.Parameters(bytes.fromhex(row["pds_hex"]))
            self.assertEqual(p.verifies_cga(row["address"]), row["expect_accept"], row["id"])

    def test_signatures(self):
        tests = data("signatures")
        for row in tests["vectors"]:
            signed = cga.signed_octets(row["generation"], [(l["method"], l["address"]) for l in row["locators"]])
            self.assertEqual(signed.hex(), row["signed_octets_hex"])
            signature, key = bytes.fromhex(row["signature_hex"]), bytes.fromhex(row["spki_hex"])
            self.assertTrue(cga.signature_ok(key, signed, signature))
            own = cga.PrivateKey.from_pem((HERE / "data" / row["pem_file"]).read_text())
            self.assertEqual((own.spki, own.sign(signed)), (key, signature))
        for row in tests["receiver_cases"]:
            if row["rfc_expect"] not in ("ACCEPT", "REJECT"):
                continue
            message = Message(I2)
            octets = b"".join(bytes.fromhex(row[f"{o}_option_hex"] or "")
                              for o in ("loclist", "pds", "signature"))
            wire.decode_options(message, octets, 0)
            rows, p = message.options[wire.LOCATOR_LIST], cga.Parameters(message.options[wire.PDS])
            ulid = next((a for m, a in rows.locators if cga.check_ulid(p, a)), rows.locators[0][1])
            bad = cga.check_list(p, ulid, rows.generation, rows.locators,
                                 message.options.get(wire.SIGNATURE))
            self.assertEqual(bad is None, row["rfc_expect"] == "ACCEPT", row["id"])

    def test_keys_of_our_own(self):
        rng = random.Random(5)
        key = cga.PrivateKey.generate(rng, 1024)
        self.assertEqual(cga.public_key(key.spki), (key.n, 65537))
        self.assertTrue(cga.signature_ok(key.spki, b"text", key.sign(b"text")))
        self.assertFalse(cga.signature_ok(key.spki, b"Text", key.sign(b"text")))
        prefixes = [bytes([0x20, 1, 0x0d, 0xb8, 0, n, 0, 0]) for n in (1, 2, 3)]
        members = cga.generate_set(rng, prefixes, None, sec=1)
        p = cga.Parameters(members[0][1])
        self.assertTrue(all(p.verifies_hba(a) for a, _ in members) and not p.has_key)
        self.assertTrue(all(int(a.split(":")[4], 16) >> 13 == 1 for a, _ in members))

    def test_no_octets_break_the_decoder(self):
        rng = random.Random(9)
        samples = [bytes.fromhex(m["shim6_hex"]) for m in data("messages")["messages"]]
        for _ in range(20000):
            octets = bytearray(rng.choice(samples))
            for _ in range(rng.randrange(1, 4)):
                octets[rng.randrange(len(octets))] = rng.getrandbits(8)
            octets = octets[:rng.randrange(len(octets) + 1)] if rng.random() < 0.1 else octets
            if len(octets) >= 6:
                octets[4:6] = bytes(2)
                octets[4:6] = wire.checksum(octets[:8 * (octets[1] + 1)]).to_bytes(2, "big")
            try:
                wire.describe(wire.decode(bytes(octets)))
            except wire.Malformed:
                pass
