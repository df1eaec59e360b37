//! Everything that the tokens crate promises, from outside: numbered cases, vectors, properties.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod callouts;
mod cases;
mod files;
mod properties;
mod provision;
mod requests;
mod support;
mod vectors;
