//! Whole cells: made by `overlay cell init`, run by `overlay cell up`, used by the operator's command.
#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod bare;
mod cell;
mod enrol;
mod enrol_faults;
mod enrol_load;
mod enrol_rooms;
mod faults;
mod fleet;
mod login;
mod people;
mod provider;
mod refusals;
mod renewal;
mod replicate;
mod signing;
mod world;
