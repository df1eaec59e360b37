//! `overlay jwt client`: the token of a person, a service or a chain issuer.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use overlay_protocol::id::Tenant;
use overlay_tokens::claims::ClientPermissions;
use overlay_tokens::issue::{ClientToken, PrivateKey, add_org_issuer_data};

use super::{material, validity};
use crate::app::App;
use crate::error::Failure;

#[derive(Debug, clap::Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line"
)]
pub(super) struct Args {
    /// File for the token
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Who will call, such as up=rip
    #[arg(value_name = "IDENTITY")]
    identity: String,
    /// Key that signs: the issuer's seed, or an RSA key
    #[arg(value_name = "SIGNING-KEY")]
    signing_key: PathBuf,
    /// Public key of the holder: 64 hexadecimal digits, or a file; without one nobody can use the token
    #[arg(long, value_name = "HEX|FILE")]
    public_key: Option<String>,
    /// Organisation
    #[arg(long, default_value = "choria", value_name = "NAME")]
    org: String,
    /// Tenant of the organisation that the holder belongs to
    #[arg(long, value_name = "NAME")]
    tenant: Option<Tenant>,
    /// How long it is good, such as 1h, 90d, 1y
    #[arg(long, default_value = "1h", value_parser = validity::parse)]
    validity: Duration,
    /// Action that the holder may have signed: agent, agent.action, or * for all; repeat for more
    #[arg(long, value_name = "ACTION")]
    agents: Vec<String>,
    /// Rego policy that decides what the holder may have signed
    #[arg(long, value_name = "REGO")]
    opa: Option<String>,
    /// File with such a policy; counts before --opa
    #[arg(long, value_name = "FILE")]
    opa_file: Option<PathBuf>,
    /// May administer all streams
    #[arg(long)]
    stream_admin: bool,
    /// May use streams, buckets and object stores
    #[arg(long)]
    stream_user: bool,
    /// May see lifecycle and machine events
    #[arg(long)]
    event_viewer: bool,
    /// May read the audit of logins and signatures
    #[arg(long)]
    audit_viewer: bool,
    /// May take part in leader elections
    #[arg(long)]
    elections_user: bool,
    /// Is a service, whose token may live long
    #[arg(long)]
    service: bool,
    /// May log in to the broker's system account, with user and password
    #[arg(long)]
    system: bool,
    /// May sign requests of others
    #[arg(long)]
    auth_delegation: bool,
    /// May make requests to the fleet; this is the default
    #[arg(long, overrides_with = "no_fleet_management")]
    fleet_management: bool,
    /// May not make requests to the fleet
    #[arg(long, overrides_with = "fleet_management")]
    no_fleet_management: bool,
    /// May make requests to the fleet only with a delegator's signature
    #[arg(long)]
    signed_fleet_management: bool,
    /// May do everything in the organisation's account
    #[arg(long)]
    org_admin: bool,
    /// May log in as the provisioner
    #[arg(long)]
    server_provisioner: bool,
    /// May use governors; counts together with a streams permission
    #[arg(long)]
    governor: bool,
    /// May issue tokens for others; takes away fleet access and delegation
    #[arg(long)]
    issuer: bool,
    /// Further subject to publish to; repeat for more
    #[arg(long, value_name = "SUBJECT")]
    publish: Vec<String>,
    /// Further subject to subscribe to; repeat for more
    #[arg(long, value_name = "SUBJECT")]
    subscribe: Vec<String>,
}

pub(super) fn run(args: Args, app: &App) -> Result<(), Failure> {
    let key = material::signer(&args.signing_key, app)?;
    let holder = args
        .public_key
        .as_deref()
        .map(material::holder)
        .transpose()?;
    if args.issuer && holder.is_none() {
        return Err(
            Failure::usage("an issuer's token needs the issuer's public key")
                .hint("make a pair with `overlay jwt keys` and add `--public-key FILE`"),
        );
    }
    let opa_policy = match &args.opa_file {
        Some(path) => Some(
            std::fs::read_to_string(path)
                .with_context(|| format!("cannot read the policy {}", path.display()))?,
        ),
        None => args.opa.clone(),
    };
    let permissions = args.permissions();
    let token = ClientToken {
        public_key: holder,
        ou: args.org,
        tenant: args.tenant,
        validity: args.validity,
        agents: args.agents,
        opa_policy,
        permissions: Some(permissions),
        pub_subjects: args.publish,
        sub_subjects: args.subscribe,
        ..ClientToken::new(args.identity)
    };
    let mut claims = token.claims(material::now())?;
    if holder.is_none() {
        app.output.warn(
            "the token has no public key, so no broker lets its holder in; add `--public-key FILE`",
        );
    }
    match &key {
        PrivateKey::Ed25519(key) if args.issuer => add_org_issuer_data(&mut claims.standard, key)?,
        PrivateKey::Ed25519(_) => {}
        PrivateKey::Rsa(_) if args.issuer => {
            return Err(Failure::usage("an RSA key cannot make issuers")
                .hint("sign with the organisation's ed25519 seed"));
        }
        PrivateKey::Rsa(_) => app.output.warn(
            "brokers with an organisation's issuer do not accept client tokens signed by RSA",
        ),
    }
    material::save(&claims, &key, &args.file, app)
}

impl Args {
    fn permissions(&self) -> ClientPermissions {
        // Who provisions or has requests signed also makes requests.
        let implied = self.signed_fleet_management || self.server_provisioner;
        let makes_requests = !self.issuer && (implied || !self.no_fleet_management);
        ClientPermissions {
            streams_admin: self.stream_admin,
            streams_user: self.stream_user,
            events_viewer: self.event_viewer,
            audit_viewer: self.audit_viewer,
            election_user: self.elections_user,
            system_user: self.system,
            governor: self.governor,
            org_admin: self.org_admin,
            fleet_management: makes_requests,
            signed_fleet_management: self.signed_fleet_management && !self.issuer,
            service: self.service,
            authentication_delegator: self.auth_delegation && !self.issuer,
            provisioner: self.server_provisioner,
        }
    }
}
