//! Tests of the REAP machine: virtual time, modelled activity cells, two machines on n×m paths.

mod answers;
mod matrix;
mod pairs;
mod property;
mod reports;
mod runs;
mod side;
mod sim;
mod standby;
mod testing_pairs;
mod timing;
mod watch;
