//! Vectors, conformance cases and published schemas, against the public face of the crate.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod conformance;
mod schemas;
mod vectors;
