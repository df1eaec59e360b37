//! A node that answers as the original does, with faults where a test wants them.

use std::collections::BTreeMap;

use overlay_protocol::rpc::{RpcReply, StatusCode};
use overlay_tokens::key_transport::ExchangeKey;
use overlay_tokens::{Key, sign_possession, sign_renewal};
use serde_json::{Value, json};

use super::super::command::{Action, Call, CallFault};

/// What a node does wrong with one action.
#[derive(Debug, Clone)]
pub(super) enum Fault {
    /// No answer.
    Silent,
    /// It left.
    Gone,
    /// Somebody else listens.
    Overheard,
    /// Something that cannot be read.
    Unreadable,
    /// It refuses.
    Aborts(&'static str),
    /// A member of the reply is missing.
    Lacks(&'static str),
    /// A member of the reply is another.
    Says(&'static str, Value),
    /// The reply is no object.
    NoObject,
}

/// The node.
#[derive(Debug)]
pub(super) struct TestNode {
    pub(super) secret: String,
    pub(super) jwt: String,
    pub(super) key: Key,
    pub(super) exchange: ExchangeKey,
    /// A member's old token and key.
    pub(super) member: Option<(String, Key)>,
    pub(super) inventory: Value,
    pub(super) csr: Option<String>,
    /// Faults by action, with how often they happen.
    pub(super) faults: BTreeMap<&'static str, (Fault, u32)>,
    /// Calls that it heard.
    pub(super) heard: Vec<Action>,
    /// Inputs of the last `configure` that it did.
    pub(super) configured: Vec<Value>,
}

impl TestNode {
    pub(super) fn new(secret: &str, jwt: String) -> Self {
        Self {
            secret: secret.to_owned(),
            jwt,
            key: Key::from_seed([0x31; 32]),
            exchange: ExchangeKey::from_bytes([0x32; 32]),
            member: None,
            inventory: json!({
                "agents": ["choria_provision", "rpcutil"], "classes": [], "collectives": ["provisioning"],
                "data_plugins": [], "facts": {"site": "lon"}, "machines": [], "main_collective": "provisioning",
                "version": "0.30.2", "upgradable": true,
            }),
            csr: None,
            faults: BTreeMap::new(),
            heard: Vec::new(),
            configured: Vec::new(),
        }
    }

    /// Lets an action go wrong so often.
    pub(super) fn fail(&mut self, action: Action, fault: Fault, times: u32) {
        self.faults.insert(action.name(), (fault, times));
    }

    pub(super) fn times(&self, action: Action) -> usize {
        self.heard.iter().filter(|heard| **heard == action).count()
    }

    /// Answers a call.
    pub(super) fn answer(&mut self, call: &Call) -> Result<RpcReply, CallFault> {
        self.heard.push(call.action);
        let fault = match self.faults.get_mut(call.action.name()) {
            Some((fault, times @ 1..)) => {
                *times -= 1;
                Some(fault.clone())
            }
            Some((_, 0)) | None => None,
        };
        match &fault {
            Some(Fault::Silent) => return Err(CallFault::TimedOut),
            Some(Fault::Gone) => return Err(CallFault::NoResponders),
            Some(Fault::Overheard) => return Err(CallFault::Overheard(2)),
            Some(Fault::Unreadable) => {
                return Err(CallFault::Unreadable("not JSON".to_owned()));
            }
            Some(Fault::Aborts(text)) => {
                return Ok(RpcReply::failed(
                    call.action.name(),
                    StatusCode::Aborted,
                    *text,
                ));
            }
            Some(Fault::NoObject) => return Ok(RpcReply::ok(call.action.name(), json!([1]))),
            Some(Fault::Lacks(_) | Fault::Says(..)) | None => {}
        }
        let token = call.data.get("token").and_then(Value::as_str);
        if call.action != Action::Inventory && token != Some(self.secret.as_str()) {
            let text = "Incorrect provision token supplied";
            return Ok(RpcReply::failed(
                call.action.name(),
                StatusCode::Aborted,
                text,
            ));
        }
        let mut data = self.data(call);
        match fault {
            Some(Fault::Lacks(member)) => {
                data.as_object_mut().unwrap().remove(member);
            }
            Some(Fault::Says(member, value)) => data[member] = value,
            _ => {}
        }
        Ok(RpcReply::ok(call.action.name(), data))
    }

    fn data(&mut self, call: &Call) -> Value {
        let text = |name: &str| call.data[name].as_str().unwrap().to_owned();
        match call.action {
            Action::Jwt => {
                let mut data = json!({"jwt": self.jwt, "ecdh_public": self.exchange.public_hex()});
                if let Some((token, key)) = &self.member {
                    data["server_jwt"] = token.as_str().into();
                    data["renewal_signature"] = sign_renewal(key, &text("nonce")).unwrap().into();
                }
                data
            }
            Action::Inventory => self.inventory.clone(),
            Action::Gen25519 => json!({
                "public_key": self.key.public().to_string(),
                "signature": sign_possession(&self.key, &text("nonce")).unwrap(),
                "directory": "/etc/choria",
            }),
            Action::Gencsr => json!({
                "csr": self.csr.clone().unwrap_or_default(), "public_key": "pem", "ssldir": "/etc/choria/ssl",
            }),
            Action::Configure => {
                self.configured.push(Value::Object(call.data.clone()));
                json!({"message": "Wrote 3 lines to /etc/choria/server.conf"})
            }
            Action::Restart | Action::ReleaseUpdate => {
                json!({"message": "Restarting Choria Server after 2s"})
            }
            Action::Shutdown => json!({"message": "Shutting Choria Server down after 3s"}),
        }
    }
}
