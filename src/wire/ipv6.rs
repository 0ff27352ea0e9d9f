//! IPv6 headers.
