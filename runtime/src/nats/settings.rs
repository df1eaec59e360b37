//! What a connection needs to know.

use std::path::PathBuf;
use std::time::Duration;

use crate::backoff::Backoff;
use crate::config::Fault;
use crate::exit::err_chain;
use crate::secret::Secrets;

use super::BrokerUrl;

/// How to reach and to log in to the broker.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Name that the broker, our logs, metrics and readiness show for the connection.
    pub name: String,
    /// Brokers, any of which will do.
    pub servers: Vec<BrokerUrl>,
    /// PEM file of the authorities that sign brokers' certificates; without it, the system's.
    pub ca_file: Option<PathBuf>,
    /// How to log in.
    pub auth: Auth,
    /// Prefix of reply subjects; without it, `_INBOX`.
    pub inbox_prefix: Option<String>,
    /// How long the first connection is tried in all; [`Duration::MAX`] is for ever.
    pub connect_limit: Duration,
    /// How long one attempt may take.
    pub attempt_limit: Duration,
    /// The wait before each reconnect.
    pub reconnect: Reconnect,
    /// How often the broker is asked whether it is still there.
    pub ping_interval: Duration,
    /// Messages that one subscription holds before it counts as slow.
    pub subscription_capacity: usize,
}

/// How to log in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Auth {
    /// Not at all.
    #[default]
    None,
    /// With an nkey.
    Nkey {
        /// File with the user's seed (`SU...`).
        seed_file: PathBuf,
    },
    /// With user name and password.
    Password {
        /// The user.
        user: String,
        /// File with the password.
        password_file: PathBuf,
    },
}

/// The wait before each reconnect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reconnect {
    /// Growing, with jitter: many clients of a broker do not come back at once.
    Backoff(Backoff),
    /// Always the same: for the few services that others wait for.
    Flat(Duration),
    /// `first` for so many `tries`, while a broker that restarts may open its port any moment, then `then`: for the one
    /// service that has to be there before anybody else may come.
    Eager {
        /// The wait before each of the first tries.
        first: Duration,
        /// How many they are.
        tries: usize,
        /// The wait before each further one.
        then: Duration,
    },
}

impl Settings {
    /// No login, the system's authorities, 60 s for the first connection, Choria's reconnect times.
    pub fn new(name: impl Into<String>, servers: Vec<BrokerUrl>) -> Self {
        Self {
            name: name.into(),
            servers,
            ca_file: None,
            auth: Auth::None,
            inbox_prefix: None,
            connect_limit: Duration::from_secs(60),
            attempt_limit: Duration::from_secs(5),
            reconnect: Reconnect::Backoff(Backoff::RECONNECT),
            ping_interval: Duration::from_secs(30),
            subscription_capacity: 8192,
        }
    }

    /// Looks at the files that the settings name.
    pub fn inspect(&self, secrets: &Secrets) -> Vec<Fault> {
        let mut faults = Vec::new();
        let secret = match &self.auth {
            Auth::None => None,
            Auth::Nkey { seed_file } => Some(("seed_file", seed_file)),
            Auth::Password { password_file, .. } => Some(("password_file", password_file)),
        };
        if let Some((key, path)) = secret
            && let Err(error) = secrets.read(path)
        {
            faults.push(self.fault(key, &error));
        }
        if let Some(path) = &self.ca_file {
            match std::fs::read_to_string(path) {
                Ok(text) if text.contains("-----BEGIN CERTIFICATE-----") => {}
                Ok(_) => faults.push(
                    Fault::new("ca_file", "holds no PEM certificate")
                        .value(path.display())
                        .source(format!("connection {}", self.name)),
                ),
                Err(error) => {
                    let fault = self.fault("ca_file", &error);
                    faults.push(fault.value(path.display()));
                }
            }
        }
        faults
    }

    fn fault(&self, key: &str, error: &dyn std::error::Error) -> Fault {
        Fault::new(key, err_chain(error)).source(format!("connection {}", self.name))
    }
}

impl Reconnect {
    pub(super) fn delay(&self, attempt: usize) -> Duration {
        match self {
            Self::Backoff(backoff) => backoff.jittered(attempt.saturating_sub(1)),
            Self::Flat(wait) => *wait,
            Self::Eager { first, tries, .. } if attempt <= *tries => *first,
            Self::Eager { then, .. } => *then,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_eager_tries_often_first_and_less_often_then() {
        let [first, then] = [3, 20].map(Duration::from_millis);
        let eager = Reconnect::Eager {
            first,
            tries: 2,
            then,
        };
        let waits = [1, 2, 3, usize::MAX].map(|attempt| eager.delay(attempt));
        assert_eq!(waits, [first, first, then, then]);
    }
}
