//! ICMPv6 errors.
