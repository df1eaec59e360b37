//! Whole cells: the tests in which the components meet, and the benchmarks of the bars.
//!
//! The only crate that may see two components. Everything here drives the programs that users run, with the files that
//! `overlay cell init` writes; nothing is configured specially.

pub mod bench;
