#!/usr/bin/env python3
"""Two peers of this implementation against each other, and all of it against test vectors.

  python3 testbed/interop/selftest.py [-v] [TEST…]

Needs no privileges and no network: the packets cross a simulated one, in virtual time. Whatever is
emitted on the way also has to please testbed/tools/shim6decode.py, a decoder that shares no code.
"""
import pathlib
import random
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.dont_write_bytecode = True
sys.path[:0] = [str(HERE), str(HERE.parent / "tools")]

import cga
import shim6decode
import wire
from context import Locator
from selftest_vectors import Vectors  # noqa: F401 (unittest finds it here)
from simnet import Host, Network
from wire import (BROKEN, ERROR, I1, I2, I2BIS, KEEPALIVE, PROBE, R1, R1BIS, R2, UPDATE_ACK,
                  UPDATE_REQUEST, Message, Preferences)


class Simulated(unittest.TestCase):
    """Two hosts with two prefixes each. tearDown lets the other decoder judge all messages."""

    def setUp(self):
        self.networks = []
        self.expected_errors = 0
        self.expected_format_errors = []
        self.fresh()

    def fresh(self):
        self.net = Network()
        self.networks.append(self.net)

    def hosts(self, **config):
        self.a, self.b = Host(self.net, "A", **config), Host(self.net, "B", **config)
        return self.a, self.b

    def established(self, **config):
        a, b = self.hosts(**config)
        a.stack.establish(a.ulid, b.ulid)
        self.assertTrue(self.net.run(5, lambda: a.state(b) == b.state(a) == "ESTABLISHED"))
        return a, b

    def both_established(self):
        return self.a.state(self.b) == self.b.state(self.a) == "ESTABLISHED"

    def tags_agree(self):
        x, y = self.a.context(self.b), self.b.context(self.a)
        return x.ct_peer == y.ct_local and y.ct_peer == x.ct_local

    def stream(self, seconds, interval=0.1, sender=None, receiver=None):
        """A run of numbered datagrams that the receiver echoes."""
        sender, receiver = sender or self.a, receiver or self.b
        number = sender.ends.start(sender.ulid, receiver.ulid, 7, int(seconds / interval), 200, interval)
        return sender.ends.runs[number]

    def tearDown(self):
        format_errors = []
        for _, packet in (row for network in self.networks for row in network.packets):
            found = wire.find_shim6(packet)
            if found:
                said = shim6decode.decode(packet[found[1]:])
                format_errors += said.get("format_errors", [])
                self.assertTrue(said.get("checksum_ok", True), said)
        self.assertEqual(format_errors, self.expected_format_errors)
        for host in (host for network in self.networks for host in network.hosts):
            self.assertEqual(host.stack.lints, {})
            errors = host.stack.counters["sent Error"]
            self.assertEqual(errors, self.expected_errors if host is self.b else 0)


class Handshakes(Simulated):
    def test_four_messages(self):
        a, b = self.established()
        self.assertEqual(self.net.kinds(), ["I1", "R1", "I2", "R2"])
        self.assertTrue(self.tags_agree())
        for x, y in ((a, b), (b, a)):
            ctx = x.context(y)
            self.assertEqual([(l.address, l.verified) for l in ctx.ls_peer], [(z, True) for z in y.addresses])
            self.assertFalse(ctx.tagged)

    def test_responder_is_stateless(self):
        a, b = self.hosts()
        self.net.blocked = lambda src, dst, p: p[42] == I2
        a.stack.establish(a.ulid, b.ulid)
        self.net.run(3)
        self.assertEqual((a.state(b), b.state(a)), ("I2-SENT", None))

    def test_each_message_lost_once(self):
        for kind in (I1, R1, I2, R2):
            with self.subTest(kind=wire.NAMES[kind]):
                self.fresh()
                a, b = self.hosts()
                lost = []

                def blocked(src, dst, p):
                    if p[42] == kind and not lost:
                        lost.append(p)
                        return True
                    return False
                self.net.blocked = blocked
                a.stack.establish(a.ulid, b.ulid)
                self.assertTrue(self.net.run(30, self.both_established))
                self.assertTrue(lost and self.tags_agree())

    def test_crossing_i1(self):
        a, b = self.hosts()
        a.stack.establish(a.ulid, b.ulid)
        b.stack.establish(b.ulid, a.ulid)
        self.assertTrue(self.net.run(5, self.both_established))
        self.assertEqual(sorted(self.net.kinds()), ["I1", "I1", "R2", "R2"])
        self.assertTrue(self.tags_agree())

    def test_crossing_i2_and_i1(self):
        a, b = self.hosts()
        a.stack.establish(a.ulid, b.ulid)
        self.net.run(self.net.delay * 1.5)               # the R1 is under way
        b.stack.establish(b.ulid, a.ulid)
        self.assertTrue(self.net.run(5, self.both_established))
        self.net.run(1)
        self.assertTrue(self.tags_agree())

    def test_nobody_answers(self):
        a, b = self.hosts()
        self.net.blocked = lambda *_: True
        a.stack.establish(a.ulid, b.ulid)
        self.net.run(300)
        times = [t for t, _, _, _ in self.net.messages(I1)]
        self.assertEqual(len(times), 5)
        for i, gap in enumerate(y - x for x, y in zip(times, times[1:])):
            self.assertTrue(0.5 * 4 * 2 ** i <= gap <= 1.5 * 4 * 2 ** i)
        self.assertEqual(a.seen("state")[-1]["new"], "E-FAILED")

    def test_hold_down_ends_with_any_message(self):
        a, b = self.hosts()
        self.net.blocked = lambda *_: True
        a.stack.establish(a.ulid, b.ulid)
        self.net.run(300, lambda: a.seen("state", new="E-FAILED"))
        self.assertIsNone(a.stack.establish(a.ulid, b.ulid))
        self.net.repair()
        b.stack.establish(b.ulid, a.ulid)
        self.assertTrue(self.net.run(10, self.both_established))

    def test_icmp_says_no_support(self):
        a, b = self.hosts()
        self.net.blocked = lambda *_: True
        a.stack.establish(a.ulid, b.ulid)
        quoted = self.net.packets[-1][1]
        for forged, state in ((quoted[:-1] + b"\0", "I1-SENT"), (quoted, None)):
            a.stack.receive(wire.ipv6(b.ulid, a.ulid, 58, bytes([4, 1]) + bytes(6) + forged))
            self.assertEqual(a.state(b), state)
        self.assertIsNone(a.stack.establish(a.ulid, b.ulid))

    def test_validator_is_bound_and_expires(self):
        a, b = self.hosts()
        self.net.blocked = lambda src, dst, p: p[42] == I2
        a.stack.establish(a.ulid, b.ulid)
        self.net.run(1)
        packet = self.net.packets[-1][1]
        other = wire.ipv6(a.addresses[1], b.ulid, 140, packet[40:])
        b.stack.receive(other)
        self.assertIsNone(b.state(a))
        self.net.time += 70
        b.stack.receive(packet)
        self.assertIsNone(b.state(a))
        self.net.time -= 65
        b.stack.receive(packet)
        self.assertEqual(b.state(a), "ESTABLISHED")

    def test_foreign_locator_refused(self):
        a, b = self.hosts()
        self.expected_errors = 1
        a.identity.extra.append("2001:db8:bad::1")      # claimed with method CGA, but there is no key
        a.stack.establish(a.ulid, b.ulid)
        self.net.run(1)
        self.assertIsNone(b.state(a))
        error = self.net.messages(ERROR)[0][3]
        self.assertEqual((error.code, error.quoted[error.pointer]), (2, wire.CGA))

    def test_foreign_pds_is_silently_dropped(self):
        a, b = self.hosts()
        a.identity.pds[a.ulid] = b.identity.pds[b.ulid]
        a.stack.establish(a.ulid, b.ulid)
        self.net.run(1)
        self.assertIsNone(b.state(a))
        self.assertIn("PDS does not belong to the ULID", b.stack.drops)

    def test_forked_context(self):
        a, b = self.established()
        a.stack.establish(a.ulid, b.ulid, fii=77)
        self.net.run(2)
        x, y = a.stack.contexts.of(a.ulid, b.ulid, 77), b.stack.contexts.of(b.ulid, a.ulid, 77)
        self.assertEqual((x.state, y.state, x.ct_peer), ("ESTABLISHED", "ESTABLISHED", y.ct_local))
        self.assertTrue(x.tagged and not a.context(b).tagged)

    def test_ulid_pair_option(self):
        a, b = self.hosts()
        a.stack.establish(a.ulid, b.ulid, pair=(a.addresses[1], b.addresses[1]))
        self.assertTrue(self.net.run(5, self.both_established))
        self.assertEqual(self.net.messages(I1)[0][3].options[wire.ULID_PAIR], (a.ulid, b.ulid))
        self.assertTrue(a.context(b).tagged)

    def test_send_timeout_becomes_keepalive_timeout(self):
        a, b = self.a, self.b = Host(self.net, "A", send_timeout=11), Host(self.net, "B")
        a.stack.establish(a.ulid, b.ulid)
        self.net.run(1)
        self.assertEqual((b.context(a).reap.keepalive_timeout, a.context(b).reap.keepalive_timeout), (11, 15))


class Reachability(Simulated):
    def test_silence_needs_no_messages(self):
        self.established()
        self.net.run(600)
        self.assertEqual(len(self.net.packets), 4)

    def test_traffic_both_ways_needs_no_keepalives(self):
        self.established()
        self.stream(60)
        self.net.run(61)
        self.assertEqual(self.net.messages(KEEPALIVE), [])

    def test_traffic_one_way_is_kept_alive(self):
        a, b = self.established()
        b.ends.echo_port = None
        self.stream(60, 0.5)
        self.net.run(120)
        times = [t for t, _, _, m in self.net.messages(KEEPALIVE)]
        self.assertTrue(12 <= len(times) <= 17, times)
        self.assertEqual((self.net.messages(PROBE), a.seen("reap")), ([], []))

    def failover(self, cut, **kwargs):
        a, b = self.established(send_timeout=10)
        run = self.stream(60)
        self.net.run(5)
        self.net.cut(cut, **kwargs)
        self.net.run(80)
        self.assertTrue(run.ended)
        self.assertLess(run.longest, 13)
        self.assertEqual((a.context(b).reap.name, b.context(a).reap.name), ("Operational", "Operational"))
        return a, b

    def test_providers_fail(self):
        for host in "ab":
            with self.subTest(host=host):
                self.fresh()
                a, b = self.failover(f"2001:db8:{host}1:")
                self.assertTrue(a.context(b).tagged and b.context(a).tagged)

    def test_one_way_failures(self):
        for direction in ("to", "from"):
            for host in "ab":
                with self.subTest(direction=direction, host=host):
                    self.fresh()
                    self.failover(f"2001:db8:{host}1:", direction=direction)

    def test_pairs_that_work_one_way_only(self):
        """Only A1 to B2 and B1 to A2 carry packets."""
        a, b = self.established(send_timeout=10)
        run = self.stream(100)
        self.net.run(5)
        good = {(a.addresses[0], b.addresses[1]), (b.addresses[0], a.addresses[1])}
        self.net.blocked = lambda src, dst, p: (src, dst) not in good
        self.net.run(110)
        self.assertEqual(a.context(b).pair, (a.addresses[0], b.addresses[1]))
        self.assertEqual(b.context(a).pair, (b.addresses[0], a.addresses[1]))
        self.assertLess(run.longest, 20)

    def test_probe_schedule(self):
        a, b = self.established(send_timeout=10)
        self.net.blocked = lambda *_: True
        a.ends.send(a.ulid, b.ulid, 1, 7, b"x")
        start = self.net.time
        self.net.run(400)
        probes = [(t, m) for t, _, _, m in self.net.messages(PROBE)]
        self.assertTrue(9.4 < probes[0][0] - start <= 10)
        nominal = [0.5, 0.5, 0.5, 1, 2, 4, 8, 16, 32, 60, 60]
        for wanted, (x, _), (y, _) in zip(nominal, probes, probes[1:]):
            self.assertTrue(0.79 * wanted < y - x < 1.21 * wanted, (wanted, y - x))
        self.assertEqual(len({(m.sent[0].src, m.sent[0].dst) for _, m in probes[:4]}), 4)
        self.assertTrue(all(m.state == wire.EXPLORING for _, m in probes))
        self.net.repair()
        self.assertTrue(self.net.run(70, lambda: a.context(b).reap.name == "Operational"))

    def test_forged_report_moves_nothing(self):
        a, b = self.established()
        x, y = a.context(b), b.context(a)
        pair = (b.ulid, a.ulid)
        forged = Message(PROBE, x.ct_local, state=wire.INBOUND_OK, sent=[wire.Report(*pair, 5)],
                         received=[wire.Report(a.addresses[1], b.addresses[1], 6)])
        a.stack.receive(wire.ipv6(*pair, 140, wire.encode(forged)))
        self.assertEqual(x.pair, x.ulids)


class Recovery(Simulated):
    def recovered(self, a, b, trigger):
        self.assertIn("R1bis", self.net.kinds(trigger))
        self.assertIn("I2bis", self.net.kinds(trigger))
        self.assertTrue(self.both_established() and self.tags_agree())

    def test_by_tagged_payload(self):
        for loser in "AB":
            with self.subTest(loser=loser):
                self.fresh()
                a, b = self.established(send_timeout=10)
                self.net.cut("2001:db8:a1:")
                run = self.stream(60)
                self.net.run(30)
                since = self.net.time
                (a if loser == "A" else b).stack.forget()
                self.net.run(5)
                if loser == "B":
                    self.recovered(a, b, since)
                else:        # A sends plain packets on the dead pair; B's packets bring the R1bis
                    b.ends.start(b.ulid, a.ulid, 7, 10, 100, 0.1)
                    self.net.run(5)
                    self.recovered(a, b, since)
                self.net.run(40)
                self.assertLess(run.longest, 25)

    def test_by_exploration(self):
        a, b = self.established()
        since = self.net.time
        b.stack.forget()
        a.context(b).reap.explore("test")
        self.net.run(3)
        self.recovered(a, b, since)
        m = self.net.messages(I2BIS)[0][3]
        self.assertEqual(m.packet_tag, self.net.messages(R1BIS)[0][3].tag)
        self.assertTrue({wire.PDS, wire.LOCATOR_LIST} <= set(m.options))

    def test_by_new_i1(self):
        a, b = self.established()
        old = a.context(b).ct_peer
        b.stack.forget()
        b.stack.establish(b.ulid, a.ulid)
        self.net.run(2)
        self.assertTrue(self.both_established() and self.tags_agree())
        self.assertNotEqual(a.context(b).ct_peer, old)

    def test_r2_lost(self):
        a, b = self.established()
        b.stack.forget()
        self.net.blocked = lambda src, dst, p: p[42] == R2
        a.context(b).reap.explore("test")
        self.net.run(1)
        self.assertEqual((a.state(b), b.state(a)), ("I2BIS-SENT", "ESTABLISHED"))
        self.net.repair()
        self.assertTrue(self.net.run(10, lambda: a.state(b) == "ESTABLISHED") and self.tags_agree())

    def test_fallback_to_i1(self):
        a, b = self.established()
        b.stack.forget()
        self.net.blocked = lambda src, dst, p: p[42] == I2BIS
        a.context(b).reap.explore("test")
        self.assertTrue(self.net.run(100, self.both_established))
        self.assertEqual(len(self.net.messages(I2BIS)), 3)
        self.assertTrue(self.tags_agree())

    def test_confusion(self):
        """B forgets a context and gives its tag to another one of the same two hosts."""
        a, b = self.established()
        lost = a.context(b)
        b.stack.forget()
        b.stack.contexts.rng = type("Fixed", (), {"getrandbits": lambda _, n: lost.ct_peer})()
        b.stack.establish(b.addresses[1], a.ulid)
        self.net.run(2)
        new = a.stack.contexts.of(a.ulid, b.addresses[1])
        self.assertEqual((new.state, new.ct_peer), ("ESTABLISHED", lost.ct_peer))
        self.assertIsNone(a.context(b))


class Updating(Simulated):
    def test_preferences(self):
        a, b = self.established()
        a.stack.change_locators(a.context(b), priorities={a.addresses[0]: 9})
        self.net.run(1)
        self.assertEqual([l.priority for l in b.context(a).ls_peer], [9, 0])
        self.assertEqual(self.net.kinds()[4:], ["UpdateRequest", "UpdateAck"])
        self.assertIsNone(a.context(b).update)

    def test_broken_moves_the_peer(self):
        a, b = self.established()
        a.stack.change_locators(a.context(b), flags={a.addresses[0]: BROKEN})
        self.net.run(3)
        self.assertEqual(b.context(a).pair[1], a.addresses[1])
        self.assertEqual(a.context(b).pair[0], a.addresses[1])

    def test_large_datagrams_are_fragmented_above_the_shim(self):
        a, b = self.established()
        a.stack.change_locators(a.context(b), keep=[a.addresses[1]])
        self.net.run(3)
        number = a.ends.start(a.ulid, b.ulid, 7, 10, 5000, 0.1)
        since = self.net.time
        self.net.run(3)
        self.assertEqual(a.ends.runs[number].summary()["lost"], 0)
        self.assertEqual(self.net.payload(True, since), 2 * 10 * 5)

    def test_drop(self):
        a, b = self.established()
        a.stack.change_locators(a.context(b), keep=[a.addresses[1]])
        self.net.run(3)
        self.assertEqual([l.address for l in b.context(a).ls_peer], [a.addresses[1]])
        self.assertEqual((a.context(b).pair[0], b.context(a).pair[1]), (a.addresses[1],) * 2)
        run = self.stream(3)
        self.net.run(5)
        self.assertEqual((run.summary()["lost"], run.summary()["echoed"]), (0, 30))

    def test_add_signed(self):
        key = cga.PrivateKey.from_pem((HERE / "data/keys/rsa1024.pem").read_text())
        a, b = self.a, self.b = Host(self.net, "A", key=key), Host(self.net, "B")
        a.stack.establish(a.ulid, b.ulid)
        self.net.run(1)
        new = "2001:db8:a3::1"
        a.identity.extra.append(new)
        a.stack.change_locators(a.context(b), add=[Locator(new, wire.CGA, usable=False)])
        self.assertNotIn(new, [p[0] for p in a.context(b).pairs()])
        self.net.run(1)
        self.assertIn(wire.SIGNATURE, self.net.messages(UPDATE_REQUEST)[0][3].options)
        self.assertEqual(b.context(a).ls_peer[-1].address, new)
        self.net.cut("2001:db8:a1:", "2001:db8:a2:")
        a.context(b).reap.explore("test")
        self.net.run(10)
        self.assertEqual((a.context(b).pair[0], b.context(a).pair[1]), (new, new))

    def test_lost_and_replaced(self):
        a, b = self.established()
        self.net.blocked = lambda src, dst, p: p[42] == UPDATE_ACK
        a.stack.change_locators(a.context(b), keep=[a.addresses[1]])
        self.net.run(20)
        requests = [m for _, _, _, m in self.net.messages(UPDATE_REQUEST)]
        self.assertGreaterEqual(len(requests), 3)
        self.assertEqual(len({m.request_nonce for m in requests}), 1)
        a.stack.change_locators(a.context(b), priorities={a.addresses[1]: 3})
        self.net.repair()
        self.net.run(200)
        last = self.net.messages(UPDATE_REQUEST)[-1][3]
        self.assertNotEqual(last.request_nonce, requests[0].request_nonce)
        self.assertIn(wire.LOCATOR_LIST, last.options)
        self.assertEqual([(l.address, l.priority) for l in b.context(a).ls_peer], [(a.addresses[1], 0)])

    def provoke(self, code, message, octet=None):
        """Sends it to B and looks at the Error that comes back."""
        self.expected_errors += 1
        a, b = self.a, self.b
        a.stack.transmit(a.context(b).pair, message)
        self.net.run(1)
        error = self.net.messages(ERROR)[-1][3]
        self.assertEqual(error.code, code)
        if octet is not None:
            self.assertEqual(error.quoted[error.pointer], octet)
        return error

    def request(self, **options):
        return Message(UPDATE_REQUEST, self.a.context(self.b).ct_peer, request_nonce=7, **options)

    def test_errors(self):
        a, b = self.established()
        # The one request below that breaks the form of an option, not only what it has to contain.
        self.expected_format_errors = ["LocatorPreferences: element length"]
        generation = a.context(b).gen_local
        before = [(l.address, l.priority) for l in b.context(a).ls_peer]
        self.provoke(1, self.request(unknown=[(99, True, b"abc", 0)]), 0)
        error = self.provoke(3, self.request(options={
            wire.PREFERENCES: Preferences(generation + 1, 1, bytes(2))}))
        self.assertEqual(error.quoted[error.pointer:error.pointer + 4], (generation + 1).to_bytes(4, "big"))
        self.provoke(4, self.request(options={wire.PREFERENCES: Preferences(generation, 1, bytes(3))}), 0)
        self.provoke(4, self.request(options={wire.PREFERENCES: Preferences(generation, 0, bytes(2))}), 0)
        bad = wire.LocatorList(5, [(wire.HBA, a.addresses[0]), (201, a.addresses[1])])
        self.provoke(2, self.request(options={wire.LOCATOR_LIST: bad}), 201)
        self.assertEqual([(l.address, l.priority) for l in b.context(a).ls_peer], before)
        self.assertEqual(self.net.messages(UPDATE_ACK), [])

    def test_answers_to_errors(self):
        a, b = self.established()
        for codes, requests, accepted in (([3], 2, True), ([2, 2], 2, False), ([1], 1, False)):
            since = self.net.time
            self.expected_errors += len(codes)
            b.stack.refusals[:] = codes
            known = b.context(a).gen_peer
            keep = a.addresses if len(a.context(b).ls_local) == 1 else a.addresses[:1]
            missing = [x for x in keep if not a.context(b).local_locator(x)]
            a.stack.change_locators(a.context(b), keep=keep, add=[
                Locator(x, wire.HBA, usable=False) for x in missing])
            self.net.run(60)
            self.assertEqual(len(self.net.messages(UPDATE_REQUEST, since)), requests)
            self.assertEqual(b.context(a).gen_peer != known, accepted)
            self.assertIsNone(a.context(b).update)

    def test_unknown_type_and_option(self):
        a, b = self.established()
        self.expected_errors = 1
        head = bytes([59, 1, 100, 0])
        octets = head + wire.checksum(head + bytes(12)).to_bytes(2, "big") + bytes(10)
        a.stack.send(wire.ipv6(*a.context(b).pair, 140, octets))
        self.net.run(1)
        error = self.net.messages(ERROR)[0][3]
        self.assertEqual((error.code, error.pointer, error.quoted[42]), (0, 42, 100))
        a.stack.transmit(a.context(b).pair, self.request(unknown=[(99, False, b"abc", 0)]))
        self.net.run(1)
        self.assertEqual(len(self.net.messages(UPDATE_ACK)), 1)

    def test_wrong_address_gets_r1bis(self):
        a, b = self.established()
        a.stack.send(wire.ipv6("2001:db8:dead::1", b.ulid, 140, wire.encode(self.request())))
        self.net.run(0.01)
        self.net.run(1)
        self.assertEqual([dst for _, _, dst, _ in self.net.messages(R1BIS)], ["2001:db8:dead::1"])


class Robustness(Simulated):
    def test_mutated_packets(self):
        a, b = self.established()
        self.stream(2)
        a.stack.change_locators(a.context(b), priorities={a.addresses[0]: 1})
        a.context(b).reap.explore("test")
        self.net.run(5)
        rng = random.Random(11)
        samples = [p for _, p in self.net.packets]
        b.stack.send = lambda packet: None
        for _ in range(20000):
            packet = bytearray(rng.choice(samples))
            for _ in range(rng.randrange(1, 4)):
                packet[rng.randrange(len(packet))] = rng.getrandbits(8)
            if packet[6] == 140 and len(packet) > 48:
                packet[44:46] = bytes(2)
                packet[44:46] = wire.checksum(packet[40:40 + 8 * (packet[41] + 1)]).to_bytes(2, "big")
            b.stack.receive(bytes(packet[:rng.randrange(40, len(packet) + 1)] if rng.random() < .2 else packet))
            self.net.time += 0.001
            b.stack.timers.run()
        b.stack.lints.clear()
        self.expected_errors = b.stack.counters["sent Error"]


if __name__ == "__main__":
    unittest.main(verbosity=1)
