//! Tokens that the original issued: ours claim the same from the same wishes.

use overlay_protocol::rpc::RpcReply;
use overlay_provisioner::compat::Original;
use overlay_provisioner::{Action, Call, CallFault, HelperFault, Question};
use overlay_testkit::vectors::{self, Loader, Outcome};
use overlay_tokens::claims::{Claims as _, ServerClaims};
use overlay_tokens::issue::ProvisioningToken;
use overlay_tokens::{Key, UnixTime, Unverified, sign_possession};
use serde_json::{Map, Value, json};

use super::machine::{self, Keys, Node, text};

pub(super) fn server_tokens(file: &Value, loader: &Loader) -> Outcome {
    let keys = Keys::load(loader);
    vectors::for_cases(file, |case| {
        let keys = keys.as_ref().map_err(Clone::clone)?;
        let now = UnixTime::from_secs(case["now"].as_i64().ok_or("no time")?);
        // What the original issued verifies with the organisation's key alone.
        let theirs = Unverified::<ServerClaims>::decode(text(&case["expect"]["jwt"])?)
            .map_err(|error| error.to_string())?;
        let verified = theirs.verify(&keys.issuers, now);
        let other_ou = case["expect"]["claims"]["ou"] != "choria";
        if verified.is_err() != other_ou {
            return Err(format!("the original's own token: {verified:?}"));
        }
        let expected = &case["expect"]["claims"];
        let identity = text(&expected["identity"])?;
        let validity = text(&case["config"]["server_jwt_validity"])?;
        let original = Original::read(&format!("server_jwt_validity: {validity}\n"))
            .map_err(|error| error.to_string())?;
        let mut policy = keys.policy();
        policy.issue.validity =
            std::time::Duration::from_secs_f64(original.server_jwt_validity_seconds);
        let mut node = Plain::new(keys, now, wishes(&case["helper"]))?;
        let run = machine::run(keys, &policy, identity, None, &mut node, now, 1)?;
        let claims = run.issued.first().ok_or_else(|| run.outcome())?;
        let ours = keys
            .issuer(now)?
            .issue(claims.clone())
            .map_err(|error| error.to_string())?;
        let ours = Unverified::<ServerClaims>::decode(&ours).map_err(|error| error.to_string())?;
        compare(&ours.claims_unverified().to_json(), expected)
    })
}

/// The helper's answer that leads to these wishes.
fn wishes(helper: &Value) -> String {
    let mut configuration = Map::from_iter([("loglevel".to_owned(), json!("info"))]);
    for (member, key) in [
        ("collectives", "collectives"),
        ("provider", "plugin.security.provider"),
    ] {
        if let Some(value) = helper[member].as_str() {
            configuration.insert(key.to_owned(), value.into());
        }
    }
    json!({"configuration": configuration, "server_claims": helper["server_claims"]}).to_string()
}

fn compare(ours: &Value, expected: &Value) -> Result<(), String> {
    let members = |claims: &Value| claims.as_object().cloned().unwrap_or_default();
    for (name, theirs) in members(expected) {
        let ours = &ours[&name];
        let same = match name.as_str() {
            // New with each token, or the key of a node that only the original saw.
            "jti" | "tcs" | "public_key" => ours.is_string(),
            // A time that went through a duration may be a second earlier.
            "exp" => match (ours.as_i64(), theirs.as_i64()) {
                (Some(ours), Some(theirs)) => (0..=1).contains(&(ours - theirs)),
                _ => false,
            },
            // Rule "collectives are trimmed": with a space a broker would refuse the node.
            "collectives" => *ours == trimmed(&theirs),
            _ => *ours == theirs,
        };
        if !same {
            return Err(format!("{name} is {ours}, the original's is {theirs}"));
        }
    }
    let (ours, theirs) = (members(ours), members(expected));
    match ours.keys().find(|name| !theirs.contains_key(*name)) {
        Some(name) => Err(format!("{name} is claimed, the original does not")),
        None => Ok(()),
    }
}

fn trimmed(collectives: &Value) -> Value {
    let names = collectives.as_array().cloned().unwrap_or_default();
    names
        .iter()
        .filter_map(Value::as_str)
        .map(|name| Value::from(name.trim()))
        .collect()
}

/// A node without faults.
pub(super) struct Plain {
    pub(super) jwt: String,
    pub(super) key: Key,
    pub(super) stdout: String,
    pub(super) version: String,
    pub(super) upgradable: bool,
    pub(super) ecdh_public: String,
}

impl Plain {
    pub(super) fn new(keys: &Keys, now: UnixTime, stdout: String) -> Result<Self, String> {
        let claims = ProvisioningToken {
            token: keys.secret.as_str().into(),
            urls: vec!["nats://127.0.0.1:4222".to_owned()],
            by_default: true,
            protocol_v2: true,
            validity: std::time::Duration::from_secs(86_400),
            ..ProvisioningToken::default()
        }
        .claims(now)
        .map_err(|error| error.to_string())?;
        let exchange = overlay_tokens::key_transport::ExchangeKey::from_bytes([7; 32]);
        Ok(Self {
            jwt: overlay_tokens::issue::sign(&claims, &keys.org)
                .map_err(|error| error.to_string())?,
            key: Key::from_seed([0x55; 32]),
            stdout,
            version: "0.30.2".to_owned(),
            upgradable: true,
            ecdh_public: exchange.public_hex(),
        })
    }

    pub(super) fn data(&self, call: &Call) -> Value {
        let nonce = call
            .data
            .get("nonce")
            .and_then(Value::as_str)
            .unwrap_or_default();
        match call.action {
            Action::Jwt => json!({"jwt": self.jwt, "ecdh_public": self.ecdh_public}),
            Action::Inventory => json!({
                "agents": ["choria_provision"], "facts": {}, "version": self.version, "upgradable": self.upgradable,
            }),
            Action::Gen25519 => json!({
                "public_key": self.key.public().to_string(),
                "signature": sign_possession(&self.key, nonce).unwrap_or_default(),
                "directory": "/etc/choria",
            }),
            Action::Gencsr => json!({"csr": "", "public_key": "", "ssldir": "/etc/choria/ssl"}),
            Action::Configure => json!({"message": "Wrote 2 lines to /etc/choria/server.conf"}),
            Action::Restart | Action::ReleaseUpdate | Action::Shutdown => {
                json!({"message": "Restarting Choria Server after 2s"})
            }
        }
    }
}

impl Node for Plain {
    fn answer(&mut self, call: &Call) -> Result<RpcReply, CallFault> {
        Ok(RpcReply::ok(call.action.name(), self.data(call)))
    }

    fn helper(&mut self, _question: &Question) -> Result<String, HelperFault> {
        Ok(self.stdout.clone())
    }

    fn joins(&self) -> bool {
        true
    }
}
