//! `overlay logout`: the end of the session at hand.

use overlay_client::Config;
use overlay_client::login::{self, LoginClient, LoginError};
use overlay_client::{Credentials, CredentialsError};
use overlay_tokens::claims::ClientClaims;
use overlay_tokens::{Unverified, file};
use serde_json::json;

use crate::app::App;
use crate::commands::jwt::{instant, now};
use crate::error::{Failure, Hint};

/// What tokens of Choria's login service say when they are not of a chain.
const CHORIA_LOGIN: &str = "Choria Userlist Authenticator";

#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  overlay logout             revokes the token at the login service and removes token and seed
  overlay logout --local     removes the files only

The seed is overwritten before it is removed. When the login service cannot be reached, or is Choria's, which
cannot revoke, the token stays good for whoever has a copy of it and of the seed, until it expires.")]
pub(crate) struct Args {
    /// Remove the files only, and tell the login service nothing
    #[arg(long)]
    local: bool,
    /// Remove also a token that no login service made, which a login may not bring back
    #[arg(long)]
    force: bool,
}

/// What became of the token beyond this machine.
enum Fate {
    Revoked {
        by: String,
    },
    /// It was of no use any more.
    Over,
    Stays {
        why: String,
    },
}

pub(crate) async fn run(args: Args, app: &App) -> Result<(), Failure> {
    let config = app.config()?;
    let token = file::read_token(&config.token_file).ok();
    let claims = token
        .as_deref()
        .and_then(|text| Unverified::<ClientClaims>::decode(text).ok())
        .map(|token| token.claims_unverified().clone());
    if let Some(claims) = claims.as_ref().filter(|claims| !is_of_login(claims))
        && !args.force
    {
        return Err(Failure::new(format!(
            "the token of {} was not made by a login service",
            claims.callerid
        ))
        .hint("a login may not bring it back; --force removes it all the same"));
    }
    let fate = if args.local {
        Fate::Stays {
            why: "the login service was not told".to_owned(),
        }
    } else {
        revoke(&config, app).await
    };
    let forgotten = login::forget(&config).hint("remove the files by hand")?;
    let caller = claims.as_ref().map(|claims| claims.callerid.clone());
    let expires = claims
        .as_ref()
        .and_then(|claims| claims.standard.expires_at());
    if app.output.is_json() {
        let (revoked, reason) = match &fate {
            Fate::Revoked { .. } => (true, None),
            Fate::Over => (false, Some("the token was of no use any more")),
            Fate::Stays { why } => (false, Some(why.as_str())),
        };
        return app.output.json(&json!({
            "caller": caller,
            "revoked": revoked,
            "reason": reason,
            "expires": expires,
            "token_removed": forgotten.token,
            "seed_removed": forgotten.seed,
        }));
    }
    if !forgotten.token && !forgotten.seed {
        return app.output.line("Nobody was logged in");
    }
    match (fate, expires) {
        (Fate::Revoked { by }, _) => app
            .output
            .note(format_args!("The token is revoked at {by}")),
        (Fate::Over, _) => {}
        (Fate::Stays { why }, Some(expires)) if expires > now().secs => {
            app.output.warn(format_args!(
                "the token is not revoked: {why}; a copy of it and of the seed is good until {}",
                instant(expires)
            ));
        }
        (Fate::Stays { .. }, _) => {}
    }
    let who = caller.unwrap_or_else(|| "The session".to_owned());
    app.output.line(format_args!(
        "{who} is logged out: {} removed",
        match (forgotten.token, forgotten.seed) {
            (true, true) => "token and seed",
            (true, false) => "token",
            (false, _) => "seed",
        }
    ))
}

/// Whether a login service made it.
fn is_of_login(claims: &ClientClaims) -> bool {
    claims.standard.is_chain_issued() || claims.standard.iss == CHORIA_LOGIN
}

/// Tells the login service, if there is one and the token is still worth it.
async fn revoke(config: &Config, app: &App) -> Fate {
    let credentials = match Credentials::load(config, now()) {
        Ok(credentials) => credentials,
        Err(CredentialsError::ReadToken { .. } | CredentialsError::Token { .. }) => {
            return Fate::Over;
        }
        Err(error @ (CredentialsError::ReadSeed { .. } | CredentialsError::OtherKey { .. })) => {
            return Fate::Stays {
                why: error.to_string(),
            };
        }
    };
    let spinner = app.output.spinner("telling the login service");
    let told = async {
        let mut client = LoginClient::new(config, None).await?;
        client.logout(&credentials).await?;
        Ok::<_, LoginError>(client.asked())
    }
    .await;
    drop(spinner);
    match told {
        Ok(by) => Fate::Revoked { by },
        Err(error) => Fate::Stays {
            why: format!("{:#}", anyhow::Error::new(error)),
        },
    }
}
