//! A broker, a bad network and a patience limit for tests.
//!
//! What must hold:
//! - Nothing here ships: the crate is a dev-dependency of crates whose tests need it, and the load of `e2e`'s benchmarks.
//! - Everything listens on 127.0.0.1 and on free ports; nothing outlives its value.
//! - What cannot be set up is a panic that says what to do, because the caller is a test.
//! - A test waits for a condition with a limit ([`eventually()`]); nothing here sleeps and hopes.
#![warn(missing_docs)]

mod admin;
mod background;
mod broker;
pub mod emulated;
mod env;
mod eventually;
mod http;
mod logs;
pub mod mint;
pub mod nats_server;
mod openid;
mod output;
mod port;
mod process;
mod proxy;
mod pty;
mod skip;
mod slapd;
pub mod vectors;

pub use admin::Admin;
pub use background::Background;
pub use broker::{Broker, Builder, Cluster, TlsFiles};
pub use eventually::{Settle, eventually, eventually_blocking};
pub use http::{get as http_get, put as http_put};
pub use logs::{Capture, Logs};
pub use openid::{Browser, OpenidProvider, Page};
pub use port::{free_port, free_ports};
pub use process::{Process, ProcessBuilder};
pub use proxy::{Proxy, Way};
pub use pty::Pty;
pub use skip::skip;
pub use slapd::Slapd;
