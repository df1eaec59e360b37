//! Whole cells: made by `overlay cell init`, run by `overlay cell up`, used by the operator's command.
#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod cell;
mod faults;
mod fleet;
mod refusals;
mod world;
