//! Keys and passwords of a cell: read from their files, or made.

use anyhow::{Context, anyhow};
use nkeys::{KeyPair, KeyPairType, XKey};
use overlay_tokens::{Key, PublicKey};
use zeroize::Zeroizing;

use super::build::Files;
use super::layout::{
    AAA_KEY, ACCOUNT_KEY, CALLOUT_KEY, CURVE_KEY, ISSUER_PUBLIC, ISSUER_SEED, Kind,
    PROVISIONER_PASSWORD, SECRET, STREAMS_KEY, SYSTEM_PASSWORD,
};

/// Who signs the tokens of this cell.
#[derive(Debug)]
pub(super) struct Issuer {
    pub(super) public: PublicKey,
    /// Absent when the organisation keeps its key elsewhere.
    pub(super) key: Option<Key>,
}

/// Public halves that the broker's configuration names.
#[derive(Debug)]
pub(super) struct BrokerKeys {
    pub(super) callout: String,
    pub(super) account: String,
    pub(super) curve: String,
    pub(super) streams: String,
    pub(super) aaa: String,
}

/// Takes the issuer that the cell has, else the one that was given, else makes one.
pub(super) fn issuer(files: &mut Files<'_>, given: Option<PublicKey>) -> anyhow::Result<Issuer> {
    let seed = files.existing(ISSUER_SEED)?;
    let public = files.existing(ISSUER_PUBLIC)?;
    let key = seed
        .map(|seed| Key::from_seed_text(&seed).with_context(|| format!("cannot use {ISSUER_SEED}")))
        .transpose()?;
    let public = public
        .map(|text| read_public(&text).with_context(|| format!("cannot use {ISSUER_PUBLIC}")))
        .transpose()?;
    match (key, public) {
        (Some(key), Some(public)) if key.public() != public => {
            Err(anyhow!("{ISSUER_PUBLIC} does not belong to {ISSUER_SEED}"))
        }
        (Some(key), public) => {
            let own = key.public();
            if public.is_none() {
                files.add(ISSUER_PUBLIC, SECRET, Kind::Signed, own.to_string());
            }
            Ok(Issuer {
                public: own,
                key: Some(key),
            })
        }
        (None, Some(public)) => Ok(Issuer { public, key: None }),
        (None, None) => {
            if let Some(public) = given {
                files.add(ISSUER_PUBLIC, SECRET, Kind::Key, public.to_string());
                return Ok(Issuer { public, key: None });
            }
            let key = Key::generate()?;
            files.add(ISSUER_SEED, SECRET, Kind::Key, &*key.seed_text());
            files.add(
                ISSUER_PUBLIC,
                SECRET,
                Kind::Signed,
                key.public().to_string(),
            );
            Ok(Issuer {
                public: key.public(),
                key: Some(key),
            })
        }
    }
}

/// Reads a public key as Choria's files hold it.
pub(super) fn read_public(text: &[u8]) -> anyhow::Result<PublicKey> {
    Ok(str::from_utf8(text)
        .context("a public key is 64 hexadecimal digits")?
        .parse::<PublicKey>()?)
}

/// The ed25519 key in a seed file, made if there is none.
pub(super) fn seed(files: &mut Files<'_>, path: &str) -> anyhow::Result<Key> {
    if let Some(text) = files.existing(path)? {
        return Key::from_seed_text(&text).with_context(|| format!("cannot use {path}"));
    }
    let key = Key::generate()?;
    files.add(path, SECRET, Kind::Key, &*key.seed_text());
    Ok(key)
}

/// The keys between broker and login service, made where there are none.
pub(super) fn broker(files: &mut Files<'_>) -> anyhow::Result<BrokerKeys> {
    Ok(BrokerKeys {
        callout: nkey(files, CALLOUT_KEY, KeyPairType::User)?,
        account: nkey(files, ACCOUNT_KEY, KeyPairType::Account)?,
        curve: curve(files)?,
        streams: nkey(files, STREAMS_KEY, KeyPairType::User)?,
        aaa: nkey(files, AAA_KEY, KeyPairType::User)?,
    })
}

fn nkey(files: &mut Files<'_>, path: &str, kind: KeyPairType) -> anyhow::Result<String> {
    if let Some(text) = files.existing(path)? {
        return nkey_public(&text, &kind).with_context(|| format!("cannot use {path}"));
    }
    let pair = KeyPair::new(kind);
    files.add(
        path,
        SECRET,
        Kind::Key,
        Zeroizing::new(pair.seed()?).as_str(),
    );
    Ok(pair.public_key())
}

fn curve(files: &mut Files<'_>) -> anyhow::Result<String> {
    if let Some(text) = files.existing(CURVE_KEY)? {
        return curve_public(&text).with_context(|| format!("cannot use {CURVE_KEY}"));
    }
    let pair = XKey::new();
    files.add(
        CURVE_KEY,
        SECRET,
        Kind::Key,
        Zeroizing::new(pair.seed()?).as_str(),
    );
    Ok(pair.public_key())
}

/// The public key of an nkey seed of this kind.
pub(super) fn nkey_public(seed: &[u8], kind: &KeyPairType) -> anyhow::Result<String> {
    let pair = KeyPair::from_seed(str::from_utf8(seed)?.trim())?;
    if std::mem::discriminant(&pair.key_pair_type()) != std::mem::discriminant(kind) {
        return Err(anyhow!("it is the seed of another kind of key"));
    }
    Ok(pair.public_key())
}

/// The public key of a curve seed.
pub(super) fn curve_public(seed: &[u8]) -> anyhow::Result<String> {
    Ok(XKey::from_seed(str::from_utf8(seed)?.trim())?.public_key())
}

/// The passwords of the provisioner and of the system user, made where there are none.
pub(super) fn passwords(files: &mut Files<'_>) -> anyhow::Result<()> {
    for path in [PROVISIONER_PASSWORD, SYSTEM_PASSWORD] {
        if files.existing(path)?.is_none() {
            // 32 random bytes as hexadecimal digits: the form that a new seed has.
            let password = Key::generate()?.seed_text();
            files.add(path, SECRET, Kind::Key, &*password);
        }
    }
    Ok(())
}
