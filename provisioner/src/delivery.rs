//! What a node is given: the helper's answer, checked, with the private key protected for its way.

use std::collections::BTreeMap;

use overlay_protocol::id::{Identity, MAX_NAME_BYTES};
use overlay_protocol::provisioning::action::ConfigureRequest;
use overlay_tokens::SecretText;
use overlay_tokens::key_transport::{ExchangeKey, encrypt_private_key};
use zeroize::Zeroizing;

use crate::answer::Answer;
use crate::enrol::Why;
use crate::entropy::Entropy;
use crate::policy::Placement;
use crate::question::SigningRequest;
use crate::reason::Reason;

const IDENTITY: &str = "identity";
const COLLECTIVES: &str = "collectives";
const HOSTS: &str = "plugin.choria.middleware_hosts";
const PROVISION: &str = "plugin.choria.server.provision";

/// The node's configuration with what the placement adds.
pub(crate) type Configuration = BTreeMap<String, String>;

/// Checks the configuration and fills in what the named overlay gives.
pub(crate) fn configuration(
    answer: &Answer,
    identity: &Identity,
    placements: &BTreeMap<String, Placement>,
) -> Result<Configuration, Why> {
    let unusable = |text: String| Why::new(Reason::HelperOutput, text);
    if answer.configuration.is_empty() {
        return Err(unusable("the helper gave no configuration".to_owned()));
    }
    if answer.placement.len() > MAX_NAME_BYTES {
        return Err(unusable("the helper's placement is too long".to_owned()));
    }
    let mut configuration = answer.configuration.clone();
    if !answer.placement.is_empty() {
        match placements.get(&answer.placement) {
            Some(placement) => place(&mut configuration, placement),
            None if placements.is_empty() => {}
            None => {
                return Err(unusable(format!(
                    "the helper places the node in {:?}, which is not configured",
                    answer.placement
                )));
            }
        }
    }
    for (key, value) in &configuration {
        // A line break would become a setting of its own.
        if key.contains(is_break) || value.contains(is_break) || key.contains('=') {
            return Err(unusable(format!(
                "the helper's setting {key:?} has a line break, or its name has `=`"
            )));
        }
    }
    match configuration.get(IDENTITY) {
        Some(other) if other != identity.as_str() => Err(unusable(format!(
            "the helper's configuration is for {other:?}: the node would not start"
        ))),
        Some(_) | None => Ok(configuration),
    }
}

fn place(configuration: &mut Configuration, placement: &Placement) {
    for (key, values) in [
        (HOSTS, &placement.hosts),
        (COLLECTIVES, &placement.collectives),
    ] {
        if !values.is_empty() && !configuration.contains_key(key) {
            configuration.insert(key.to_owned(), values.join(","));
        }
    }
}

fn is_break(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\0')
}

/// Whether the node would be unprovisioned again after its restart, if its token makes that the default.
pub(crate) fn leaves_provisioning_on(configuration: &Configuration) -> bool {
    let off = ["false", "0", "n", "no", "off"];
    configuration
        .get(PROVISION)
        .is_none_or(|value| !off.contains(&value.to_ascii_lowercase().as_str()))
}

/// Makes the inputs of `configure`.
pub(crate) fn request(
    answer: &Answer,
    configuration: &Configuration,
    csr: Option<&SigningRequest>,
    ecdh_public: &str,
    entropy: &mut Entropy,
) -> Result<ConfigureRequest, Why> {
    let (key, ecdh_public) = if answer.key.is_empty() {
        (SecretText::default(), String::new())
    } else {
        protect(&answer.key, ecdh_public, entropy)?
    };
    let config = overlay_protocol::json::encode_text(configuration);
    Ok(ConfigureRequest {
        token: SecretText::default(),
        config: config.into(),
        certificate: answer.certificate.clone(),
        ca: answer.ca.clone(),
        ssldir: csr.map_or_else(|| answer.ssldir.clone(), |csr| csr.ssldir.clone()),
        key,
        ecdh_public,
        action_policies: policies(&answer.action_policies, ".policy")?,
        opa_policies: policies(&answer.opa_policies, ".rego")?,
        server_jwt: SecretText::default(),
    })
}

/// Policies by file name; the names are those of files in one directory, whatever the node makes of them.
fn policies(
    given: &BTreeMap<String, String>,
    ending: &str,
) -> Result<BTreeMap<String, String>, Why> {
    for name in given.keys().filter(|name| !name.is_empty()) {
        let stem = name.strip_suffix(ending).unwrap_or_default();
        let plain = !stem.is_empty()
            && !stem.starts_with('.')
            && !stem.contains(|c: char| matches!(c, '/' | '\\' | ':') || c.is_control());
        if !plain {
            return Err(Why::new(
                Reason::HelperOutput,
                format!("the helper's policy {name:?} is no plain file name that ends in {ending}"),
            ));
        }
    }
    Ok(given
        .iter()
        .filter(|(name, _)| !name.is_empty())
        .map(|(name, text)| (name.clone(), text.clone()))
        .collect())
}

/// Encrypts a private key for the node; without the node's exchange key it is not sent at all.
fn protect(
    key: &SecretText,
    ecdh_public: &str,
    entropy: &mut Entropy,
) -> Result<(SecretText, String), Why> {
    let refused = |text: String| Why::new(Reason::KeyTransport, text);
    if ecdh_public.is_empty() {
        return Err(refused(
            "the helper gave a private key, and the node no key to encrypt it with".to_owned(),
        ));
    }
    let exchange = ExchangeKey::from_bytes(*entropy.bytes());
    let shared = exchange
        .shared(ecdh_public)
        .map_err(|error| refused(format!("the node's exchange key is none: {error}")))?;
    let pem = Zeroizing::new(key.expose().to_owned());
    let encrypted = encrypt_private_key(&pem, &shared, entropy.half())
        .map_err(|error| refused(format!("the helper's private key cannot be sent: {error}")))?;
    Ok((encrypted.into(), exchange.public_hex()))
}

#[cfg(test)]
mod tests;
