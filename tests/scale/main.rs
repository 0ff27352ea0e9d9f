//! The simulator at scale: many hosts, faults of every kind, whole scenarios of ten minutes and more in milliseconds.
//!
//! See docs/simulator.md. `SHIM6_SIM_SEEDS` says how many scenarios run, `SHIM6_SIM_FROM` from which seed on,
//! `SHIM6_SIM_SEED` names one to look at, `SHIM6_SIM_WITHOUT` operations of it to leave out.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod act;
mod attack;
mod host;
mod judge;
mod matrix;
mod message;
mod net;
mod plan;
mod pool;
mod record;
mod rng;
mod runner;
mod settle;
mod signs;
mod steer;
mod traffic;
mod world;
