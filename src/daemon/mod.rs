//! The daemon: the one loop that joins the engine, the data plane, the kernel and the control socket, and everything
//! that only a whole process needs. The only place that reads the clock and the randomness of the operating system.

pub mod addresses;
pub mod args;
pub mod clock;
pub mod config;
pub mod doctor;
pub mod driver;
pub mod entropy;
pub mod forks;
pub mod guard;
pub mod heartbeat;
pub mod host;
pub mod identity;
mod idle;
pub mod journal;
pub mod lent;
pub mod locators;
pub mod logging;
pub mod metrics;
pub mod only;
pub mod passing;
pub mod policy;
pub mod privilege;
pub mod record;
pub mod requests;
pub mod rules;
pub mod sockets;
pub mod start;
pub mod turns;
pub mod view;
pub mod waits;
