//! The ways by which people reach the service.

/// By which way a request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// The RPC agent, over the broker.
    Rpc,
    /// HTTP.
    Http,
    /// The login service, over the broker.
    Broker,
}

impl Via {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Rpc, Self::Http, Self::Broker];

    /// Its name in records, logs and labels.
    pub fn label(self) -> &'static str {
        match self {
            Self::Rpc => "rpc",
            Self::Http => "http",
            Self::Broker => "broker",
        }
    }
}
