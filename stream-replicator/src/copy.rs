//! Copies a stream: what a copy looks like, what is under way, and where the copying stands.
//!
//! Everything below is pure: messages, answers and times go in, and what is to be done comes out. What touches a broker
//! is in `service/`.

pub(crate) mod answer;
pub(crate) mod flight;
pub(crate) mod header;
pub(crate) mod incoming;
pub(crate) mod key;
pub(crate) mod lanes;
pub(crate) mod position;
mod silence;
pub(crate) mod window;
