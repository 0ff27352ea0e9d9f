//! Engines against each other in a simulated network: several hosts, several paths between them, virtual time.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod craft;
mod establish;
mod failover;
mod fast;
mod interface;
mod journal;
mod lessons;
mod locators;
mod many;
mod mutate;
mod plane;
mod recover;
mod refuse;
mod rows;
mod soak;
mod steer;
mod table;
mod timers;
mod update;
mod world;
