//! Connections to the broker: first with a limit, then for ever.
//!
//! Every client event is logged once and counted, and readiness follows the connection.

mod connect;
#[cfg(feature = "jetstream")]
pub mod election;
mod events;
mod settings;
mod url;

pub use connect::{ConnectError, Connector, SettleError, drain, request, settled};
pub use events::LinkState;
pub use settings::{Auth, Reconnect, Settings};
pub use url::{BrokerUrl, BrokerUrlError};
