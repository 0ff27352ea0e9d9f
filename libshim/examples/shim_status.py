#!/usr/bin/env python3
"""Asks for multihoming on a connection of its own and tells by which pair of locators it goes.

    shim_status.py HOST PORT [SECONDS]

libshim through ctypes: the same calls as in C, with the structure's fields in the order of shim.h.
"""

import ctypes
import socket
import sys


class Status(ctypes.Structure):
    """struct shim_status."""

    _fields_ = (
        [(name, ctypes.c_int32) for name in ("associated", "state", "reap_state", "tagged")]
        + [("context", ctypes.c_uint64), ("fii", ctypes.c_uint32), ("protocol", ctypes.c_uint32)]
        + [("local_port", ctypes.c_uint16), ("peer_port", ctypes.c_uint16)]
        + [("send_timeout_ms", ctypes.c_uint32)]
        + [(name, ctypes.c_uint8 * 16)
           for name in ("ulid_local", "ulid_peer", "locator_local", "locator_peer")]
        + [(name, ctypes.c_int64) for name in ("age_ms", "last_out_ms", "last_in_ms", "rtt_us")]
        + [(name, ctypes.c_uint64)
           for name in ("packets_out", "packets_in", "octets_out", "octets_in",
                        "probes_out", "probes_in", "switches")]
        + [("local_locators", ctypes.c_uint32), ("peer_locators", ctypes.c_uint32)]
    )


lib = ctypes.CDLL("libshim.so.0")
lib.shim_strerror.restype = lib.shim_last_error.restype = ctypes.c_char_p


def check(result):
    """Raises what a call has to say, unless it succeeded."""
    if result != 0:
        raise OSError(f"{lib.shim_strerror(result).decode()}: {lib.shim_last_error().decode()}")


def address(octets):
    """An address as text."""
    return socket.inet_ntop(socket.AF_INET6, bytes(octets))


def main(host, port, seconds="5"):
    """Connects, asks, tells."""
    shim, status = ctypes.c_void_p(), Status()
    check(lib.shim_open(None, 2000, ctypes.byref(shim)))
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        sock.connect((host, int(port)))
        support = ctypes.c_int()
        wait_ms = int(float(seconds) * 1000)
        check(lib.shim_check_peer(shim, sock.fileno(), None, wait_ms, ctypes.byref(support)))
        print("the peer knows Shim6:", ("no", "yes", "nobody can tell")[support.value])
        check(lib.shim_get_status(shim, sock.fileno(), ctypes.byref(status), ctypes.sizeof(status)))
        print("ULIDs", address(status.ulid_local), address(status.ulid_peer))
        if status.associated:
            print("locators", address(status.locator_local), address(status.locator_peer))
    lib.shim_close(shim)


if __name__ == "__main__":
    main(*sys.argv[1:])
