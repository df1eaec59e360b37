//! Logins of nodes that are not provisioned and of provisioners, recorded from the Choria broker.
//!
//! Unlike the other recordings they are judged by the rules that hold unless a switch says otherwise.

use std::cell::OnceCell;

use overlay_broker_auth::{
    Attempt, Decision, Hidden, Kind, Login, Memory, Password, Policy, Provisioning,
    ProvisioningCompat, Role, System, Tls, decide,
};
use overlay_testkit::vectors::{Loader, Outcome, for_cases, for_cases_of};
use overlay_testkit::{eventually_blocking, nats_server, skip};
use overlay_tokens::claims::ProvisioningClaims;
use overlay_tokens::{Issuers, Key, PublicKey, UnixTime, Unverified, VerifyKey, sign_nonce};
use serde_json::Value;

use super::broker::{ORGANISATION, text};
use super::rules;
use crate::cell::{Cell, OFTEN, SOON};
use crate::matcher;
use crate::provision::{VETTED, provisioner};

const NONCE: &str = "0-LEW2OX3utEotM";
const NODE: &str = "n1.example.net";

/// What somebody presents to the recorded broker.
#[derive(Debug, Clone)]
struct Presented {
    tls: Tls,
    name: String,
    user: String,
    password: String,
    token: String,
    signature: String,
    nonce: String,
}

/// Keys and tokens of `keys.json`.
struct Known {
    file: Value,
    issuers: Issuers,
}

impl Known {
    fn load(loader: &Loader) -> Result<Self, String> {
        let file = loader
            .load("keys.json")
            .map_err(|error| error.to_string())?;
        let of_organisation = |case: &&Value| text(case, "role").contains("organization issuer");
        let issuer = file["cases"]
            .as_array()
            .and_then(|cases| cases.iter().find(of_organisation))
            .ok_or("no issuer in keys.json")?;
        let issuers = issuers(text(issuer, "public"))?;
        Ok(Self { file, issuers })
    }

    fn policy(&self) -> Policy {
        policy(
            self.issuers.clone(),
            text(&self.file, "provisioner_password"),
        )
    }

    fn token(&self, name: &str) -> Result<String, String> {
        match text(&self.file["tokens"], name) {
            "" => Err(format!("keys.json has no token {name}")),
            token => Ok(token.to_owned()),
        }
    }

    /// The key of a token's holder, if its seed is known.
    fn holder(&self, token: &str) -> Option<Key> {
        let claims = rules::claims(token)?;
        let mut cases = self.file["cases"].as_array()?.iter();
        let case = cases.find(|case| case["public"] == claims["public_key"])?;
        Key::from_seed_text(text(case, "seed").as_bytes()).ok()
    }
}

fn issuers(public: &str) -> Result<Issuers, String> {
    let key: PublicKey = public
        .parse()
        .map_err(|error: overlay_tokens::KeyError| error.to_string())?;
    Issuers::new([(ORGANISATION.to_owned(), key)]).map_err(|error| error.to_string())
}

fn policy(issuers: Issuers, password: &str) -> Policy {
    Policy {
        provisioning: Some(Provisioning {
            password: Password::new(password),
            without_token: false,
            compat: ProvisioningCompat::default(),
        }),
        system: Some(System {
            user: "system".to_owned(),
            password: Password::new("another password"),
        }),
        ..Policy::new(issuers, ORGANISATION, Memory::new(0))
    }
}

impl Presented {
    fn login(&self, policy: &Policy, now: UnixTime) -> Result<Login, String> {
        let attempt = Attempt {
            kind: Kind::Client,
            tls: self.tls,
            host: "127.0.0.1",
            name: &self.name,
            library: "go",
            user: &self.user,
            password: Hidden(&self.password),
            token: Hidden::token(&self.token),
            signature: &self.signature,
            nonce: &self.nonce,
        };
        match decide(&attempt, policy, now) {
            Decision::Allow(login) => Ok(login),
            Decision::Refuse(refusal) => Err(refusal.message()),
        }
    }

    /// A moment at which the token is good.
    fn time(&self) -> UnixTime {
        let claims = rules::claims(self.token.trim()).unwrap_or_default();
        UnixTime::from_secs(claims["iat"].as_i64().unwrap_or_default() + 1)
    }

    /// What the words of a case's name say, which is all that these cases say.
    fn by_words(words: &str, known: &Known) -> Result<Self, String> {
        let is_provisioner = words.starts_with("provisioner");
        let mut presented = if is_provisioner {
            Self::provisioner(known)?
        } else {
            Self::node(known)?
        };
        let what = words
            .strip_prefix("provisioner")
            .or(words.strip_prefix("node token"))
            .unwrap_or(words)
            .trim_start_matches([':', ',', ' ']);
        match what {
            "" | "all right" => {}
            "trailing newline" => presented.token.push('\n'),
            "any user and password" => {
                (presented.user, presented.password) = ("nodeuser".into(), "nodepass".into());
            }
            "without TLS" => presented.tls = Tls::None,
            "empty token" | "no token" => presented.token.clear(),
            "no signature" => (presented.signature, presented.nonce) = Default::default(),
            "wrong password" => presented.password.push('x'),
            "empty password" => presented.password.clear(),
            "token without the permission" => {
                presented.token = known.token("operator")?;
                presented.sign(known)?;
            }
            "token as itself without user" => {
                (presented.user, presented.password) = Default::default();
            }
            other => match other.strip_prefix("user ") {
                Some(user) => presented.user = user.to_owned(),
                None => return Err(format!("nothing is known of {other:?}")),
            },
        }
        Ok(presented)
    }

    fn node(known: &Known) -> Result<Self, String> {
        Ok(Self {
            tls: Tls::Encrypted,
            name: NODE.to_owned(),
            user: String::new(),
            password: String::new(),
            token: known.token("node")?,
            signature: String::new(),
            nonce: String::new(),
        })
    }

    fn provisioner(known: &Known) -> Result<Self, String> {
        let mut presented = Self {
            user: "provisioner".to_owned(),
            password: text(&known.file, "provisioner_password").to_owned(),
            token: known.token("provisioner")?,
            ..Self::node(known)?
        };
        presented.sign(known)?;
        Ok(presented)
    }

    fn sign(&mut self, known: &Known) -> Result<(), String> {
        let key = known
            .holder(&self.token)
            .ok_or("the seed of the token's holder is not known")?;
        self.signature = sign_nonce(&key, NONCE).map_err(|error| error.to_string())?;
        self.nonce = NONCE.to_owned();
        Ok(())
    }

    /// Where we differ: a provisioner must have signed the nonce.
    fn is_unproved_provisioner(&self) -> bool {
        self.user == "provisioner" && self.signature.is_empty()
    }
}

/// `provisioner/login.json`.
pub(crate) fn logins(file: &Value, loader: &Loader) -> Outcome {
    let mut outcome = Outcome::default();
    let known = match Known::load(loader) {
        Ok(known) => known,
        Err(error) => {
            outcome.record("keys", Err(error));
            return outcome;
        }
    };
    if file["connect_lines"].is_array() {
        outcome.merge(for_cases_of(file, "connect_lines", |line| {
            real_program(line, &known)
        }));
    }
    let cell = OnceCell::new();
    outcome.merge(for_cases(file, |case| {
        let name = text(case, "name");
        let expect = &case["expect"];
        if let Some((_, subject)) = name.split_once(" requests ") {
            return requested(&cell, subject, text(expect, "answer"));
        }
        if expect["operations"].is_object() {
            return operations(&known, name.contains("provisioner"), expect);
        }
        let presented = Presented::by_words(name, &known)?;
        let due = expect["accepted"] == true && !presented.is_unproved_provisioner();
        match (presented.login(&known.policy(), presented.time()), due) {
            (Ok(_), true) | (Err(_), false) => Ok(()),
            (Ok(login), false) => Err(format!("allowed: {login:?}")),
            (Err(error), true) => Err(format!("refused: {error}")),
        }
    }));
    outcome
}

/// A real program gets in by its own CONNECT, and does what it does first, under the narrow rules.
fn real_program(line: &Value, known: &Known) -> Result<(), String> {
    let connect = text(line, "connect").trim_start_matches("CONNECT ");
    let connect: Value = serde_json::from_str(connect).map_err(|error| error.to_string())?;
    let signature = text(&connect, "sig").to_owned();
    let presented = Presented {
        tls: Tls::Encrypted,
        name: text(&connect, "name").to_owned(),
        user: text(&connect, "user").to_owned(),
        password: text(&connect, "pass").to_owned(),
        token: text(&connect, "auth_token").to_owned(),
        nonce: if signature.is_empty() {
            String::new()
        } else {
            text(line, "server_nonce").to_owned()
        },
        signature,
    };
    let login = presented.login(&known.policy(), presented.time())?;
    let role = if presented.user == "provisioner" {
        Role::Provisioner
    } else {
        Role::Unprovisioned
    };
    if (login.role, login.account.as_str()) != (role, "provisioning") {
        return Err(format!("{:?} in {}", login.role, login.account));
    }
    for command in text(line, "then").lines() {
        let mut words = command.split_whitespace();
        let may = match (words.next(), words.next()) {
            (Some("SUB"), Some(subject)) => matcher::may_subscribe(&login.permissions, subject),
            (Some("PUB" | "HPUB"), Some(subject)) => {
                matcher::may_publish(&login.permissions, subject)
            }
            _ => true,
        };
        if !may {
            return Err(format!("may not {command}"));
        }
    }
    Ok(())
}

fn operations(known: &Known, provisioner: bool, expect: &Value) -> Result<(), String> {
    let presented = if provisioner {
        Presented::provisioner(known)?
    } else {
        Presented::node(known)?
    };
    let login = presented.login(&known.policy(), presented.time())?;
    let mut wrong = Vec::new();
    for (operation, verdict) in expect["operations"].as_object().into_iter().flatten() {
        let mut words = operation.split(' ');
        let (Some(verb @ ("SUB" | "PUB")), Some(subject)) = (words.next(), words.next()) else {
            return Err(format!("{operation:?} is no operation"));
        };
        let publish = verb == "PUB";
        let refused_here = if provisioner {
            rules::is_none_of_the_provisioners(publish, subject)
        } else {
            rules::is_anothers(NODE, publish, subject)
                || (publish && rules::is_tale(login.role, subject))
        };
        let may = if publish {
            matcher::may_publish(&login.permissions, subject)
        } else {
            matcher::may_subscribe(&login.permissions, subject)
        };
        if may != (*verdict == "allowed" && !refused_here) {
            wrong.push(format!("{operation}: {may}, {verdict} recorded"));
        }
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(wrong.join("; "))
    }
}

/// A provisioner asks for something of the fleet's account, at a real broker with the accounts of a generated cell.
fn requested(cell: &OnceCell<Option<Cell>>, subject: &str, answer: &str) -> Result<(), String> {
    let cell = cell.get_or_init(|| match nats_server::locate() {
        // The account's imports are asked about, not the provisioner's lists.
        Ok(_) => Some(Cell::of_overlay(
            VETTED,
            "[provisioning.compat]\nprovisioner_unrestricted = true\n",
        )),
        Err(error) => {
            skip(
                "requests of a provisioner to the fleet's account",
                &error.to_string(),
                "cargo xtask tools",
            );
            None
        }
    });
    let Some(cell) = cell else { return Ok(()) };
    let due = match answer {
        "503 no responders" if rules::is_answered_here(subject) => Answered::Message,
        "503 no responders" => Answered::NobodyThere,
        "stream info" => Answered::StreamInfo,
        other => return Err(format!("answer {other:?} is not known")),
    };
    let mut found = Answered::NobodyThere;
    let mut ask = || {
        let connect = provisioner(&cell.parts.organisation);
        let mut raw = cell.login(&connect)?;
        raw.send("SUB provisioning.reply.vector.> 1\r\n");
        raw.publish(subject, "provisioning.reply.vector.1", "");
        found = Answered::of(&raw.reply());
        if found == due {
            Ok(())
        } else {
            Err(format!("{found:?}, {due:?} due"))
        }
    };
    // The bucket is made a moment after the start.
    if due == Answered::NobodyThere {
        return ask();
    }
    eventually_blocking(SOON, OFTEN, ask);
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answered {
    NobodyThere,
    StreamInfo,
    Message,
}

impl Answered {
    fn of(reply: &str) -> Self {
        if reply.starts_with("NATS/1.0 503") {
            Self::NobodyThere
        } else if reply.contains("stream_info_response") {
            Self::StreamInfo
        } else {
            Self::Message
        }
    }
}

/// `provisioner/provisioning-jwt.json`.
pub(crate) fn tokens(file: &Value, _loader: &Loader) -> Outcome {
    for_cases(file, |case| {
        let now = UnixTime::from_secs(case["now"].as_i64().ok_or("no time")?);
        let token = text(case, "token");
        let expect = &case["expect"];
        let claims = rules::claims(token).unwrap_or_default();
        // Where we differ: a time as text is none, and extensions of ours that are not understood restrict in an unknown way.
        let strict = rules::has_time_as_text(&claims)
            || overlay_tokens::claims::OverlayExtension::of(claims["extensions"].as_object())
                .is_err();
        let public = text(case, "issuer_public");
        let verified = by_library(token, public, now);
        let agree = |who: &str, ours: bool, recorded: bool| {
            if ours == (recorded && !strict) {
                Ok(())
            } else {
                Err(format!(
                    "{who}: {ours}, {} recorded ({verified:?})",
                    expect[who]
                ))
            }
        };
        agree("library", verified.is_ok(), expect["library"] == "valid")?;
        agree(
            "provisioner",
            verified.is_ok(),
            expect["provisioner"] == "accepted",
        )?;
        let presented = Presented {
            tls: Tls::Encrypted,
            name: claims["extensions"]["overlay"]["identity"]
                .as_str()
                .unwrap_or(NODE)
                .to_owned(),
            user: String::new(),
            password: String::new(),
            token: token.to_owned(),
            signature: String::new(),
            nonce: String::new(),
        };
        let login = presented.login(&policy(issuers(public)?, "x"), now);
        let in_the_room = login
            .as_ref()
            .is_ok_and(|login| login.role == Role::Unprovisioned);
        agree(
            "broker_login",
            in_the_room,
            expect["broker_login"] == "accepted",
        )
    })
}

/// The verdict on a token with one key: signature, time, purpose, and that its extensions are understood.
fn by_library(token: &str, public: &str, now: UnixTime) -> Result<(), String> {
    let key: PublicKey = public
        .parse()
        .map_err(|error: overlay_tokens::KeyError| error.to_string())?;
    let token = Unverified::<ProvisioningClaims>::decode(token.trim_matches(['\r', '\n']))
        .map_err(|error| error.to_string())?;
    let verified = token
        .verify_with_key(&VerifyKey::from(key), now)
        .map_err(|error| error.to_string())?;
    verified
        .overlay()
        .map(drop)
        .map_err(|error| error.to_string())
}
