//! What nats-server's monitoring on loopback tells.

use anyhow::bail;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::commands::cell::http;

/// Connections asked for at a time.
const PAGE: usize = 4096;
/// More than any broker of a cell holds.
const MAX_PAGES: usize = 64;

/// `/varz`, as far as it matters here.
#[derive(Debug, Clone, Deserialize)]
pub(in crate::commands::cell) struct Vars {
    pub(in crate::commands::cell) version: String,
    pub(in crate::commands::cell) server_name: String,
    pub(in crate::commands::cell) uptime: String,
    #[serde(default)]
    pub(in crate::commands::cell) mem: u64,
    #[serde(default)]
    pub(in crate::commands::cell) connections: u64,
    #[serde(default)]
    pub(in crate::commands::cell) max_connections: u64,
    #[serde(default)]
    pub(in crate::commands::cell) total_connections: u64,
    #[serde(default)]
    pub(in crate::commands::cell) slow_consumers: u64,
}

#[derive(Debug, Deserialize)]
struct Connections {
    #[serde(default)]
    total: usize,
    #[serde(default)]
    connections: Vec<Connection>,
}

/// A connection of `/connz`.
#[derive(Debug, Clone, Deserialize)]
pub(in crate::commands::cell) struct Connection {
    #[serde(default)]
    pub(in crate::commands::cell) ip: String,
    #[serde(default)]
    pub(in crate::commands::cell) start: String,
    #[serde(default)]
    authorized_user: String,
    #[serde(default)]
    nkey: String,
    #[serde(default)]
    account: String,
}

/// Who a connection belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::commands::cell) enum Kind {
    Nodes,
    Clients,
    Services,
    Provisioning,
    Login,
    System,
    Other,
}

impl Connection {
    /// Who logged in: an identity, a caller id, or a user of the configuration.
    pub(in crate::commands::cell) fn user(&self) -> Option<&str> {
        (!self.authorized_user.is_empty()).then_some(self.authorized_user.as_str())
    }

    pub(in crate::commands::cell) fn kind(&self) -> Kind {
        let user = &self.authorized_user;
        match self.account.as_str() {
            "auth" => Kind::Services,
            "system" => Kind::System,
            "provisioning" => Kind::Provisioning,
            "aaa" => Kind::Services,
            "login" => Kind::Login,
            "choria" if !self.nkey.is_empty() || is_user_nkey(user) => Kind::Services,
            // Caller ids are `type=name`; an identity has no such sign.
            "choria" if user.contains('=') => Kind::Clients,
            "choria" if !user.is_empty() => Kind::Nodes,
            _ => Kind::Other,
        }
    }
}

fn is_user_nkey(text: &str) -> bool {
    text.len() == 56
        && text.starts_with('U')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// `/jsz` with streams.
#[derive(Debug, Deserialize)]
struct JetStream {
    #[serde(default)]
    account_details: Vec<Account>,
}

#[derive(Debug, Deserialize)]
struct Account {
    name: String,
    #[serde(default)]
    stream_detail: Vec<Stream>,
}

/// A stream of `/jsz`.
#[derive(Debug, Clone, Deserialize)]
pub(in crate::commands::cell) struct Stream {
    pub(in crate::commands::cell) name: String,
    /// The account that it is in.
    #[serde(skip)]
    pub(in crate::commands::cell) account: String,
    pub(in crate::commands::cell) state: StreamState,
    #[serde(default)]
    pub(in crate::commands::cell) config: Option<StreamConfig>,
    #[serde(default)]
    pub(in crate::commands::cell) cluster: Option<StreamCluster>,
}

#[derive(Debug, Clone, Deserialize)]
pub(in crate::commands::cell) struct StreamState {
    #[serde(default)]
    pub(in crate::commands::cell) messages: u64,
    #[serde(default)]
    pub(in crate::commands::cell) bytes: u64,
}

#[derive(Debug, Clone, Deserialize)]
pub(in crate::commands::cell) struct StreamConfig {
    #[serde(default)]
    pub(in crate::commands::cell) num_replicas: u32,
}

#[derive(Debug, Clone, Deserialize)]
pub(in crate::commands::cell) struct StreamCluster {
    #[serde(default)]
    pub(in crate::commands::cell) leader: Option<String>,
    #[serde(default)]
    pub(in crate::commands::cell) replicas: Option<Vec<Replica>>,
}

#[derive(Debug, Clone, Deserialize)]
pub(in crate::commands::cell) struct Replica {
    #[serde(default)]
    pub(in crate::commands::cell) current: bool,
}

async fn ask<T: DeserializeOwned>(port: u16, path: &str) -> anyhow::Result<T> {
    let answer = http::get(port, path).await?;
    if answer.status != 200 {
        bail!("http://127.0.0.1:{port}{path} answers {}", answer.status);
    }
    answer.json()
}

pub(in crate::commands::cell) async fn vars(port: u16) -> anyhow::Result<Vars> {
    ask(port, "/varz").await
}

pub(in crate::commands::cell) async fn connections(port: u16) -> anyhow::Result<Vec<Connection>> {
    let mut all = Vec::new();
    for page in 0..MAX_PAGES {
        let path = format!("/connz?auth=1&limit={PAGE}&offset={}", page * PAGE);
        let Connections { total, connections } = ask(port, &path).await?;
        let got = connections.len();
        all.extend(connections);
        if got == 0 || all.len() >= total {
            break;
        }
    }
    Ok(all)
}

/// The streams of the accounts `choria` and `provisioning`.
pub(in crate::commands::cell) async fn streams(port: u16) -> anyhow::Result<Vec<Stream>> {
    let jetstream: JetStream = ask(port, "/jsz?streams=1&config=1&accounts=1&limit=1024").await?;
    let mut streams: Vec<Stream> = jetstream
        .account_details
        .into_iter()
        .filter(|account| ["choria", "provisioning"].contains(&account.name.as_str()))
        .flat_map(
            |Account {
                 name,
                 stream_detail,
             }| {
                stream_detail.into_iter().map(move |stream| Stream {
                    account: name.clone(),
                    ..stream
                })
            },
        )
        .collect();
    streams.sort_by(|one, other| (&one.account, &one.name).cmp(&(&other.account, &other.name)));
    Ok(streams)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(account: &str, user: &str) -> Connection {
        Connection {
            ip: String::new(),
            start: String::new(),
            authorized_user: user.to_owned(),
            nkey: String::new(),
            account: account.to_owned(),
        }
    }

    #[test]
    fn connections_are_told_apart() {
        for (account, user, kind) in [
            ("choria", "node1.example.net", Kind::Nodes),
            ("choria", "up=rip", Kind::Clients),
            (
                "choria",
                "UBBBPD4P74BMHJVL5DOZ4OKQXQKMQQXTVVVNY7CWCMEXOUR5EWQCWLQ2",
                Kind::Services,
            ),
            ("auth", "U", Kind::Services),
            ("aaa", "U", Kind::Services),
            ("login", "login:8a88e3dd7409f195", Kind::Login),
            ("provisioning", "", Kind::Provisioning),
            ("system", "up=rip", Kind::System),
            ("$G", "x", Kind::Other),
        ] {
            assert_eq!(connection(account, user).kind(), kind, "{account} {user}");
        }
    }
}
