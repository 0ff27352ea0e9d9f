#!/usr/bin/env python3
"""A second Shim6 implementation (RFC 5533, 5534, 5535), for tests against shim6d.

  peer.py --prefix 2001:db8:b1::/64@p1 [--prefix …@DEV] [--send-timeout 2] [--key RSA.pem]

Runs as root in a network namespace of its own, where no shim6d runs. Makes an HBA set for the
prefixes (HBA/CGA with --key), configures its addresses on the devices, answers every peer, and
echoes UDP datagrams for the port --echo-port from user space, above its shim. Takes commands on
standard input (or from --commands), one per line; writes one JSON object per event on standard output:

  establish PEER_ULID [LOCAL_ULID]     send I1
  establish PEER LOCAL SRC DST         the same between other locators (ULID Pair option)
  fork FII                             a forked instance of the context
  send N [SIZE [INTERVAL_MS [PORT]]]   N numbered datagrams to the peer, which has to echo them
  stop                                 end the runs of send
  explore                              start a full exploration
  update drop|prefer|break|add ADDR…   tell the peer about our locators
  forget                               lose the contexts silently
  send-error CODE                      an Error message about the peer's last message
  refuse CODE…                         Errors instead of the next acknowledgements (no code: ends it)
  send-raw HEX [sum]                   those octets as a Shim6 header; sum: with the right checksum
  provoke NAME                         a message that breaks a rule (provoke alone lists them)
  fuzz N                               N messages seen or sent before, with octets changed at random
  peer PEER_ULID                       the peer that the commands above mean (the first one else)
  status                               contexts, counters, format errors in the peer's messages
  quit                                 remove the addresses and end (end of input does the same)
"""
import argparse
import ipaddress
import json
import os
import random
import select
import signal
import sys
import time

sys.dont_write_bytecode = True

import cga
import wire
from context import Config, Identity, Locator
from endpoints import Endpoints
from net import Addresses, Sockets
from provoke import PROVOCATIONS, finished
from stack import Stack


def now():
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def write(name, fields):
    print(json.dumps({"t": round(now(), 4), "ev": name, **fields}), flush=True)


def canonical(text):
    return wire.ntoa(wire.aton(text))


class Usage(ValueError):
    """A command that cannot be carried out; said in an event."""


class Peer:
    def __init__(self, args):
        rng = random.Random(args.seed) if args.seed is not None else random.SystemRandom()
        key = None
        if args.key:
            with open(args.key, encoding="ascii") as file:
                key = cga.PrivateKey.from_pem(file.read())
        rows = [prefix.split("@") for prefix in args.prefix]
        prefixes = [ipaddress.IPv6Network(prefix).network_address.packed[:8] for prefix, _ in rows]
        members = cga.generate_set(rng, prefixes, key, args.sec)
        self.device = dict(zip((a for a, _ in members), (device for _, device in rows)))
        self.devices = [device for _, device in rows]
        self.addresses = Addresses(list(self.device.items()))
        self.addresses.configure()
        self.sockets = Sockets([args.echo_port, *range(40001, 40033)], write)
        config = Config(send_timeout=args.send_timeout)
        # A peer that is restarted with the same seed must not repeat its tags and nonces.
        self.stack = Stack(Identity(members, key), self.sockets.send, now, random.SystemRandom(),
                           write, config)
        self.ends = Endpoints(self.stack, args.echo_port, write)
        self.echo_port, self.peer, self.last, self.running = args.echo_port, None, {}, True
        # A FIFO is opened for writing too, so that it does not end with each writer.
        self.input = os.open(args.commands, os.O_RDWR) if args.commands else 0
        receive_control = self.stack.control

        def remember(packet, src, dst, at):
            self.last[src] = packet
            receive_control(packet, src, dst, at)
        self.stack.control = remember

    # -- commands ---------------------------------------------------------------------------------

    def context(self):
        rows = [c for c in self.stack.contexts if self.peer in (None, c.ulid_peer) and c.fii == 0]
        if not rows:
            raise Usage("no context")
        return rows[0]

    def do_establish(self, peer, local=None, *pair):
        local = local or self.stack.identity.addresses()[0]
        self.peer = canonical(peer)
        pair = tuple(canonical(a) for a in pair) if len(pair) == 2 else None
        if self.stack.establish(canonical(local), self.peer, pair=pair) is None:
            raise Usage("there is a context already, or a hold-down")

    def do_fork(self, fii):
        if self.stack.establish(*self.context().ulids, fii=int(fii)) is None:
            raise Usage("there is such an instance already")

    def do_peer(self, peer):
        self.peer = canonical(peer)

    def do_send(self, count, size="200", interval_ms="20", port=None):
        try:
            local, peer = self.context().ulids
        except Usage:
            if self.peer is None:
                raise
            local, peer = self.stack.identity.addresses()[0], self.peer
        number = self.ends.start(local, peer, int(port or self.echo_port), int(count), int(size),
                                 int(interval_ms) / 1000)
        write("run", {"run": number})

    def do_stop(self):
        for run in self.ends.runs.values():
            run.stop()

    def do_explore(self):
        self.context().reap.explore("command")

    def do_update(self, what, *texts):
        ctx, addresses = self.context(), [canonical(text) for text in texts]
        own = [l.address for l in ctx.ls_local]
        if what != "add" and (unknown := [a for a in addresses if a not in own]) or not addresses:
            raise Usage(f"not in the locator list: {unknown or texts}")
        if what == "drop":
            self.stack.change_locators(ctx, keep=[a for a in own if a not in addresses])
        elif what == "prefer":
            self.stack.change_locators(ctx, priorities={
                a: addresses.index(a) if a in addresses else 100 for a in own})
        elif what == "break":
            self.stack.change_locators(ctx, flags={
                a: wire.BROKEN if a in addresses else 0 for a in own})
        elif what == "add":
            self.add(ctx, [a for a in addresses if a not in own])
        else:
            raise Usage(f"update {what}")

    def add(self, ctx, addresses):
        """Members of the set may come back; anything else needs a signature."""
        identity, device = self.stack.identity, self.devices[-1]
        new = [a for a in addresses if not identity.owns(a)]
        if new and identity.key is None:
            raise Usage("without a key nothing can be added to the HBA set")
        Addresses([(a, device) for a in new]).configure()
        self.addresses.rows += [(a, device) for a in new]
        identity.extra += new
        self.stack.change_locators(ctx, add=[
            Locator(a, wire.HBA if a in identity.pds else wire.CGA, usable=False) for a in addresses])

    def do_forget(self):
        write("forgot", {"contexts": self.stack.forget(self.peer)})

    def do_send_error(self, code):
        ctx = self.context()
        packet = next((self.last[l.address] for l in ctx.ls_peer if l.address in self.last), None)
        if packet is None:
            raise Usage("no message of the peer to quote")
        self.stack.send_error(int(code), 42, packet, ctx)

    def do_refuse(self, *codes):
        self.stack.refusals[:] = [int(code) for code in codes]

    def do_send_raw(self, text, how=""):
        octets = bytes.fromhex(text)
        self.stack.transmit_raw(self.context().pair, finished(octets) if how == "sum" else octets)

    def do_provoke(self, name=None):
        if name not in PROVOCATIONS:
            return write("provocations", {"names": {n: what for n, (_, what) in PROVOCATIONS.items()}})
        build, expected = PROVOCATIONS[name]
        ctx = self.context()
        write("provoke", {"name": name, "expected": expected})
        return self.stack.transmit_raw(ctx.pair, build(self.stack, ctx))

    def do_fuzz(self, count):
        """The checksums are right, else one check would stop them all."""
        ctx, rng = self.context(), random.Random(int(count))
        samples = [wire.encode(build) for build in (
            wire.Message(wire.KEEPALIVE, ctx.ct_peer), wire.Message(wire.UPDATE_ACK, ctx.ct_peer))]
        samples += [packet[40:] for packet in self.last.values()]
        samples += [build(self.stack, ctx) for build, _ in PROVOCATIONS.values()]
        for _ in range(int(count)):
            octets = bytearray(rng.choice(samples))
            for _ in range(rng.randrange(1, 5)):
                octets[rng.randrange(len(octets))] = rng.getrandbits(8)
            octets[2] &= 0x7f
            octets = octets[:rng.randrange(1, len(octets))] if rng.random() < 0.1 else octets
            octets = finished(bytes(octets)) if len(octets) > 6 else bytes(octets)
            self.sockets.send(wire.ipv6(*rng.choice(ctx.pairs()), wire.SHIM6, octets))
        write("fuzzed", {"messages": int(count)})

    def do_status(self):
        write("status", {**self.stack.status(), **self.ends.status(),
                         "send_failures": self.sockets.failures})

    def do_quit(self):
        self.running = False

    def command(self, line):
        words = line.split()
        if not words:
            return
        call = getattr(self, "do_" + words[0].replace("-", "_"), None)
        try:
            if call is None:
                raise Usage("no such command")
            call(*words[1:])
        except (Usage, ValueError, TypeError, OSError) as error:
            write("command_failed", {"command": line.strip(), "error": str(error)})

    # -- main loop --------------------------------------------------------------------------------

    def run(self):
        addresses = self.stack.identity.addresses()
        write("ready", {"addresses": addresses, "ulid": addresses[0]})
        rest = b""
        while self.running:
            due = self.stack.timers.next()
            wait = None if due is None else max(0.0, due - now())
            ready, _, _ = select.select([self.sockets, self.input], [], [], wait)
            for packet in self.sockets.receive() if self.sockets in ready else ():
                self.stack.receive(packet)
            self.stack.timers.run()
            if self.input in ready:
                octets = os.read(self.input, 65536)
                if not octets:
                    break
                *lines, rest = (rest + octets).split(b"\n")
                for line in lines:
                    self.command(line.decode("ascii", "replace"))

    def end(self):
        self.addresses.remove()
        write("end", {"sent": dict(self.stack.counters), "format_errors": dict(self.stack.lints),
                      "malformed": dict(self.stack.malformed)})


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prefix", action="append", required=True, metavar="PREFIX@DEV",
                        help="a /64 and the link it belongs to; the first one gives the ULID")
    parser.add_argument("--key", help="RSA key in PEM: HBA/CGA instead of HBA-only addresses")
    parser.add_argument("--sec", type=int, default=0, choices=(0, 1, 2))
    parser.add_argument("--send-timeout", type=int, default=15, help="whole seconds, default 15")
    parser.add_argument("--echo-port", type=int, default=5002)
    parser.add_argument("--commands", metavar="FIFO", help="take commands from there")
    parser.add_argument("--seed", type=int, help="make the same addresses every time")
    peer = Peer(parser.parse_args())

    def stop(*_):
        peer.running = False
        raise KeyboardInterrupt
    signal.signal(signal.SIGTERM, stop)
    try:
        peer.run()
    except KeyboardInterrupt:
        pass
    finally:
        peer.end()


if __name__ == "__main__":
    main()
