//! A login attempt, as the broker describes it.

/// A login attempt. Nothing in it is proved; all texts are foreign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt<'a> {
    /// What connects.
    pub kind: Kind,
    /// How well the connection is secured.
    pub tls: Tls,
    /// The peer's address.
    pub host: &'a str,
    /// The name that the connection gave itself.
    pub name: &'a str,
    /// The library that connects.
    pub library: &'a str,
    /// User name.
    pub user: &'a str,
    /// Password.
    pub password: Hidden<'a>,
    /// Token, without line ends around it.
    pub token: Hidden<'a>,
    /// Signature of the broker's nonce.
    pub signature: &'a str,
    /// The broker's nonce; empty when the broker offered none, or nothing was signed.
    pub nonce: &'a str,
}

/// What connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A client of the broker, over TCP or websocket.
    Client,
    /// A client that speaks MQTT.
    Mqtt,
    /// A leaf node.
    Leaf,
    /// Something else.
    Other,
}

/// How well the connection is secured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tls {
    /// Not at all, as the broker sees it.
    None,
    /// Encrypted; the broker verified no certificate of the peer.
    Encrypted,
    /// Encrypted, and the broker verified the peer's certificate.
    Verified,
}

/// A text that must not be shown.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Hidden<'a>(pub &'a str);

impl<'a> Hidden<'a> {
    /// A token as presented. Line ends around it are no part of it: token files often have one, and some programs send
    /// the file as it is. Blanks are not forgiven.
    #[must_use]
    pub fn token(text: &'a str) -> Self {
        Self(text.trim_matches(['\r', '\n']))
    }
}

impl std::fmt::Debug for Hidden<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_empty() {
            "\"\""
        } else {
            "\"****\""
        })
    }
}
