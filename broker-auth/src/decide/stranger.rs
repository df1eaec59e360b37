//! Whoever has yet to log in: somebody with a key of their own, of whom nothing else is known.
//!
//! What must hold: such a connection speaks to the login service and to nobody else, hears what is sent to its own key
//! and nothing else, and ends soon.

use overlay_tokens::{PublicKey, UnixTime, verify_nonce};

use super::{Login, Refusal, Role};
use crate::attempt::Attempt;
use crate::permissions::Permissions;
use crate::policy::{LOGIN, Policy};
use crate::reason::Reason;

/// Digits of the key that the broker shows.
const SHOWN_DIGITS: usize = 16;

/// Lets in whoever signed the broker's nonce with the key that is given as the password.
pub(super) fn stranger(
    attempt: &Attempt<'_>,
    policy: &Policy,
    now: UnixTime,
) -> Result<Login, Refusal> {
    let room = policy.login.as_ref().ok_or(Reason::LoginOff)?;
    let key: PublicKey = attempt
        .password
        .0
        .parse()
        .map_err(|error| Refusal::with(Reason::LoginKey, &error))?;
    verify_nonce(&key, attempt.nonce, attempt.signature)?;
    let shown: String = key.to_string().chars().take(SHOWN_DIGITS).collect();
    Ok(Login {
        role: Role::Login,
        account: policy.accounts.login.clone(),
        name: format!("{LOGIN}:{shown}"),
        expires: Some(now.secs.saturating_add(room.seconds)),
        permissions: Permissions::login(&key),
        dropped: Vec::new(),
    })
}
