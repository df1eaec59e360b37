//! Tokens for those who prove who they are.

use crate::via::Via;

/// Logs people in.
#[derive(Debug)]
pub struct LoginService {}

/// Where an attempt came from.
#[derive(Debug, Clone)]
pub struct From {
    /// By which way.
    pub via: Via,
    /// From which address or connection.
    pub peer: String,
}

/// The answer to an attempt.
#[derive(Debug)]
pub enum LoginAnswer {
    /// The token.
    Token(String),
    /// It is refused.
    Failed,
    /// No token can be made at present.
    CannotSign,
    /// Too much is to be done at present.
    Busy,
}
