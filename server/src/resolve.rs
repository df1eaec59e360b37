//! Where the brokers are: fixed hosts, or names in the DNS, asked anew at every reconnect.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::name_server::TokioConnectionProvider;
use hickory_resolver::proto::xfer::Protocol;
use tokio::time::Instant;

/// Where brokers are looked for, in this order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Servers {
    /// Fixed addresses with scheme and port; when there are some, nothing else is asked.
    pub hosts: Vec<String>,
    /// The domain that is asked for SRV records.
    pub srv_domain: Option<String>,
    /// Which of its records name the brokers.
    pub srv_names: SrvNames,
    /// The name servers to ask; none = those of the system.
    pub name_servers: Vec<SocketAddr>,
    /// Addresses for when nothing else was found.
    pub fallback: Vec<String>,
}

/// Which SRV records of a domain name the brokers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SrvNames {
    /// Those for members.
    #[default]
    Fleet,
    /// Those for nodes that wait to be enrolled.
    Provisioner,
}

/// Why no broker could be named.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// The system's resolver configuration could not be used.
    #[error("the system's resolver configuration is not usable")]
    System(#[source] hickory_resolver::ResolveError),
    /// No name had records.
    #[error("no brokers in the DNS for {domain}: {reason}")]
    Nothing {
        /// The domain asked.
        domain: String,
        /// What the last look-up said.
        reason: String,
    },
    /// There is nowhere to look.
    #[error("no brokers are configured")]
    NoSource,
}

/// One SRV record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Lower is tried first.
    pub priority: u16,
    /// Among equals, heavier is tried first more often.
    pub weight: u16,
    /// The host.
    pub target: String,
    /// The port.
    pub port: u16,
}

impl SrvNames {
    /// Names asked for, the first that has records counts.
    const fn names(self) -> &'static [&'static str] {
        match self {
            Self::Fleet => &["_mcollective-server._tcp", "_x-puppet-mcollective._tcp"],
            Self::Provisioner => &["_choria-provisioner._tcp"],
        }
    }
}

/// Answers are used again for so long: a broker that dies makes one look-up, not one a try.
const CACHE: Duration = Duration::from_secs(5);

const LOOK_UP_TIMEOUT: Duration = Duration::from_secs(2);

/// Names brokers, and remembers the answer for a moment.
#[derive(Debug)]
pub struct Resolver {
    servers: Servers,
    cached: Mutex<Option<(Instant, Vec<String>)>>,
}

impl Resolver {
    /// Makes one; nothing is asked yet.
    pub fn new(servers: Servers) -> Self {
        Self {
            servers,
            cached: Mutex::new(None),
        }
    }

    /// The brokers' addresses in the order in which they should be tried.
    ///
    /// `random` gives numbers below its argument.
    pub async fn brokers(
        &self,
        random: &(dyn Fn(u32) -> u32 + Send + Sync),
    ) -> Result<Vec<String>, ResolveError> {
        if !self.servers.hosts.is_empty() {
            return Ok(shuffled(self.servers.hosts.clone(), random));
        }
        if let Some(known) = self.remembered() {
            return Ok(known);
        }
        match self.look_up(random).await {
            Ok(found) => {
                let mut cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
                *cached = Some((Instant::now(), found.clone()));
                Ok(found)
            }
            Err(error) if self.servers.fallback.is_empty() => Err(error),
            Err(error) => {
                tracing::debug!(
                    error = overlay_runtime::err_chain(&error),
                    "using the fallback"
                );
                Ok(shuffled(self.servers.fallback.clone(), random))
            }
        }
    }

    fn remembered(&self) -> Option<Vec<String>> {
        let cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, known) = cached.as_ref()?;
        (at.elapsed() < CACHE).then(|| known.clone())
    }

    async fn look_up(
        &self,
        random: &(dyn Fn(u32) -> u32 + Send + Sync),
    ) -> Result<Vec<String>, ResolveError> {
        let Some(domain) = &self.servers.srv_domain else {
            return Err(ResolveError::NoSource);
        };
        let resolver = self.resolver()?;
        let mut reason = String::new();
        for name in self.servers.srv_names.names() {
            match resolver.srv_lookup(format!("{name}.{domain}.")).await {
                Ok(found) => {
                    let records = found.iter().map(|srv| Record {
                        priority: srv.priority(),
                        weight: srv.weight(),
                        target: srv.target().to_utf8().trim_end_matches('.').to_owned(),
                        port: srv.port(),
                    });
                    let ordered = order(records.collect(), random);
                    if !ordered.is_empty() {
                        return Ok(ordered);
                    }
                }
                Err(error) => reason = error.to_string(),
            }
        }
        Err(ResolveError::Nothing {
            domain: domain.clone(),
            reason,
        })
    }

    /// Made for each look-up: resolvers hold buffers, and look-ups are rare.
    fn resolver(&self) -> Result<TokioResolver, ResolveError> {
        let mut builder = if self.servers.name_servers.is_empty() {
            TokioResolver::builder_tokio().map_err(ResolveError::System)?
        } else {
            let mut config = ResolverConfig::new();
            for address in &self.servers.name_servers {
                config.add_name_server(NameServerConfig::new(*address, Protocol::Udp));
                config.add_name_server(NameServerConfig::new(*address, Protocol::Tcp));
            }
            TokioResolver::builder_with_config(config, TokioConnectionProvider::default())
        };
        let options: &mut ResolverOpts = builder.options_mut();
        options.timeout = LOOK_UP_TIMEOUT;
        options.attempts = 1;
        options.cache_size = 0;
        Ok(builder.build())
    }
}

/// Addresses by priority, and among equal ones by weighted chance (RFC 2782).
pub fn order(mut records: Vec<Record>, random: &(dyn Fn(u32) -> u32 + Send + Sync)) -> Vec<String> {
    records.retain(|record| !record.target.is_empty());
    records.sort_by_key(|record| (record.priority, record.weight));
    let mut ordered = Vec::with_capacity(records.len());
    while let Some(first) = records.first() {
        let priority = first.priority;
        let group = records
            .iter()
            .take_while(|record| record.priority == priority)
            .count();
        let total: u32 = records[..group].iter().map(|r| u32::from(r.weight)).sum();
        let mut left = random(total.saturating_add(1));
        let mut chosen = group - 1;
        for (index, record) in records[..group].iter().enumerate() {
            let weight = u32::from(record.weight);
            if left <= weight {
                chosen = index;
                break;
            }
            left -= weight;
        }
        let record = records.remove(chosen);
        ordered.push(format!("nats://{}:{}", record.target, record.port));
    }
    ordered
}

fn shuffled(mut hosts: Vec<String>, random: &(dyn Fn(u32) -> u32 + Send + Sync)) -> Vec<String> {
    for last in (1..hosts.len()).rev() {
        let bound = u32::try_from(last + 1).unwrap_or(u32::MAX);
        let other = usize::try_from(random(bound)).unwrap_or(0).min(last);
        hosts.swap(last, other);
    }
    hosts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(priority: u16, weight: u16, target: &str) -> Record {
        Record {
            priority,
            weight,
            target: target.to_owned(),
            port: 4222,
        }
    }

    #[test]
    fn records_of_lower_priority_come_first_whatever_their_weight() {
        for roll in 0..200 {
            let ordered = order(
                vec![
                    record(20, 65535, "c"),
                    record(10, 0, "a"),
                    record(10, 60, "b"),
                ],
                &move |bound| roll % bound,
            );
            assert_eq!(ordered[2], "nats://c:4222");
            assert_eq!(ordered.len(), 3);
        }
    }

    #[test]
    fn heavier_records_come_first_more_often() {
        let firsts = (0..=100)
            .filter(|roll| {
                let roll = *roll;
                let ordered = order(
                    vec![record(1, 90, "heavy"), record(1, 10, "light")],
                    &move |bound| roll % bound,
                );
                ordered[0].contains("heavy")
            })
            .count();
        assert!((85..=95).contains(&firsts), "{firsts}");
    }

    #[test]
    fn shuffling_keeps_every_host() {
        for roll in 0..50 {
            let hosts = ["a", "b", "c", "d"].map(str::to_owned).to_vec();
            let mut mixed = shuffled(hosts.clone(), &move |bound| roll % bound);
            mixed.sort();
            assert_eq!(mixed, hosts);
        }
    }

    #[tokio::test]
    async fn nowhere_to_look_is_an_error_and_a_fallback_is_used() {
        let none = Resolver::new(Servers::default());
        assert!(none.brokers(&|_| 0).await.is_err());
        let fallback = Resolver::new(Servers {
            fallback: vec!["nats://puppet:4222".to_owned()],
            ..Servers::default()
        });
        assert_eq!(
            fallback.brokers(&|_| 0).await.unwrap(),
            ["nats://puppet:4222"]
        );
    }
}
