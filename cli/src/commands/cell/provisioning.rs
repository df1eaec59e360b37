//! Files of a cell that enrols nodes: the provisioner's, and what new nodes arrive with.

use overlay_tokens::{Key, SecretText};

use super::build::{Files, Signing};
use super::layout::{
    BROKER_CERT, CA_CERT, Kind, NODE_SECRET, PROGRAM, PROVISIONER_JWT, PROVISIONER_SEED,
    PROVISIONER_TOML, PROVISIONING_JWT, PUBLIC, SECRET, SITE_CONF,
};
use super::templates::{Facts, HELPERS};
use super::{keys, tls, tokens};

/// Adds them; tokens that cannot be signed here become commands in `signing`.
pub(super) fn files(
    files: &mut Files<'_>,
    facts: &Facts<'_>,
    signing: &mut Signing<'_>,
) -> anyhow::Result<()> {
    let (settings, layout) = (facts.settings, facts.layout);
    let key = keys::seed(files, PROVISIONER_SEED)?.public();
    let secret = node_secret(files)?;
    files.add(
        PROVISIONER_TOML,
        SECRET,
        Kind::Rendered,
        facts.provisioner()?,
    );
    files.add(SITE_CONF, PUBLIC, Kind::Rendered, facts.site_conf()?);
    for (path, text) in HELPERS {
        if files.existing(path)?.is_none() {
            files.add(path, PROGRAM, Kind::Sample, text);
        }
    }
    signing.token(
        files,
        PROVISIONER_JWT,
        |issuer, now| tokens::provisioner(settings, key, issuer, now),
        || tokens::provisioner_command(settings, layout, key),
    )?;
    let certificate = files.content(BROKER_CERT)?.unwrap_or_default();
    let authority = files.content(CA_CERT)?.unwrap_or_default();
    signing.token(
        files,
        PROVISIONING_JWT,
        |issuer, now| {
            let pins = tls::pins(&certificate, &authority)?;
            tokens::provisioning(settings, secret, pins, issuer, now)
        },
        || tokens::provisioning_command(settings, layout),
    )
}

/// The secret between provisioner and nodes, made if there is none.
fn node_secret(files: &mut Files<'_>) -> anyhow::Result<SecretText> {
    if let Some(text) = files.existing(NODE_SECRET)? {
        return Ok(str::from_utf8(&text)?.trim_end().into());
    }
    // 32 random bytes as hexadecimal digits: the form that a new seed has.
    let secret = Key::generate()?.seed_text();
    files.add(NODE_SECRET, SECRET, Kind::Key, &*secret);
    Ok(secret.as_str().into())
}
