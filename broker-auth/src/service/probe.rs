//! A login of this service at its own broker, to see that callouts arrive here, open, and are answered.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::{ConnectErrorKind, ConnectOptions, ServerAddr};
use overlay_runtime::{CancellationToken, Part, err_chain, nats};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::publisher;
use crate::decide::SELF_CHECK;
use crate::error::StartError;

/// How long one trial may take; the broker itself gives up after two seconds.
const TRIAL: Duration = Duration::from_secs(4);
/// An answer that came sooner was given by somebody: the broker gives up only after its own limit.
const ANSWERED: Duration = Duration::from_millis(1500);
/// With several instances, another may answer: then it is tried again.
const TRIALS_OF_OTHERS: u32 = 5;
const PAUSE: Duration = Duration::from_secs(1);
/// Any time will do: of the id only the random part matters.
const TOKEN_TIME: i64 = 1_800_000_000;

/// The trial; clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Probe {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    token: Mutex<String>,
    seen: Notify,
}

/// How a trial ended.
#[derive(Debug, PartialEq, Eq)]
enum Trial {
    /// This instance got the request, could read it, and the broker took its answer.
    Answered,
    /// Somebody else did.
    AnsweredByAnother,
    /// Nobody did.
    Unanswered(String),
    /// The broker let the trial in without asking.
    LetIn,
}

impl Probe {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Takes note that a trial's request was read here; other instances' trials are none of ours.
    pub(super) fn seen(&self, token: &str) {
        if *self
            .inner
            .token
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            == token
        {
            self.inner.seen.notify_one();
        }
    }

    /// Tries until a trial comes through, however long that takes, or the shutdown.
    ///
    /// # Errors
    ///
    /// When the broker lets in a connection that presents nothing valid, without asking.
    pub(super) async fn run(
        &self,
        broker: &nats::Settings,
        part: &Part,
        shutdown: &CancellationToken,
    ) -> Result<(), StartError> {
        let mut by_others = 0;
        let mut told = false;
        loop {
            let trial = tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                trial = self.try_once(broker) => trial,
            };
            match trial {
                Trial::Answered => {
                    tracing::info!(
                        "a trial login was asked about, read and refused: callouts work"
                    );
                    part.up();
                    return Ok(());
                }
                Trial::AnsweredByAnother if by_others >= TRIALS_OF_OTHERS => {
                    tracing::info!(
                        "trial logins are answered by other instances; callouts work there"
                    );
                    part.up();
                    return Ok(());
                }
                Trial::AnsweredByAnother => by_others += 1,
                Trial::LetIn => return Err(StartError::NoCallout),
                Trial::Unanswered(reason) => {
                    part.down(reason.clone());
                    if !told {
                        tracing::error!(
                            reason,
                            "a trial login was not answered: compare issuer, xkey and account of auth_callout \
                             in the broker's configuration with ours; trying on"
                        );
                        told = true;
                    }
                }
            }
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }

    async fn try_once(&self, broker: &nats::Settings) -> Trial {
        let token = format!("{SELF_CHECK}{}", publisher::fresh_id(TOKEN_TIME));
        *self
            .inner
            .token
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = token.clone();
        let addresses: Vec<ServerAddr> = broker
            .servers
            .iter()
            .map(|url| url.address().clone())
            .collect();
        let mut options = ConnectOptions::with_token(token)
            .name(format!("{}-self-check", broker.name))
            .connection_timeout(TRIAL);
        if let Some(file) = &broker.ca_file {
            options = options.add_root_certificates(file.clone());
        }
        let started = Instant::now();
        let connected = tokio::time::timeout(TRIAL, options.connect(addresses.as_slice())).await;
        let took = started.elapsed();
        let refused = match connected {
            Ok(Ok(_client)) => return Trial::LetIn,
            Ok(Err(error)) if error.kind() == ConnectErrorKind::AuthorizationViolation => true,
            Ok(Err(error)) => return Trial::Unanswered(err_chain(&error)),
            Err(_) => return Trial::Unanswered("no word of the broker in time".to_owned()),
        };
        let seen_here = tokio::time::timeout(Duration::ZERO, self.inner.seen.notified())
            .await
            .is_ok();
        if seen_here {
            Trial::Answered
        } else if refused && took < ANSWERED {
            Trial::AnsweredByAnother
        } else {
            Trial::Unanswered(format!(
                "the broker refused after {took:?} without an answer"
            ))
        }
    }
}
