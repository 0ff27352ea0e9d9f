//! Engines against each other in a simulated network: several hosts, several paths between them, virtual time.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod bulk;
mod craft;
mod edges;
mod establish;
mod failover;
mod fast;
mod flow;
mod hints;
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
mod settings;
mod soak;
mod steer;
mod table;
mod timers;
mod update;
mod world;
