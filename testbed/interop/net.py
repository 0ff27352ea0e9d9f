"""Sockets: packets between the stack and the network namespace that this process runs in.

Everything that arrives is seen by an AF_PACKET socket; the kernel sees it too and would answer
protocol 140 with a Parameter Problem and our UDP ports with Port Unreachable, if a raw socket and
UDP sockets with a filter that drops all did not take them. What we send passes the kernel's routing with its
source address as routing key (IPV6_PKTINFO), so that each provider gets its own addresses.
"""
import ctypes
import errno
import socket
import struct
import subprocess

import wire

ETH_P_IPV6, PACKET_HOST, SOL_PACKET, PACKET_AUXDATA = 0x86dd, 0, 263, 8
TP_STATUS_CSUMNOTREADY = 8
IPV6_FREEBIND, SO_RCVBUFFORCE, SO_ATTACH_FILTER = 78, 33, 26
BATCH = 64


class Sockets:
    def __init__(self, ports, event):
        self.event, self.failures = event, 0
        self.tap = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_IPV6))
        self.tap.setblocking(False)
        self.tap.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
        self.tap.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        self.raw = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW)
        self.raw.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
        self.deaf = [socket.socket(socket.AF_INET6, socket.SOCK_RAW, wire.SHIM6)]
        for port in ports:
            sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
            sock.bind(("::", port))
            self.deaf.append(sock)
        for sock in self.deaf:
            drop_all(sock)

    def fileno(self):
        return self.tap.fileno()

    def send(self, packet):
        source = packet[8:24] + struct.pack("@i", 0)
        try:
            self.raw.sendmsg([packet], [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, source)], 0,
                             (wire.ntoa(packet[24:40]), 0))
        except OSError as error:
            # A link that is down, a route that is gone: for the protocol the packet is lost.
            self.failures += 1
            if self.failures <= 20:
                self.event("send_failed", {"src": wire.ntoa(packet[8:24]),
                                           "dst": wire.ntoa(packet[24:40]),
                                           "error": errno.errorcode.get(error.errno, str(error))})

    def receive(self):
        """Packets that have come for this host, at most BATCH at a time."""
        for _ in range(BATCH):
            try:
                packet, control, _, address = self.tap.recvmsg(65536, 256)
            except BlockingIOError:
                return
            except OSError as error:                 # ENETDOWN, once, when a link goes down
                self.event("receive_failed", {"error": errno.errorcode.get(error.errno, str(error))})
                return
            if address[2] == PACKET_HOST:
                yield completed(packet) if unsummed(control) else packet


def drop_all(sock):
    """A filter of one instruction, "return 0". A full receive buffer would not do: with no socket
    left that takes the packet, the kernel answers it."""
    code = ctypes.create_string_buffer(struct.pack("@HBBI", 0x06, 0, 0, 0))
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER,
                    struct.pack("@HP", 1, ctypes.addressof(code)))


def unsummed(control):
    """The sender's kernel left the checksum to a network card that a virtual link does not have."""
    return any(level == SOL_PACKET and kind == PACKET_AUXDATA
               and struct.unpack_from("@I", octets)[0] & TP_STATUS_CSUMNOTREADY
               for level, kind, octets in control)


def completed(packet):
    """Fills in a plain UDP packet's checksum, as the card would have done."""
    if packet[6] != wire.UDP or len(packet) < 48:
        return packet
    src, dst = wire.addresses(packet)
    length = struct.unpack_from("!H", packet, 44)[0]
    segment = packet[40:46] + bytes(2) + packet[48:40 + length]
    total = wire.upper_checksum(src, dst, wire.UDP, segment) or 0xffff
    return packet[:46] + struct.pack("!H", total) + packet[48:]


class Addresses:
    """Configures the identity's addresses on the links of their prefixes, and takes them away."""

    def __init__(self, rows):
        self.rows = rows                             # [(address, device)]

    def configure(self):
        for address, device in self.rows:
            subprocess.run(["ip", "-6", "address", "replace", f"{address}/64", "dev", device, "nodad"],
                           check=True)

    def remove(self):
        for address, device in self.rows:
            subprocess.run(["ip", "-6", "address", "del", f"{address}/64", "dev", device],
                           check=False, stderr=subprocess.DEVNULL)
