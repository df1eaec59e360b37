//! `overlay jwt provisioner`: the token of nodes that are yet to be provisioned.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use overlay_tokens::SecretText;
use overlay_tokens::issue::ProvisioningToken;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::{material, validity};
use crate::app::App;
use crate::error::Failure;

/// Longest secret that is read from a file.
const MAX_SECRET_BYTES: u64 = 4096;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// File for the token
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Key that signs: the issuer's seed, or an RSA key
    #[arg(value_name = "SIGNING-KEY")]
    signing_key: PathBuf,
    /// Secret that the provisioner must name to a node; others on this machine can see it here
    #[arg(long, value_name = "SECRET", conflicts_with = "token_file")]
    token: Option<String>,
    /// File with that secret, - for standard input
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Broker where nodes wait, host:port; repeat for more
    #[arg(long, value_name = "HOST:PORT")]
    urls: Vec<String>,
    /// Domain whose SRV records name the brokers
    #[arg(long, value_name = "DOMAIN", conflicts_with = "urls")]
    srv: Option<String>,
    /// Let nodes do without protocol security until they are provisioned; this is the default
    #[arg(long, overrides_with = "no_insecure")]
    insecure: bool,
    /// Keep protocol security while provisioning
    #[arg(long, overrides_with = "insecure")]
    no_insecure: bool,
    /// Make nodes provision unless told otherwise
    #[arg(long)]
    default: bool,
    /// Registration data that nodes publish meanwhile
    #[arg(long, value_name = "FILE")]
    registration: Option<String>,
    /// Facts of nodes meanwhile
    #[arg(long, value_name = "FILE")]
    facts: Option<String>,
    /// User that nodes show to the broker
    #[arg(long)]
    username: Option<String>,
    /// Password that nodes show to the broker
    #[arg(long)]
    password: Option<String>,
    /// Anything for the provisioner, as a JSON object
    #[arg(long, value_name = "JSON", value_parser = extensions)]
    extensions: Option<Extensions>,
    /// Organisation
    #[arg(long, default_value = "choria", value_name = "NAME")]
    org: String,
    /// Nodes speak protocol version 2
    #[arg(long)]
    protocol_v2: bool,
    /// Nodes may be upgraded in place
    #[arg(long, visible_alias = "upgrade")]
    update: bool,
    /// How long it is good, such as 90d, 1y
    #[arg(long, default_value = "1y", value_parser = validity::parse)]
    validity: Duration,
}

/// A JSON object, or `null` for none.
#[derive(Debug, Clone)]
pub(in crate::commands) struct Extensions(pub(in crate::commands) Option<Map<String, Value>>);

pub(in crate::commands) fn extensions(text: &str) -> Result<Extensions, String> {
    serde_json::from_str(text)
        .map(Extensions)
        .map_err(|error| format!("no JSON object: {error}"))
}

pub(super) fn run(args: Args, app: &App) -> Result<(), Failure> {
    if args.urls.is_empty() && args.srv.is_none() {
        return Err(Failure::usage("the token must say where the brokers are")
            .hint("add `--urls HOST:PORT` or `--srv DOMAIN`"));
    }
    let token = args.secret()?;
    let key = material::signer(&args.signing_key, app)?;
    let claims = ProvisioningToken {
        token,
        secure: args.no_insecure,
        urls: args.urls,
        srv_domain: args.srv.unwrap_or_default(),
        by_default: args.default,
        registration: args.registration.unwrap_or_default(),
        facts: args.facts.unwrap_or_default(),
        username: args.username.unwrap_or_default(),
        password: args.password.unwrap_or_default().into(),
        extensions: args.extensions.and_then(|extensions| extensions.0),
        ou: args.org,
        protocol_v2: args.protocol_v2,
        allow_update: args.update,
        validity: args.validity,
        issuer: String::new(),
    }
    .claims(material::now())?;
    material::save(&claims, &key, &args.file, app)
}

impl Args {
    /// A node ignores a token without a secret, so there must be one.
    fn secret(&self) -> Result<SecretText, Failure> {
        let secret: SecretText = match (&self.token, &self.token_file) {
            (Some(token), _) => token.as_str().into(),
            (None, Some(path)) => read_secret(path)?,
            (None, None) => SecretText::default(),
        };
        if secret.is_empty() {
            return Err(
                Failure::usage("the token needs a secret for the provisioner")
                    .hint("add `--token-file FILE`, or `--token SECRET`"),
            );
        }
        Ok(secret)
    }
}

/// The secret in a file, or on standard input for `-`, without its line end.
pub(in crate::commands) fn read_secret(path: &Path) -> anyhow::Result<SecretText> {
    let mut text = Zeroizing::new(String::new());
    let read = if path == Path::new("-") {
        std::io::stdin()
            .take(MAX_SECRET_BYTES)
            .read_to_string(&mut text)
    } else {
        std::fs::File::open(path)
            .and_then(|file| file.take(MAX_SECRET_BYTES).read_to_string(&mut text))
    };
    read.with_context(|| format!("cannot read the secret from {}", path.display()))?;
    Ok(text.trim_end_matches(['\r', '\n']).into())
}
