//! The registry against the files, and the examples against the schemas.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod examples;
mod files;
