//! How the RPC agent logs in: with the server token and its signature over the broker's nonce.

use async_nats::{Auth, AuthError, ConnectOptions};
use overlay_runtime::Clock;
use overlay_tokens::own::check_own;
use overlay_tokens::{Nonce, UnixTime};

use crate::keyring::Keyring;

/// Options of one attempt to connect; the newest token is shown at each.
pub(super) fn options(keyring: &Keyring, clock: &Clock) -> ConnectOptions {
    let (keyring, clock) = (keyring.clone(), clock.clone());
    ConnectOptions::with_auth_callback(move |nonce| {
        let shown = show(&keyring, &clock, &nonce);
        async move { shown.map_err(AuthError::new) }
    })
    // Answers come in bursts, as requests do.
    .client_capacity(8192)
}

fn show(keyring: &Keyring, clock: &Clock, nonce: &[u8]) -> Result<Auth, String> {
    let keys = keyring.current();
    let server = keys.server.as_ref();
    let holder = &server.ok_or("no server token is configured")?.holder;
    check_own(holder.text(), UnixTime::from(clock.now())).map_err(|error| error.to_string())?;
    let nonce = Nonce::offered(nonce).map_err(|error| error.to_string())?;
    let mut auth = Auth::new();
    auth.token = Some(holder.text().to_owned());
    auth.jwt = Some(holder.text().to_owned());
    auth.signature = Some(nonce.sign(holder.key()).to_vec());
    Ok(auth)
}
