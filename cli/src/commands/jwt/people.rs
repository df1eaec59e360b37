//! Claims in people's words.

use std::fmt::Write as _;
use std::path::Path;

use overlay_tokens::claims::{ClientClaims, ProvisioningClaims, ServerClaims, Standard};
use overlay_tokens::{UnixTime, VerifyKey};
use serde::Serialize;
use time::OffsetDateTime;
use time::macros::format_description;

/// What a token says.
#[derive(Debug)]
pub(in crate::commands) struct Described {
    kind: &'static str,
    rows: Vec<(&'static str, String)>,
    pub(in crate::commands) permissions: Vec<&'static str>,
    pub(in crate::commands) chain: Option<String>,
    not_before: Option<i64>,
    pub(in crate::commands) expires: Option<i64>,
    verified: Option<String>,
    policy: Option<String>,
}

/// Whether a token is good at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::commands) enum State {
    Good,
    NotYet,
    Expired,
}

impl Described {
    fn new(kind: &'static str, standard: &Standard) -> Self {
        Self {
            kind,
            rows: Vec::new(),
            permissions: Vec::new(),
            chain: chain(standard),
            not_before: standard.nbf,
            expires: standard.expires_at(),
            verified: None,
            policy: None,
        }
    }

    pub(in crate::commands) fn row(&mut self, label: &'static str, value: impl Into<String>) {
        let value = value.into();
        if !value.is_empty() {
            self.rows.push((label, value));
        }
    }

    fn may(&mut self, permitted: bool, what: &'static str) {
        if permitted {
            self.permissions.push(what);
        }
    }

    fn standard(&mut self, standard: &Standard) {
        self.row("Public key", standard.public_key.as_str());
        self.row("Issuer", standard.iss.as_str());
        self.row("Token id", standard.jti.as_str());
        self.row("Issued", standard.iat.map(instant).unwrap_or_default());
    }

    /// Records which key proved the token.
    pub(super) fn verified_with(&mut self, signer: &VerifyKey, given: &VerifyKey) {
        let how = match (signer, given) {
            (VerifyKey::Ed25519(signer), VerifyKey::Ed25519(given)) if signer != given => {
                format!("verified: signed by chain issuer {signer}, whom {given} has signed")
            }
            (VerifyKey::Ed25519(signer), _) => format!("verified: signed by {signer}"),
            (VerifyKey::Rsa(_), _) => "verified: signed by the RSA key given".to_owned(),
        };
        self.verified = Some(how);
    }

    /// Records which key proved the token to somebody who trusts its organisation.
    pub(in crate::commands) fn verified_by_issuer(&mut self, signer: &VerifyKey) {
        self.verified_with(signer, signer);
    }

    pub(in crate::commands) fn is_verified(&self) -> bool {
        self.verified.is_some()
    }

    pub(in crate::commands) fn state(&self, now: UnixTime) -> State {
        if self.expires.is_some_and(|expires| now.secs >= expires) {
            State::Expired
        } else if self.not_before.is_some_and(|start| now.secs < start) {
            State::NotYet
        } else {
            State::Good
        }
    }

    /// The text for a terminal.
    pub(super) fn render(&self, path: &Path, now: UnixTime) -> String {
        let verified = self
            .verified
            .as_deref()
            .unwrap_or("NOT VERIFIED: give the issuer's public key to verify it");
        let heading = format!("{} {}\n{verified}\n\n", self.kind, super::view::title(path));
        self.render_below(heading, now)
    }

    /// The text for a terminal, of the session at hand.
    pub(in crate::commands) fn render_session(&self, now: UnixTime) -> String {
        let verified = self
            .verified
            .as_deref()
            .unwrap_or("NOT VERIFIED: no issuer in the configuration proves it");
        self.render_below(format!("Session\n{verified}\n\n"), now)
    }

    fn render_below(&self, mut text: String, now: UnixTime) -> String {
        let mut rows: Vec<(&str, String)> = self
            .rows
            .iter()
            .map(|(label, value)| (*label, value.clone()))
            .collect();
        rows.push(("Good", self.good(now)));
        if let Some(chain) = &self.chain {
            rows.push(("Trust chain", chain.clone()));
        }
        let width = rows
            .iter()
            .map(|(label, _)| label.len())
            .max()
            .unwrap_or_default();
        for (label, value) in rows {
            let value = value.replace('\n', &format!("\n  {:width$}  ", ""));
            // Writing to a String cannot fail.
            writeln!(text, "  {label:<width$}  {value}").ok();
        }
        if self.kind != PROVISIONING {
            text.push_str("\n  May:\n");
            if self.permissions.is_empty() {
                text.push_str("    - nothing besides what every holder may\n");
            }
            for permission in &self.permissions {
                writeln!(text, "    - {permission}").ok();
            }
        }
        if let Some(policy) = &self.policy {
            text.push_str("\n  Policy:\n");
            for line in policy.lines() {
                writeln!(text, "    {line}").ok();
            }
        }
        text
    }

    fn good(&self, now: UnixTime) -> String {
        let until = |expires: i64| format!("until {}", instant(expires));
        match (self.state(now), self.expires, self.not_before) {
            (State::Expired, Some(expires), _) => {
                format!(
                    "EXPIRED on {}, {} ago",
                    instant(expires),
                    span(now.secs.saturating_sub(expires))
                )
            }
            (State::NotYet, _, Some(start)) => format!("NOT YET, from {} on", instant(start)),
            (_, Some(expires), _) => {
                format!(
                    "{}, for another {}",
                    until(expires),
                    span(expires.saturating_sub(now.secs))
                )
            }
            (_, None, _) => "without end; its own holder takes it for expired".to_owned(),
        }
    }
}

const PROVISIONING: &str = "Provisioning token";

pub(in crate::commands) fn client(claims: &ClientClaims) -> Described {
    let mut told = Described::new("Client token", &claims.standard);
    told.row("Caller", claims.callerid.as_str());
    told.row(
        "Organisation",
        claims.ou.clone().unwrap_or_else(|| "none".to_owned()),
    );
    told.row("Tenant", claims.tenant.clone().unwrap_or_default());
    told.row("Private network id", claims.unique_id());
    told.row("Actions", claims.agents.join(", "));
    told.row("Publishes to", claims.pub_subjects.join(", "));
    told.row("Subscribes to", claims.sub_subjects.join(", "));
    let properties: Vec<String> = claims
        .user_properties
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    told.row("Properties", properties.join(", "));
    told.standard(&claims.standard);
    told.policy.clone_from(&claims.opa_policy);
    let granted = claims.granted();
    told.may(
        granted.org_admin,
        "do everything in the organisation's account",
    );
    if granted.signed_fleet_management {
        told.may(
            true,
            "make requests to the fleet that a delegator has signed",
        );
    } else {
        told.may(granted.fleet_management, "make requests to the fleet");
    }
    told.may(granted.authentication_delegator, "sign requests of others");
    told.may(
        granted.provisioner,
        "log in as the provisioner of new nodes",
    );
    told.may(granted.events_viewer, "see lifecycle and machine events");
    told.may(
        granted.audit_viewer,
        "read the audit of logins and signatures",
    );
    told.may(granted.streams_admin, "administer all streams");
    told.may(
        granted.streams_user,
        "use streams, buckets and object stores",
    );
    told.may(granted.election_user, "take part in leader elections");
    let governs = granted.streams_user || granted.streams_admin;
    told.may(granted.governor && governs, "use governors");
    told.may(
        granted.governor && !governs,
        "use governors, but not without a streams permission, which is missing",
    );
    told.may(
        granted.system_user,
        "log in to the broker's system account, with user and password",
    );
    told.may(
        granted.service,
        "have a token of long life, being a service",
    );
    told
}

pub(super) fn server(claims: &ServerClaims) -> Described {
    let mut told = Described::new("Server token", &claims.standard);
    told.row("Identity", claims.identity.as_str());
    told.row("Collectives", claims.collectives.join(", "));
    told.row(
        "Organisation",
        claims.ou.clone().unwrap_or_else(|| "none".to_owned()),
    );
    told.row("Private network id", claims.unique_id());
    told.row("Publishes to", claims.pub_subjects.join(", "));
    told.standard(&claims.standard);
    let granted = claims.granted();
    told.may(granted.submission, "submit messages");
    told.may(granted.service_host, "host service agents");
    told.may(granted.streams, "use streams");
    told.may(granted.governor && granted.streams, "use governors");
    told.may(
        granted.governor && !granted.streams,
        "use governors, but not without the streams permission, which is missing",
    );
    told
}

pub(super) fn provisioning(claims: &ProvisioningClaims) -> Described {
    let mut told = Described::new(PROVISIONING, &claims.standard);
    let yes = |flag: bool| if flag { "yes" } else { "no" };
    told.row(
        "Organisation",
        claims.ou.clone().unwrap_or_else(|| "none".to_owned()),
    );
    told.row("Brokers", claims.chu.as_str());
    told.row("SRV domain", claims.chsrv.as_str());
    told.row(
        "Secret",
        if claims.cht.is_empty() {
            "MISSING: nodes ignore the token"
        } else {
            "*****"
        },
    );
    told.row("Protocol security", yes(claims.chs));
    told.row("By default", yes(claims.chpd));
    told.row("Protocol version 2", yes(claims.v2));
    told.row("Upgrades", yes(claims.update));
    told.row("Registration data", claims.chrd.as_str());
    told.row("Facts", claims.chf.as_str());
    told.row("Broker user", claims.chusr.as_str());
    told.row(
        "Broker password",
        if claims.chpwd.is_empty() { "" } else { "*****" },
    );
    match claims.overlay() {
        Ok(ours) => {
            let pins: Vec<String> = ours.ca_sha256.iter().map(hex::encode).collect();
            told.row("Pinned authorities", pins.join("\n"));
            told.row(
                "Only for",
                ours.identity
                    .map(|node| node.to_string())
                    .unwrap_or_default(),
            );
            told.row("Once", if ours.one_time { "yes" } else { "" });
        }
        Err(error) => told.row("Extension of ours", format!("UNREADABLE: {error}")),
    }
    let extensions = claims
        .extensions
        .as_ref()
        .and_then(|extensions| serde_json::to_string_pretty(extensions).ok());
    told.row("Extensions", extensions.unwrap_or_default());
    told.standard(&claims.standard);
    told
}

fn chain(standard: &Standard) -> Option<String> {
    if standard.is_chain_issued() {
        let issuer = standard.iss.trim_start_matches("C-");
        let (id, key) = issuer.split_once('.').unwrap_or((issuer, "?"));
        let until = standard
            .issexp
            .map_or_else(String::new, |at| format!(", who ends on {}", instant(at)));
        return Some(format!("issued by chain issuer {key} (token {id}){until}"));
    }
    standard.looks_like_chain_issuer().then(|| {
        let organisation = standard.iss.trim_start_matches("I-");
        format!("may issue tokens in the name of {organisation}")
    })
}

pub(in crate::commands) fn instant(seconds: i64) -> String {
    OffsetDateTime::from_unix_timestamp(seconds)
        .ok()
        .and_then(|at| {
            let form = format_description!("[year]-[month]-[day] [hour]:[minute]:[second] UTC");
            at.format(form).ok()
        })
        .unwrap_or_else(|| format!("second {seconds}"))
}

/// A span in its largest unit that is not tiny.
pub(crate) fn span(seconds: i64) -> String {
    let (count, unit) = match seconds {
        ..120 => (seconds, "seconds"),
        120..7_200 => (seconds / 60, "minutes"),
        7_200..172_800 => (seconds / 3600, "hours"),
        172_800..63_072_000 => (seconds / 86_400, "days"),
        _ => (seconds / 31_536_000, "years"),
    };
    format!("{count} {unit}")
}
