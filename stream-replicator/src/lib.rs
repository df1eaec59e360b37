//! Copies streams from one broker to another: in order, effectively once, in full or sampled, with word of which values
//! (nodes, mostly) appeared, fell silent and returned.

mod advise;
pub mod compat;
mod config;
mod copy;
mod error;
#[doc(hidden)]
pub mod foreign;
mod host;
mod login;
mod mapping;
mod metrics;
mod percent;
#[doc(hidden)]
pub mod replay;
mod sample;
mod service;
mod state;
mod status;
mod tls;
mod track;

pub use config::{
    Advisory, Beat, Config, Control, Endpoint, Heartbeats, Inspect, Login, Order, Poison,
    PoisonAction, RawConfig, Reaction, Sampling, Side, Start, StreamConfig, Tls, Window, Writers,
};
pub use error::StartError;
pub use mapping::{Mapping, MappingError};
pub use service::run;
