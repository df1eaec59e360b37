//! Files of a cell that people log in to: the signers' identities, the users, and what clients need.

use super::build::{Files, Signing};
use super::layout::{
    AAA_JWT, AAA_SEED, AAA_TOML, Kind, LOGIN_CONF, LOGIN_JWT, LOGIN_SEED, LOGIN_TOML, POLICIES,
    PUBLIC, SECRET, SIGNER_JWT, SIGNER_SEED, USERS, of_signer,
};
use super::templates::Facts;
use super::{keys, tokens};

/// Nobody: the first user is made by `overlay user add`.
const NO_USERS: &str = "[]\n";

/// A policy to begin with: `overlay user add NAME --opa-policy-file …`.
const SAMPLE_POLICY: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../overlays/base/policies/sample.rego"
));

/// Adds them; tokens that cannot be signed here become commands in `signing`.
pub(super) fn files(
    files: &mut Files<'_>,
    facts: &Facts<'_>,
    signing: &mut Signing<'_>,
) -> anyhow::Result<()> {
    let (settings, layout) = (facts.settings, facts.layout);
    let rendered = Kind::Rendered;
    files.add(AAA_TOML, SECRET, rendered, facts.aaa_signer()?);
    files.add(LOGIN_TOML, PUBLIC, rendered, facts.login_toml()?);
    files.add(LOGIN_CONF, PUBLIC, rendered, facts.login_conf());
    let policy = format!("{POLICIES}/sample.rego");
    for (path, text) in [(USERS, NO_USERS), (&policy, SAMPLE_POLICY)] {
        if files.existing(path)?.is_none() {
            files.add(path, SECRET, Kind::Sample, text);
        }
    }
    let signer = keys::seed(files, SIGNER_SEED)?.public();
    signing.token(
        files,
        SIGNER_JWT,
        |issuer, now| tokens::delegator(settings, signer, issuer, now),
        || tokens::delegator_command(settings, layout, signer),
    )?;
    let login = keys::seed(files, LOGIN_SEED)?.public();
    signing.token(
        files,
        LOGIN_JWT,
        |issuer, now| tokens::login_issuer(settings, login, issuer, now),
        || tokens::login_issuer_command(settings, layout, login),
    )?;
    for index in 0..settings.run.aaa_signers {
        let (seed, path) = (of_signer(index, AAA_SEED), of_signer(index, AAA_JWT));
        let identity = settings.signer_identity(index);
        signing.service(files, facts, &identity, (&seed, &path))?;
    }
    Ok(())
}
