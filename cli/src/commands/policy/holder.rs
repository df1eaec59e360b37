//! Whose policy it is: the claims of a token, of a file, or of a user as the login service would issue them.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use overlay_tokens::Unverified;
use overlay_tokens::claims::ClientClaims;
use serde_json::{Map, Value, json};

use super::read;
use crate::app::App;
use crate::error::Failure;

/// Organisation of users whose record names none.
const ORGANISATION: &str = "choria";

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Caller")]
pub(super) struct HolderArgs {
    /// The claims of this token, which is not verified; without any of these, the token of the session
    #[arg(long, value_name = "FILE", conflicts_with_all = ["claims", "users"])]
    token: Option<PathBuf>,
    /// The claims in this file, in JSON
    #[arg(long, value_name = "FILE", conflicts_with = "users")]
    claims: Option<PathBuf>,
    /// Users file of the login service
    #[arg(long, value_name = "FILE", requires = "user", env = "OVERLAY_USERS")]
    users: Option<PathBuf>,
    /// The user in the users file
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Decide by this policy in Rego instead of what the caller has
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
}

/// A caller.
#[derive(Debug)]
pub(super) struct Holder {
    /// What the token says.
    pub(super) claims: ClientClaims,
    /// Where that comes from, for people.
    pub(super) source: String,
}

impl Holder {
    pub(super) fn find(args: &HolderArgs, app: &App) -> Result<Self, Failure> {
        let mut holder = Self::named(args, app)?;
        if let Some(policy) = &args.policy {
            holder.claims.agents.clear();
            holder.claims.opa_policy = Some(read(policy)?);
            holder.source = format!("{}, with {}", holder.source, policy.display());
        }
        Ok(holder)
    }

    fn named(args: &HolderArgs, app: &App) -> Result<Self, Failure> {
        if let Some(file) = &args.token {
            return Self::of_token(&read(file)?, file);
        }
        if let Some(file) = &args.claims {
            return Self::of_claims(file);
        }
        if let Some(name) = &args.user {
            let file = args.users.as_ref().ok_or_else(|| {
                Failure::usage("no users file to look for the user in").hint("give --users FILE")
            })?;
            return Self::of_user(file, name);
        }
        if args.policy.is_some() {
            return Ok(Self {
                claims: ClientClaims::default(),
                source: "a caller without claims".to_owned(),
            });
        }
        let config = app.config()?;
        Self::of_token(&read(&config.token_file)?, &config.token_file)
    }

    fn of_token(text: &str, file: &Path) -> Result<Self, Failure> {
        let shown = file.display();
        let token = Unverified::<ClientClaims>::decode(text.trim())
            .map_err(|error| Failure::usage(format!("{shown} holds no client token: {error}")))?;
        Ok(Self {
            claims: token.claims_unverified().clone(),
            source: format!("{shown}, not verified"),
        })
    }

    fn of_claims(file: &Path) -> Result<Self, Failure> {
        let shown = file.display();
        let claims: Value = serde_json::from_str(&read(file)?)
            .map_err(|error| Failure::usage(format!("{shown} holds no JSON: {error}")))?;
        Ok(Self {
            claims: as_of_token(&claims, file)?,
            source: shown.to_string(),
        })
    }

    fn of_user(file: &Path, name: &str) -> Result<Self, Failure> {
        let shown = file.display();
        let users: Vec<Map<String, Value>> = serde_json::from_str(&read(file)?)
            .map_err(|error| Failure::usage(format!("{shown} is no list of users: {error}")))?;
        let user = users
            .iter()
            .map(User)
            .find(|user| user.text("username") == name)
            .ok_or_else(|| Failure::usage(format!("{shown} has no user {name}")))?;
        let directory = file.parent().unwrap_or(Path::new("."));
        Ok(Self {
            claims: as_of_token(&user.claims(directory)?, file)?,
            source: format!("user {name} of {shown}"),
        })
    }
}

/// Reads claims as those of a token are read: what is not known there is dropped.
fn as_of_token(claims: &Value, file: &Path) -> Result<ClientClaims, Failure> {
    let part = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
    let header = json!({"alg": "EdDSA", "typ": "JWT"});
    let unsigned = format!(
        "{}.{}.{}",
        part(&header),
        part(claims),
        URL_SAFE_NO_PAD.encode([0; 64])
    );
    Unverified::<ClientClaims>::decode(&unsigned)
        .map(|token| token.claims_unverified().clone())
        .map_err(|error| {
            let message = format!("{} holds no claims of a client: {error}", file.display());
            Failure::usage(message)
        })
}

/// A record of the users file, its keys in any letter case.
struct User<'a>(&'a Map<String, Value>);

impl User<'_> {
    fn get(&self, key: &str) -> Option<&Value> {
        self.0
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(key))
            .map(|(_, value)| value)
    }

    fn text(&self, key: &str) -> &str {
        self.get(key).and_then(Value::as_str).unwrap_or_default()
    }

    /// The claims that a login would put into the token, but for those of its time and chain.
    fn claims(&self, directory: &Path) -> Result<Value, Failure> {
        let name = self.text("username");
        let mut claims = json!({"callerid": format!("up={name}"), "purpose": "choria_client_id"});
        let mut set = |claim: &str, value: Value| {
            if let Value::Object(claims) = &mut claims {
                claims.insert(claim.to_owned(), value);
            }
        };
        let organisation = match self.text("organization") {
            "" => ORGANISATION,
            named => named,
        };
        set("ou", organisation.into());
        for (key, claim) in [
            ("acls", "agents"),
            ("properties", "user_properties"),
            ("broker_permissions", "permissions"),
        ] {
            if let Some(value) = self.get(key).filter(|value| !value.is_null()) {
                set(claim, value.clone());
            }
        }
        if self.get("acls").is_none() && !self.text("acls_file").is_empty() {
            set(
                "agents",
                actions(&read(&directory.join(self.text("acls_file")))?),
            );
        }
        match (self.text("opa_policy"), self.text("opa_policy_file")) {
            ("", "") => {}
            ("", file) => set("opa_policy", read(&directory.join(file))?.into()),
            (text, _) => set("opa_policy", text.into()),
        }
        if !self.text("tenant").is_empty() {
            set("tenant", self.text("tenant").into());
        }
        Ok(claims)
    }
}

/// A file of actions: a JSON list, or one on each line, with `#` before remarks.
fn actions(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_no_json| {
        text.lines()
            .map(|line| line.split('#').next().unwrap_or_default().trim())
            .filter(|line| !line.is_empty())
            .collect()
    })
}
