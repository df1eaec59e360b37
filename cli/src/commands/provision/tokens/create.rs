//! `overlay provision tokens create`: makes the token of new nodes.

use std::path::PathBuf;
use std::time::Duration;

use overlay_protocol::id::Identity;
use overlay_tokens::claims::OverlayExtension;
use overlay_tokens::issue::{PrivateKey, ProvisioningToken};
use overlay_tokens::{Key, SecretText, file};
use serde_json::json;

use super::extension::fingerprints_of;
use crate::app::App;
use crate::commands::jwt::provisioner::{Extensions, extensions, read_secret};
use crate::commands::jwt::{material, validity};
use crate::error::{Failure, Hint};

#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  overlay provision tokens create provisioning.jwt organisation.seed \\
      --urls broker1.lhr.example.net:4222 --token-file node.secret --pin-ca ca.pem --site lhr
                                                for all new nodes of a site
  overlay provision tokens create n1.jwt organisation.seed --srv lhr.example.net \\
      --token-file node.secret --node n1.lhr.example.net --one-time --validity 7d
                                                for one node, once

Nodes take it as provisioning.jwt beside their configuration. It is a bearer token: whoever has it
may ask to be enrolled. So it is written for its owner alone, and --node and --one-time narrow what
it is worth.")]
pub(super) struct Args {
    /// File for the token
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Seed of the organisation's issuer, which signs it
    #[arg(value_name = "ISSUER-SEED")]
    issuer_seed: PathBuf,
    /// Broker where nodes wait, host:port; repeat for more
    #[arg(
        long,
        value_name = "HOST:PORT",
        conflicts_with = "srv",
        required_unless_present = "srv"
    )]
    urls: Vec<String>,
    /// Domain whose SRV records `_choria-provisioner._tcp` name the brokers
    #[arg(long, value_name = "DOMAIN")]
    srv: Option<String>,
    /// File with the secret that the provisioner names to nodes, - for standard input
    #[arg(long, value_name = "FILE", required = true)]
    token_file: PathBuf,
    /// Make that secret and write it to --token-file, which must not exist
    #[arg(long)]
    generate: bool,
    /// Make nodes provision unless told otherwise; this is the default
    #[arg(long, overrides_with = "no_default")]
    default: bool,
    /// Leave it to each node's configuration whether it provisions
    ///
    /// A node that loses its credentials then cannot be enrolled again.
    #[arg(long, overrides_with = "default")]
    no_default: bool,
    /// Certificate of the authority that the broker's must lead to (PEM); repeat for more
    ///
    /// The broker must present it too. Without it whoever is in between can pose as the broker.
    #[arg(long, value_name = "FILE")]
    pin_ca: Vec<PathBuf>,
    /// Good for the node of this name only
    #[arg(long, value_name = "IDENTITY")]
    node: Option<Identity>,
    /// Good for one enrolment only
    #[arg(long)]
    one_time: bool,
    /// Where these nodes are, for the helper: `site` of the extensions
    #[arg(long, value_name = "NAME")]
    site: Option<String>,
    /// Anything else for the helper, as a JSON object
    #[arg(long, value_name = "JSON", value_parser = extensions)]
    extensions: Option<Extensions>,
    /// Registration data that nodes publish while they wait
    #[arg(long, value_name = "FILE")]
    registration: Option<String>,
    /// Facts of nodes while they wait
    #[arg(long, value_name = "FILE")]
    facts: Option<String>,
    /// Nodes may be upgraded in place
    #[arg(long)]
    upgrade: bool,
    /// Organisation
    #[arg(long, default_value = "choria", value_name = "NAME")]
    org: String,
    /// How long it is good, such as 7d, 90d, 1y
    #[arg(long, default_value = "1y", value_name = "SPAN", value_parser = validity::parse)]
    validity: Duration,
}

pub(super) fn run(args: Args, app: &App) -> Result<(), Failure> {
    for url in &args.urls {
        check_url(url).map_err(|why| Failure::usage(format!("--urls {url}: {why}")))?;
    }
    if args.validity.is_zero() {
        return Err(Failure::usage("a token without validity is of no use"));
    }
    let key = material::signer(&args.issuer_seed, app)?;
    if matches!(key, PrivateKey::Rsa(_)) {
        return Err(Failure::new(
            "nodes of protocol version 2 need a token of the organisation's issuer",
        )
        .hint("give the issuer's seed; `overlay jwt provisioner` signs with RSA keys"));
    }
    let extensions = args.extensions()?;
    let token = args.secret()?;
    let claims = ProvisioningToken {
        token,
        secure: false,
        urls: args.urls,
        srv_domain: args.srv.unwrap_or_default(),
        by_default: !args.no_default,
        registration: args.registration.unwrap_or_default(),
        facts: args.facts.unwrap_or_default(),
        extensions,
        ou: args.org,
        protocol_v2: true,
        allow_update: args.upgrade,
        validity: args.validity,
        ..ProvisioningToken::default()
    }
    .claims(material::now())?;
    material::save(&claims, &key, &args.file, app)
}

impl Args {
    fn extensions(&self) -> Result<Option<serde_json::Map<String, serde_json::Value>>, Failure> {
        let given = self.extensions.clone().and_then(|given| given.0);
        let mut all = given.unwrap_or_default();
        if all.contains_key(OURS) {
            return Err(
                Failure::usage(format!("--extensions must not have `{OURS}`"))
                    .hint("--pin-ca, --node and --one-time write it"),
            );
        }
        if let Some(site) = &self.site
            && all.insert("site".to_owned(), json!(site)).is_some()
        {
            return Err(Failure::usage("--site and --extensions both give `site`"));
        }
        let mut pins = Vec::new();
        for file in &self.pin_ca {
            pins.extend(
                fingerprints_of(file)
                    .hint("--pin-ca takes certificates as PEM, such as tls/ca.pem of a cell")?,
            );
        }
        OverlayExtension {
            ca_sha256: pins,
            identity: self.node.clone(),
            one_time: self.one_time,
        }
        .write(&mut all);
        Ok((!all.is_empty()).then_some(all))
    }

    fn secret(&self) -> Result<SecretText, Failure> {
        if self.generate {
            if self.token_file.as_os_str() == "-" {
                return Err(Failure::usage("--generate needs a file for the secret"));
            }
            // A new seed has the form that a good secret has: 32 random bytes as hexadecimal digits.
            let secret = Key::generate()?;
            file::write_seed(&self.token_file, &secret, file::Overwrite::No)
                .hint("leave --generate out to use the secret that is there")?;
            return Ok(secret.seed_text().as_str().into());
        }
        let secret = read_secret(&self.token_file).hint("add --generate to have it made")?;
        if secret.is_empty() {
            return Err(Failure::new(
                "the secret is empty, and nodes ignore such a token",
            ));
        }
        check_length(&secret)?;
        Ok(secret)
    }
}

/// The extension of ours.
const OURS: &str = "overlay";

/// What `choria_provision` takes at most.
const MAX_SECRET: usize = 128;

fn check_length(secret: &SecretText) -> Result<(), Failure> {
    let length = secret.expose().len();
    if length > MAX_SECRET {
        return Err(Failure::new(format!(
            "the secret has {length} bytes; {MAX_SECRET} is the most that nodes are sent"
        )));
    }
    Ok(())
}

/// What a node can connect to: `host:port`, perhaps after a scheme. Without a port nodes never connect.
pub(super) fn check_url(url: &str) -> Result<(), String> {
    let place = match url.split_once("://") {
        Some(("nats" | "tls" | "ws" | "wss", place)) => place,
        Some((scheme, _)) => return Err(format!("{scheme} is no scheme of a broker")),
        None => url,
    };
    let (host, port) = place
        .rsplit_once(':')
        .ok_or("it needs a port: write host:port")?;
    let is_bare_v6 = host.contains(':') && !(host.starts_with('[') && host.ends_with(']'));
    if host.is_empty() || is_bare_v6 || host.contains(['@', '/', ',', ' ']) {
        return Err("write host:port, without user, path or spaces".to_owned());
    }
    match port.parse::<u16>() {
        Ok(0) | Err(_) => Err(format!("{port:?} is no port")),
        Ok(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_need_a_port_and_a_scheme_that_brokers_have() {
        for good in [
            "b1.example.net:4222",
            "nats://b1:4222",
            "tls://[::1]:4222",
            "wss://b:443",
        ] {
            assert_eq!(check_url(good), Ok(()), "{good}");
        }
        for bad in [
            "b1.example.net",
            "nats://b1",
            "http://b1:80",
            "b1:0",
            "b1:70000",
            "::1:4222",
            ":4222",
            "a:1,b:2",
            "user@b:1",
            "nats://b:1/x",
        ] {
            assert!(check_url(bad).is_err(), "{bad}");
        }
    }
}
