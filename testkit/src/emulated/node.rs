//! One emulated node: a request in, replies and events out.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use overlay_protocol::envelope::Limits;
use overlay_protocol::envelope::v2::{Reply, Request, SecureReply, SecureRequest, Transport};
use overlay_protocol::filter::NodeView;
use overlay_protocol::lifecycle::{self, Event, EventKind};
use overlay_protocol::rpc::{DISCOVERY_PONG, RpcReply, RpcRequest, StatusCode};
use overlay_tokens::key_transport::{ExchangeKey, decrypt_private_key};
use overlay_tokens::{Key, Unverified, claims};
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::behaviour::{AfterRestart, Behaviour, Fault, Step};
use super::record::{Counters, Seen};

/// Agents of a node that is not provisioned.
pub(super) const AGENTS: [&str; 4] = ["choria_provision", "choria_util", "discovery", "rpcutil"];
/// Foreign subjects, complaints and refusals that are remembered of one node.
const REMEMBERED: usize = 32;

/// What the node wants done.
#[derive(Debug, PartialEq)]
pub(super) enum Deed {
    Publish { subject: String, payload: Vec<u8> },
    Leave(Leave),
}

/// How a node leaves its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leave {
    ForGood,
    /// Stays connected and hears nothing more.
    Silently,
    Back(Duration),
    Member(Duration),
}

/// What a node answered, and after which wait.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) wait: Duration,
    pub(super) deeds: Vec<Deed>,
}

/// One emulated node.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) identity: String,
    pub(super) behaviour: Arc<Behaviour>,
    pub(super) seen: Arc<Mutex<Seen>>,
    pub(super) token: Arc<str>,
    counters: Arc<Counters>,
    secret: Arc<str>,
    version: String,
    /// The key of the last `gen25519`.
    key: Option<Key>,
    /// The key exchange of the last `jwt`.
    exchange: Option<ExchangeKey>,
    /// The token that it was configured with.
    pub(super) membership: Option<Arc<str>>,
    lock: Option<(String, Instant)>,
    last_nonce: Option<String>,
    earlier: BTreeMap<Step, Vec<u8>>,
    is_done: bool,
}

/// One request as it was understood.
struct Asked {
    step: Step,
    agent: String,
    action: String,
    data: Map<String, Value>,
    caller: String,
    id: String,
    reply: String,
}

impl Node {
    pub(super) fn new(
        identity: String,
        behaviour: Arc<Behaviour>,
        token: Arc<str>,
        secret: Arc<str>,
        counters: Arc<Counters>,
    ) -> Self {
        Self {
            version: behaviour.version.clone(),
            identity,
            behaviour,
            seen: Arc::default(),
            token,
            counters,
            secret,
            key: None,
            exchange: None,
            membership: None,
            lock: None,
            last_nonce: None,
            earlier: BTreeMap::new(),
            is_done: false,
        }
    }

    /// Changes what is known of this node.
    pub(super) fn note<T>(&self, change: impl FnOnce(&mut Seen) -> T) -> T {
        change(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The key that its membership was issued for.
    pub(super) fn key(&self) -> Option<&Key> {
        self.key.as_ref()
    }

    /// Makes it a member from the start.
    pub(super) fn admit(&mut self, login: crate::mint::Login) {
        self.membership = Some(Arc::from(login.token));
        self.key = Some(login.key);
    }

    /// What a member answers: a scan, and a ping.
    pub(super) fn member_answer(&self, payload: &[u8]) -> Option<Deed> {
        let (key, token) = (self.key.as_ref()?, self.membership.as_ref()?);
        let limits = Limits::default();
        let transport = Transport::decode(payload, &limits).ok()?;
        let secure = SecureRequest::decode(&transport.data, &limits).ok()?;
        let request = Request::decode(&secure.request, &limits).ok()?;
        let now = crate::mint::now();
        if !request.is_live(now.as_nanos()) || !self.is_meant(&request) {
            return None;
        }
        let message = match request.agent.as_str() {
            "discovery" => DISCOVERY_PONG.to_vec(),
            _ => RpcReply::ok("ping", json!({ "pong": now.secs })).encode(),
        };
        let reply = Reply {
            message,
            request: request.id,
            sender: self.identity.clone(),
            agent: request.agent,
            time_ns: now.as_nanos(),
        };
        let secure = overlay_tokens::request::sign_reply(reply.encode(), key, token);
        let mut answer = Transport::new(secure.encode());
        answer.sender = Some(self.identity.clone());
        Some(Deed::Publish {
            subject: transport.reply?,
            payload: answer.encode(),
        })
    }

    /// Tells whether a request's filter is met.
    fn is_meant(&self, request: &Request) -> bool {
        let Some(filter) = &request.filter else {
            return true;
        };
        let agents = AGENTS.map(str::to_owned);
        let facts = Value::Object(self.behaviour.facts.clone());
        filter.matches(&NodeView {
            identity: &self.identity,
            agents: &agents,
            classes: &[],
            facts: &facts,
        })
    }

    /// Begins anew after a restart: what was in memory is gone.
    pub(super) fn reboot(&mut self) {
        self.lock = None;
        self.is_done = false;
    }

    /// An event of this node with its subject.
    pub(super) fn event(&self, component: &str, kind: EventKind) -> Deed {
        let mut id = overlay_protocol::id::md5_hex(&format!(
            "{}{}{:?}",
            self.identity,
            kind.type_name(),
            Instant::now()
        ));
        for place in [8, 13, 18, 23] {
            id.insert(place, '-');
        }
        let now = crate::mint::now().secs;
        let event = Event::new(id, &self.identity, component, now, kind);
        Deed::Publish {
            subject: event.subject().expect("components make subjects"),
            payload: event.to_cloudevent_json(),
        }
    }

    /// The startup event of an unprovisioned node.
    pub(super) fn startup(&self) -> Deed {
        self.note(|seen| {
            seen.announced_at.get_or_insert_with(Instant::now);
        });
        self.lifecycle(EventKind::Startup {
            version: self.version.clone(),
        })
    }

    fn lifecycle(&self, kind: EventKind) -> Deed {
        self.event(lifecycle::COMPONENT_PROVISION_MODE, kind)
    }

    /// A message that was not for this node.
    pub(super) fn overhears(&self, subject: &str) {
        self.note(|seen| {
            if seen.foreign.len() < REMEMBERED {
                seen.foreign.push(subject.to_owned());
            }
        });
    }

    /// The broker's complaint.
    pub(super) fn is_told(&self, words: &str) {
        self.note(|seen| {
            if seen.complaints.len() < REMEMBERED {
                seen.complaints.push(words.to_owned());
            }
        });
    }

    /// Does what a message asks for.
    pub(super) fn answer(&mut self, payload: &[u8]) -> Answer {
        if self.behaviour.dead || self.is_done {
            return Answer::default();
        }
        let Some(asked) = self.understand(payload) else {
            self.note(|seen| seen.unread += 1);
            return Answer::default();
        };
        let Some(asked) = asked else {
            return Answer::default();
        };
        Counters::add(&self.counters.calls);
        let attempt = self.note(|seen| {
            seen.first_at.get_or_insert_with(Instant::now);
            seen.order.push(asked.step);
            seen.callers.insert(asked.caller.clone());
            let calls = seen.calls.entry(asked.step).or_default();
            *calls += 1;
            *calls
        });
        let faults = self.behaviour.faults_at(asked.step, attempt);
        let mut answer = Answer {
            wait: self.behaviour.latency_of(asked.step),
            deeds: Vec::new(),
        };
        let has = |wanted: fn(&Fault) -> bool| faults.iter().any(wanted);
        if has(|fault| matches!(fault, Fault::Silent(_))) {
            return Answer::default();
        }
        if has(|fault| matches!(fault, Fault::VanishBefore(_))) {
            self.is_done = true;
            answer.deeds.push(Deed::Leave(Leave::ForGood));
            return answer;
        }
        self.act(&asked, &faults, &mut answer.deeds);
        if has(|fault| matches!(fault, Fault::VanishAfter(_))) {
            self.is_done = true;
            answer.deeds.push(Deed::Leave(Leave::ForGood));
        }
        answer
    }

    /// Reads a message; one that filters other nodes is understood and nothing.
    fn understand(&self, payload: &[u8]) -> Option<Option<Asked>> {
        let limits = Limits::default();
        let transport = Transport::decode(payload, &limits).ok()?;
        let secure = SecureRequest::decode(&transport.data, &limits).ok()?;
        let request = Request::decode(&secure.request, &limits).ok()?;
        if !request.is_live(crate::mint::now().as_nanos()) {
            return None;
        }
        if !self.is_meant(&request) {
            return Some(None);
        }
        let (action, data) = if request.agent == "discovery" {
            ("ping".to_owned(), Map::new())
        } else {
            let body = RpcRequest::decode(&request.payload(), &limits).ok()?;
            (body.action, body.data)
        };
        let Some(step) = Step::of(&request.agent, &action) else {
            return Some(None);
        };
        Some(Some(Asked {
            step,
            action,
            data,
            caller: format!("{}.{}", request.sender, request.caller),
            id: request.id,
            agent: request.agent,
            reply: transport.reply?,
        }))
    }

    fn act(&mut self, asked: &Asked, faults: &[Fault], deeds: &mut Vec<Deed>) {
        let mut outcome = match self.refusal(asked, faults) {
            Some(words) => Err(words),
            None => self.perform(asked, faults, deeds),
        };
        let mut body = match &mut outcome {
            Ok(data) => {
                for fault in faults {
                    if let Fault::Lacks(_, member) = fault {
                        data.remove(*member);
                    } else if let Fault::Says(_, member, value) = fault {
                        data.insert((*member).to_owned(), value.clone());
                    } else if let Fault::Padded(_, bytes) = fault {
                        data.insert("padding".to_owned(), json!("x".repeat(*bytes)));
                    }
                }
                RpcReply::ok(&asked.action, Value::Object(data.clone())).encode()
            }
            Err(words) => {
                self.note(|seen| {
                    if seen.refusals.len() < REMEMBERED {
                        seen.refusals.push((asked.step, words.clone()));
                    }
                });
                RpcReply::failed(&asked.action, StatusCode::Aborted, words.clone()).encode()
            }
        };
        if asked.step == Step::Discovery {
            body = DISCOVERY_PONG.to_vec();
        }
        let lost = faults.iter().any(|fault| matches!(fault, Fault::Loses(_)));
        if !lost {
            self.reply(asked, body, faults, deeds);
        }
        // The reply comes first: what follows a restart would drop the connection under it.
        if outcome.is_ok() {
            self.follow(asked, deeds);
        }
    }

    fn reply(&mut self, asked: &Asked, mut body: Vec<u8>, faults: &[Fault], deeds: &mut Vec<Deed>) {
        let mut sender = self.identity.clone();
        for fault in faults {
            if let Fault::AsNode(_, other) = fault {
                sender.clone_from(other);
            }
        }
        let has = |wanted: fn(&Fault) -> bool| faults.iter().any(wanted);
        if has(|fault| matches!(fault, Fault::NotJson(_))) {
            body = b"{this is not JSON".to_vec();
        }
        let bad_hash = has(|fault| matches!(fault, Fault::BadHash(_)));
        let replays = has(|fault| matches!(fault, Fault::Replays(_)));
        let copies = 1 + usize::from(has(|fault| matches!(fault, Fault::Twice(_))));
        let encode = |request: &str| {
            let reply = Reply {
                message: body.clone(),
                request: request.to_owned(),
                sender: sender.clone(),
                agent: asked.agent.clone(),
                time_ns: crate::mint::now().as_nanos(),
            };
            let mut secure = SecureReply::new(reply.encode());
            if bad_hash {
                secure.hash = [7; 32];
            }
            let mut transport = Transport::new(secure.encode());
            transport.sender = Some(sender.clone());
            transport.encode()
        };
        let mut payload = encode(&asked.id);
        if replays {
            let nobody = "2ecvzXAzWRTIbJ5YMQTXGLJmC8V";
            let earlier = self.earlier.insert(asked.step, payload);
            payload = earlier.unwrap_or_else(|| encode(nobody));
        }
        for _ in 0..copies {
            deeds.push(Deed::Publish {
                subject: asked.reply.clone(),
                payload: payload.clone(),
            });
        }
    }

    /// Lock, secret and faults, in the order of Choria's nodes.
    fn refusal(&mut self, asked: &Asked, faults: &[Fault]) -> Option<String> {
        if asked.step.is_locked() {
            let now = Instant::now();
            let held = self
                .lock
                .as_ref()
                .is_some_and(|(holder, until)| *holder != asked.caller && *until > now);
            if held {
                return Some("Could not obtain provisioning lock".to_owned());
            }
            self.lock = Some((asked.caller.clone(), now + self.behaviour.lock));
        }
        let secret = self.behaviour.secret.as_deref().unwrap_or(&self.secret);
        let offered = asked.data.get("token").and_then(Value::as_str);
        if asked.step.is_guarded() && !secret.is_empty() && offered.unwrap_or_default() != secret {
            return Some("Incorrect provision token supplied".to_owned());
        }
        faults.iter().find_map(|fault| {
            let Fault::Aborts(_, words) = fault else {
                return None;
            };
            Some(words.clone())
        })
    }

    fn perform(
        &mut self,
        asked: &Asked,
        faults: &[Fault],
        deeds: &mut Vec<Deed>,
    ) -> Result<Map<String, Value>, String> {
        let input = |name: &str| asked.data.get(name).and_then(Value::as_str).unwrap_or("");
        let data = match asked.step {
            Step::Discovery => json!({}),
            Step::Jwt => {
                let token = self.behaviour.shown_token.as_deref().unwrap_or(&self.token);
                let exchange = ExchangeKey::generate().expect("the system has randomness");
                let data = json!({ "jwt": token, "ecdh_public": exchange.public_hex() });
                self.exchange = Some(exchange);
                data
            }
            Step::Gen25519 => self.gen25519(input("nonce"), faults),
            Step::Inventory => json!({
                "agents": AGENTS, "classes": [], "collectives": ["provisioning"], "data_plugins": [],
                "facts": self.behaviour.facts, "machines": [], "main_collective": "provisioning",
                "version": self.version, "upgradable": self.behaviour.upgradable,
            }),
            Step::Gencsr => gencsr(&self.identity, &self.behaviour.directory, faults),
            Step::Configure => self.configure(&asked.data, deeds)?,
            Step::Restart if self.note(|seen| seen.configuration.is_none()) => {
                return Err(
                    "Configuration server.conf could not be parsed, restart cannot continue"
                        .to_owned(),
                );
            }
            Step::Restart => json!({ "message": "Restarting Choria Server after 2s" }),
            Step::Shutdown => json!({ "message": "Shutting Choria Server down after 3s" }),
            Step::ReleaseUpdate if !self.behaviour.upgradable => {
                return Err("Version updates is not enabled in the configuration".to_owned());
            }
            Step::ReleaseUpdate => {
                let new_version = input("version").to_owned();
                let version = std::mem::replace(&mut self.version, new_version.clone());
                deeds.push(self.lifecycle(EventKind::Upgraded {
                    version,
                    new_version,
                }));
                json!({ "message": "Restarting Choria Server after 2s" })
            }
        };
        let Value::Object(data) = data else {
            return Ok(Map::new());
        };
        Ok(data)
    }

    fn gen25519(&mut self, nonce: &str, faults: &[Fault]) -> Value {
        let key = crate::mint::key();
        let mut signed = nonce.as_bytes().to_vec();
        let mut signer = key.clone();
        if faults.contains(&Fault::WrongSignature) {
            signer = crate::mint::key();
        }
        if faults.contains(&Fault::SignsDecodedNonce) {
            signed = hex::decode(nonce).unwrap_or_default();
        }
        if faults.contains(&Fault::ReplaysSignature) {
            let own = "0123456789abcdef0123456789abcdef".to_owned();
            let earlier = self.last_nonce.replace(nonce.to_owned());
            signed = earlier.unwrap_or(own).into_bytes();
        }
        let data = json!({
            "public_key": key.public().to_string(),
            "signature": hex::encode(signer.sign(&signed)),
            "directory": self.behaviour.directory,
        });
        self.key = Some(key);
        data
    }

    fn configure(
        &mut self,
        data: &Map<String, Value>,
        deeds: &mut Vec<Deed>,
    ) -> Result<Value, String> {
        let text = data.get("config").and_then(Value::as_str).unwrap_or("");
        let settings: BTreeMap<String, Option<String>> = serde_json::from_str(text)
            .map_err(|error| format!("Could not decode configuration data: {error}"))?;
        let token = data.get("server_jwt").and_then(Value::as_str).unwrap_or("");
        if !token.is_empty() {
            // A token for another node or another key would never let it in: such a call counts for nothing.
            let claims = Unverified::<claims::ServerClaims>::decode(token)
                .map_err(|error| format!("server_jwt: {error}"))?;
            let claims = claims.claims_unverified();
            let own = self
                .key
                .as_ref()
                .map(|key| key.public().to_string())
                .unwrap_or_default();
            if claims.identity != self.identity || claims.standard.public_key != own {
                return Err(format!(
                    "server_jwt is for {} with another key",
                    claims.identity
                ));
            }
            self.membership = Some(Arc::from(token));
        }
        let private_key = self.private_key(data)?;
        let times = self.note(|seen| {
            seen.configured += 1;
            seen.private_key = private_key;
            seen.configured_at.get_or_insert_with(Instant::now);
            seen.configuration = Some(data.clone());
            seen.configured
        });
        Counters::add(match times {
            1 => &self.counters.configured,
            _ => &self.counters.configured_again,
        });
        deeds.push(self.lifecycle(EventKind::Provisioned));
        let lines = settings.len() + 1;
        let file = format!("{}/server.conf", self.behaviour.directory);
        Ok(json!({ "message": format!("Wrote {lines} lines to {file}") }))
    }

    /// The private key that it is sent, decrypted.
    fn private_key(&self, data: &Map<String, Value>) -> Result<Option<String>, String> {
        let text = |name: &str| data.get(name).and_then(Value::as_str).unwrap_or("");
        let (key, peer) = (text("key"), text("ecdh_public"));
        if key.is_empty() {
            return Ok(None);
        }
        if peer.is_empty() {
            return Err("EDCH Public Key not supplied while providing a private key".to_owned());
        }
        let exchange = self.exchange.as_ref().ok_or("no key exchange was begun")?;
        let shared = exchange.shared(peer).map_err(|error| error.to_string())?;
        let plain = decrypt_private_key(key, &shared).map_err(|error| error.to_string())?;
        Ok(Some(plain.to_string()))
    }

    /// What a node does after it has answered.
    fn follow(&mut self, asked: &Asked, deeds: &mut Vec<Deed>) {
        let leave = match asked.step {
            Step::Restart => {
                let times = self.note(|seen| {
                    seen.restarts += 1;
                    seen.restarted_at.get_or_insert_with(Instant::now);
                    seen.restarts
                });
                Counters::add(match times {
                    1 => &self.counters.restarted,
                    _ => &self.counters.restarted_again,
                });
                deeds.push(self.lifecycle(EventKind::Shutdown));
                match self.behaviour.after_restart {
                    AfterRestart::Lingers => Leave::Silently,
                    AfterRestart::Leaves => Leave::ForGood,
                    AfterRestart::Loops(after) => Leave::Back(after),
                    AfterRestart::Member(after) => Leave::Member(after),
                }
            }
            Step::Shutdown => Leave::ForGood,
            Step::ReleaseUpdate => {
                deeds.push(self.lifecycle(EventKind::Shutdown));
                Leave::Back(match self.behaviour.after_restart {
                    AfterRestart::Loops(after) | AfterRestart::Member(after) => after,
                    AfterRestart::Lingers | AfterRestart::Leaves => Duration::ZERO,
                })
            }
            Step::Discovery
            | Step::Jwt
            | Step::Gen25519
            | Step::Inventory
            | Step::Gencsr
            | Step::Configure => return,
        };
        self.is_done = true;
        deeds.push(Deed::Leave(leave));
    }
}

fn gencsr(identity: &str, directory: &str, faults: &[Fault]) -> Value {
    let key = rcgen::KeyPair::generate().expect("a key can be made");
    let csr = if faults.contains(&Fault::NotPem) {
        "this is no PEM".to_owned()
    } else {
        let mut params = rcgen::CertificateParams::default();
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, identity);
        let request = params.serialize_request(&key).expect("a CSR can be made");
        request.pem().expect("a CSR can be written")
    };
    json!({ "csr": csr, "public_key": key.public_key_pem(), "ssldir": format!("{directory}/ssl") })
}

impl Answer {
    pub(super) fn is_nothing(&self) -> bool {
        self.deeds.is_empty()
    }
}
