//! `overlay whoami`: the session at hand.

use overlay_client::Config;
use overlay_tokens::claims::ClientClaims;
use overlay_tokens::{PublicKey, Token, Unverified, file};
use serde_json::{Value, json};

use crate::app::App;
use crate::commands::jwt::{self, Described, State, now};
use crate::error::{Failure, Hint};

#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  overlay whoami                  who, what for, until when, from which files
  overlay whoami --json | jq .expires_in

Nothing is asked of a broker or a service: it is what the token says, verified where the configuration names
the organisation's issuer. The exit code is 1 when the session is of no use: no token, expired, or with
another key.")]
pub(crate) struct Args {}

/// Whether the seed is that of the token's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seed {
    Fits,
    OfAnother,
    Unreadable,
}

pub(crate) fn run(_args: &Args, app: &App) -> Result<(), Failure> {
    let config = app.config()?;
    let text = file::read_token(&config.token_file)
        .hint("`overlay login` gets a token; `overlay jwt client` makes one")?;
    let shown = config.token_file.display();
    let token = match Token::decode(&text) {
        Ok(Token::Client(token)) => *token,
        Ok(Token::Server(_) | Token::Provisioning(_) | Token::Unknown(_)) => {
            return Err(Failure::new(format!("{shown} is not a client's token"))
                .hint("`overlay jwt view` shows what it is"));
        }
        Err(error) => {
            return Err(Failure::from(error).context(format!("{shown} holds no token")));
        }
    };
    let claims = token.claims_unverified().clone();
    let mut described = jwt::describe_client(&claims);
    let doubt = verify(token, &config, &mut described);
    let seed = seed(&config, &claims);
    let state = described.state(now());
    if app.output.is_json() {
        app.output
            .json(&as_json(&claims, &described, &config, seed))?;
    } else {
        described.row("Token file", config.token_file.display().to_string());
        described.row(
            "Seed file",
            format!("{}{}", config.seed_file.display(), seed.remark()),
        );
        if let Some(source) = &config.source {
            described.row("Configuration", source.display().to_string());
        }
        app.output.text(described.render_session(now()))?;
    }
    app.warn_of_exposed_key(&config.seed_file);
    let failure = match (state, seed) {
        (State::Expired, _) => Failure::new("the session has expired"),
        (State::NotYet, _) => Failure::new("the token is not good yet")
            .hint("see whether this machine's clock is right"),
        (State::Good, Seed::OfAnother) => {
            Failure::new("the token is for another key than the seed's")
        }
        (State::Good, Seed::Unreadable) => Failure::new("the key of the token cannot be read"),
        (State::Good, Seed::Fits) => match doubt {
            None => return Ok(()),
            Some(doubt) => Failure::new(format!("the token cannot be believed: {doubt}")),
        },
    };
    Err(failure.hint("`overlay login` begins a new session"))
}

/// Verifies the token where an issuer is known; why not, when it does not pass although it is good by its times.
fn verify(
    token: Unverified<ClientClaims>,
    config: &Config,
    described: &mut Described,
) -> Option<String> {
    let issuers = config.issuers.as_ref()?;
    match token.verify(issuers, now()) {
        Ok(verified) => {
            described.verified_by_issuer(verified.verification_key());
            None
        }
        Err(error) => Some(format!("{:#}", anyhow::Error::new(error))),
    }
}

fn seed(config: &Config, claims: &ClientClaims) -> Seed {
    let Ok(key) = file::read_seed(&config.seed_file) else {
        return Seed::Unreadable;
    };
    let named: Option<PublicKey> = claims.standard.public_key.parse().ok();
    if named == Some(key.public()) {
        Seed::Fits
    } else {
        Seed::OfAnother
    }
}

impl Seed {
    fn remark(self) -> &'static str {
        match self {
            Self::Fits => "",
            Self::OfAnother => " (OF ANOTHER KEY)",
            Self::Unreadable => " (NOT READABLE)",
        }
    }
}

fn as_json(claims: &ClientClaims, described: &Described, config: &Config, seed: Seed) -> Value {
    let standard = &claims.standard;
    json!({
        "caller": claims.callerid,
        "organisation": claims.ou,
        "tenant": claims.tenant,
        "actions": claims.agents,
        "policy": claims.opa_policy,
        "properties": claims.user_properties,
        "permissions": described.permissions,
        "state": described.state(now()),
        "issued": standard.iat,
        "expires": described.expires,
        "expires_in": described.expires.map(|at| at.saturating_sub(now().secs)),
        "token_id": standard.jti,
        "issuer": standard.iss,
        "chain": described.chain,
        "public_key": standard.public_key,
        "verified": described.is_verified(),
        "seed_fits": seed == Seed::Fits,
        "files": {
            "configuration": config.source,
            "token": config.token_file,
            "seed": config.seed_file,
        },
    })
}
