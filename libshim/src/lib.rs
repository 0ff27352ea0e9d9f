//! C library of shim6. Its calls arrive with the application interface; for now this crate only fixes the
//! name, the link type and the dependency on the control client (feature `client`, nothing of the daemon).

pub use shim6::addr;
