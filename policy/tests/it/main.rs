#![allow(clippy::unwrap_used, reason = "a test fails by panic")]

mod bounds;
mod built;
mod cases;
mod explain;
mod properties;
mod request;
mod vectors;
