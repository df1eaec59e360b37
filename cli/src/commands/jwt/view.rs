//! `overlay jwt view`: what a token says, and whether it can be believed.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use overlay_tokens::claims::{Claims, ProvisioningClaims};
use overlay_tokens::{Token, Unverified, VerifyKey, file};
use serde_json::{Map, Value, json};

use super::material;
use super::people::{self, Described};
use crate::app::App;
use crate::error::{Failure, Hint};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// File with the token
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The issuer's public key to verify it with: 64 hexadecimal digits, or a file with them or with an
    /// RSA key
    #[arg(value_name = "PUBLIC")]
    public: Option<String>,
}

impl Args {
    pub(super) fn new(file: PathBuf, public: Option<String>) -> Self {
        Self { file, public }
    }
}

pub(super) fn run(args: &Args, app: &App) -> Result<(), Failure> {
    let text = file::read_token(&args.file)
        .hint("give the file of a token; `overlay jwt --help` lists the verbs")?;
    let key = args.public.as_deref().map(material::verifier).transpose()?;
    let shown = args.file.display();
    let token = Token::decode(&text)
        .map_err(|error| anyhow::Error::new(error).context(format!("{shown} holds no token")))
        .hint("a token is three parts of letters and digits with dots between")?;
    let described = match token {
        Token::Client(token) => {
            let described = people::client(token.claims_unverified());
            trusted(*token, key.as_ref(), described)?
        }
        Token::Server(token) => {
            let described = people::server(token.claims_unverified());
            trusted(*token, key.as_ref(), described)?
        }
        Token::Provisioning(token) => {
            let described = people::provisioning(token.claims_unverified());
            trusted(*token, key.as_ref(), described)?
        }
        Token::Unknown(purpose) => {
            return Err(Failure::new(format!(
                "{shown} is a token for {purpose:?}, which nobody serves"
            ))
            .hint("tokens are for clients, servers and provisioning"));
        }
    };
    if app.output.is_json() {
        app.output.json(&with_claims(&text, &described)?)
    } else {
        app.output
            .text(described.render(&args.file, material::now()))
    }
}

/// Verifies the token if there is a key; a token that does not pass is not shown.
fn trusted<C: Claims>(
    token: Unverified<C>,
    key: Option<&VerifyKey>,
    mut described: Described,
) -> Result<Described, Failure> {
    if let Some(key) = key {
        let verified = token
            .verify_with_key(key, material::now())
            .map_err(|error| anyhow::Error::new(error).context("the token cannot be believed"))
            .hint("without the key argument its claims are shown all the same, unverified")?;
        described.verified_with(verified.verification_key(), key);
    }
    Ok(described)
}

/// Shows the token of nodes that are yet to be provisioned; its secrets are never shown.
pub(in crate::commands) fn provisioning(
    path: &Path,
    public: Option<&str>,
    app: &App,
) -> Result<(), Failure> {
    let (text, token) = decode_provisioning(path)?;
    let key = public.map(material::verifier).transpose()?;
    let described = people::provisioning(token.claims_unverified());
    let described = trusted(token, key.as_ref(), described)?;
    if !app.output.is_json() {
        return app.output.text(described.render(path, material::now()));
    }
    let mut shown = with_claims(&text, &described)?;
    for secret in ["cht", "chpwd"] {
        if let Some(value) = shown.get_mut(secret).filter(|value| *value != "") {
            *value = json!("*****");
        }
    }
    app.output.json(&shown)
}

/// Reads a token of nodes that are yet to be provisioned; any other is refused.
pub(in crate::commands) fn decode_provisioning(
    path: &Path,
) -> Result<(String, Unverified<ProvisioningClaims>), Failure> {
    let text = file::read_token(path)
        .hint("give the file of a token, such as /etc/choria/provisioning.jwt")?;
    let shown = path.display();
    let other = |kind: &str| {
        Err(
            Failure::new(format!("{shown} is {kind}, not a provisioning token"))
                .hint(format!("`overlay jwt view {shown}` shows it")),
        )
    };
    let token = Token::decode(&text)
        .map_err(|error| anyhow::Error::new(error).context(format!("{shown} holds no token")))
        .hint("a token is three parts of letters and digits with dots between")?;
    match token {
        Token::Provisioning(token) => Ok((text, *token)),
        Token::Client(_) => other("the token of a client"),
        Token::Server(_) => other("the token of a node"),
        Token::Unknown(purpose) => other(&format!("a token for {purpose:?}")),
    }
}

/// The claims as they are signed, and beside them what was found.
fn with_claims(text: &str, described: &Described) -> Result<Value, Failure> {
    let mut claims = claims(text)?;
    claims.insert(
        "overlay".to_owned(),
        json!({
            "verified": described.is_verified(),
            "state": described.state(material::now()),
            "expires": described.expires,
            "chain": described.chain,
            "permissions": described.permissions,
        }),
    );
    Ok(Value::Object(claims))
}

fn claims(text: &str) -> Result<Map<String, Value>, Failure> {
    let segment = text
        .split('.')
        .nth(1)
        .ok_or_else(|| anyhow!("the token has no claims"))?;
    // Line ends are no part of it, as when it is verified.
    let segment: String = segment
        .chars()
        .filter(|found| !matches!(found, '\r' | '\n'))
        .collect();
    let json = URL_SAFE_NO_PAD.decode(segment)?;
    Ok(serde_json::from_slice(&json)?)
}

/// A path as it stands in a heading.
pub(super) fn title(path: &Path) -> String {
    path.display().to_string()
}
