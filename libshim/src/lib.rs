//! C library of shim6: what an application can ask of the shim for its own sockets.
//!
//! The conventions of the interface (names, ownership, NULL, errors, threads, fork) are in `docs/libshim.md`, the C
//! declarations in `include/shim.h`, which `tests/header.rs` generates from here. There is no protocol logic in this
//! crate: each call is one request to `shim6d` over [`shim6::control::client`].
//!
//! | Module | What it holds |
//! |---|---|
//! | [`result`] | `shim_result` codes, their texts and errno values, the last error of a thread |
//! | [`boundary`] | nothing unwinds into C, no pointer is trusted to be non-NULL |
//! | [`handle`] | the connection: time limits, threads, fork, a daemon that restarts |
//! | [`types`] | the structures that calls fill in |
//! | [`socket`], [`peer`], [`host`], [`events`] | the calls |
//! | [`rfc6316`], [`sockopt`] | RFC 6316's names, and its options by `shim_setsockopt` and `shim_getsockopt` |
//! | [`ancillary`], [`recv_options`] | its ancillary data by `shim_sendmsg` and `shim_recvmsg`, and who wants it |
// C spells its types in lower case, and every function that C calls reads C's pointers.
#![allow(non_camel_case_types, unsafe_code)]

pub mod ancillary;
pub mod boundary;
pub mod events;
pub mod handle;
pub mod host;
pub mod peer;
pub mod recv_options;
pub mod result;
pub mod rfc6316;
pub mod socket;
pub mod sockopt;
pub mod types;
