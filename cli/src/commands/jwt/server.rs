//! `overlay jwt server`: the token of a node.

use std::path::PathBuf;
use std::time::Duration;

use overlay_protocol::id::{Collective, Identity};
use overlay_tokens::claims::ServerPermissions;
use overlay_tokens::issue::{PrivateKey, ServerToken};

use super::{material, validity};
use crate::app::App;
use crate::error::Failure;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// File for the token
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Identity of the node
    #[arg(value_name = "IDENTITY")]
    identity: String,
    /// Public key of the node: 64 hexadecimal digits, or a file
    #[arg(value_name = "PUBLIC-KEY")]
    public_key: String,
    /// Key that signs: the issuer's seed, or an RSA key
    #[arg(value_name = "SIGNING-KEY")]
    signing_key: PathBuf,
    /// Collective that the node is in; repeat for more
    #[arg(long, default_value = "choria", value_name = "NAME")]
    collectives: Vec<String>,
    /// Organisation
    #[arg(long, default_value = "choria", value_name = "NAME")]
    org: String,
    /// Further subject to publish to; repeat for more
    #[arg(long, value_name = "SUBJECT")]
    subjects: Vec<String>,
    /// May submit messages
    #[arg(long)]
    submission: bool,
    /// May use streams
    #[arg(long)]
    stream_user: bool,
    /// May host service agents
    #[arg(long)]
    service: bool,
    /// May use governors; needs --stream-user
    #[arg(long)]
    governor: bool,
    /// How long it is good, such as 90d, 1y
    #[arg(long, default_value = "1y", value_parser = validity::parse)]
    validity: Duration,
}

pub(super) fn run(args: Args, app: &App) -> Result<(), Failure> {
    if args.governor && !args.stream_user {
        return Err(
            Failure::usage("--governor is of no use without --stream-user")
                .hint("governors are streams: add `--stream-user`"),
        );
    }
    // Either would stand in subjects, where a wildcard opens what it should not.
    Identity::new(args.identity.as_str())
        .map_err(|error| Failure::usage(format!("identity {:?}: {error}", args.identity)))?;
    for collective in &args.collectives {
        Collective::new(collective.as_str())
            .map_err(|error| Failure::usage(format!("collective {collective:?}: {error}")))?;
    }
    let key = material::signer(&args.signing_key, app)?;
    let token = ServerToken {
        identity: args.identity,
        collectives: args.collectives,
        public_key: Some(material::holder(&args.public_key)?),
        validity: args.validity,
        ou: args.org,
        permissions: Some(ServerPermissions {
            submission: args.submission,
            streams: args.stream_user,
            governor: args.governor,
            service_host: args.service,
        }),
        pub_subjects: args.subjects,
        ..ServerToken::default()
    };
    let claims = token.claims(material::now())?;
    if matches!(key, PrivateKey::Rsa(_)) {
        app.output.warn(
            "brokers with an organisation's issuer do not accept server tokens signed by RSA",
        );
    }
    material::save(&claims, &key, &args.file, app)
}
