//! Single requests to the provisioning agent of real nodes, put to ours: reply and files changed.
//!
//! Requests are in order, and the state of a node carries over within one node name. By the file's own convention nodes
//! whose names begin with `p` are members.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use overlay_protocol::envelope::Limits;
use overlay_protocol::envelope::v2::Request;
use overlay_protocol::id::Identity;
use overlay_protocol::provisioning::messages;
use overlay_protocol::rpc::RpcReply;
use overlay_runtime::Environment;
use overlay_runtime::config::load_text;
use overlay_server::agents::Agents;
use overlay_server::agents::choria_provision::ChoriaProvision;
use overlay_server::authorise::Accepted;
use overlay_server::config::Authorization;
use overlay_server::dispatch::Dispatcher;
use overlay_server::effect::{Orders, channel};
use overlay_server::link::Link;
use overlay_server::node::Node;
use overlay_server::provisioning::{Applicant, Files, Former, Stance, Ticket};
use overlay_server::{Config, Program};
use overlay_testkit::vectors::{Loader, Outcome, for_cases};
use overlay_tokens::claims::ServerClaims;
use overlay_tokens::{UnixTime, Unverified, verify_possession};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{number, text};

/// Where the recorded nodes had their files.
const HOME: &str = "/etc/choria";

/// Seconds for which a caller keeps a node.
const WINDOW: i64 = 120;

/// Texts that go on in the words of the original's libraries.
const BEGINNINGS: [&str; 4] = [
    "Could not decode configuration data: ",
    "TLS Setup Failed: could not decrypt private key: ",
    "Could not parse request data for choria_provision#",
    "Update to version ",
];

struct Rig {
    dir: TempDir,
    dispatcher: Dispatcher,
    _orders: Orders,
    is_member: bool,
    /// Calls with the right secret: who, and when.
    rightful: Vec<(String, i64)>,
    secret: String,
    is_ending: bool,
    /// What `reprovision` leaves in the configuration.
    left: String,
}

pub(super) fn requests(file: &Value, loader: &Loader) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let keys = match loader.load("keys.json") {
        Ok(keys) => keys,
        Err(error) => panic!("{error}"),
    };
    let mut rigs = BTreeMap::new();
    for_cases(file, |case| {
        let node = text(case, "node")?;
        if !rigs.contains_key(node) {
            rigs.insert(node.to_owned(), Rig::new(file, node, &keys)?);
        }
        let rig = rigs.get_mut(node).ok_or("no rig")?;
        runtime.block_on(rig.check(case, &keys))
    })
}

impl Rig {
    fn new(file: &Value, node: &str, keys: &Value) -> Result<Self, String> {
        let error = |error: &dyn std::fmt::Display| error.to_string();
        let cases = file["cases"].as_array().ok_or("no cases")?;
        let messages = cases
            .iter()
            .filter(|case| case["node"] == *node)
            .filter_map(|case| case["expect"]["statusmsg"].as_str())
            .collect::<BTreeSet<_>>();
        let token = if messages.contains(messages::UPDATES_OFF) {
            "node_without_update"
        } else {
            "node"
        };
        let dir = tempfile::tempdir().map_err(|e| error(&e))?;
        let place = dir.path().join("provisioning.jwt");
        std::fs::write(&place, text(&keys["tokens"], token)?).map_err(|e| error(&e))?;
        let ticket = Arc::new(Ticket::read(&place).map_err(|e| error(&e))?);
        let identity = format!("{node}.example.net")
            .parse::<Identity>()
            .map_err(|e| error(&e))?;
        let is_member = node.starts_with('p');
        let configuration = dir.path().join("server.conf");
        let config = if is_member {
            std::fs::write(&configuration, "plugin.choria.server.provision=false\n")
                .map_err(|e| error(&e))?;
            let denied = messages.contains("You are not authorized to call this agent or action");
            member(&identity, denied)?
        } else {
            Config::waiting(identity.clone(), Arc::clone(&ticket), &configuration)
                .map_err(|faults| format!("{faults:?}"))?
        };
        let environment =
            Environment::from([("OVERLAY_SERVER__IDENTITY".to_owned(), identity.to_string())]);
        let (effects, orders) = channel();
        let stance = if is_member {
            Stance::Member
        } else {
            Stance::Unprovisioned
        };
        let program = dir.path().join("program");
        std::fs::write(&program, "program").map_err(|e| error(&e))?;
        let applicant = Applicant::new(
            stance,
            identity,
            ticket,
            Files {
                former: Former::beside(&configuration),
                configuration: configuration.clone(),
            },
            Program::upcoming("server", &[configuration], &environment),
            effects,
        )
        .with_program(program, None);
        let mut agents = Agents::builtin();
        agents.add(Arc::new(ChoriaProvision::new(Arc::new(applicant))));
        let link = Arc::new(Link::new(Duration::from_secs(1), None));
        let node = Arc::new(Node::new(&config, agents, link, 0));
        Ok(Self {
            dispatcher: Dispatcher::new(&config, node),
            dir,
            _orders: orders,
            is_member,
            rightful: Vec::new(),
            secret: text(keys, "provisioning_secret")?.to_owned(),
            is_ending: false,
            left: file["config_left_by_reprovision"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
        })
    }

    async fn check(&mut self, case: &Value, keys: &Value) -> Result<(), String> {
        let before = self.files();
        let reply = self.put(case, keys).await?;
        let after = self.files();
        let data = &case["data"];
        let right = data["token"] == *self.secret;
        let verdict = self.compare(case, keys, &reply, &before, &after);
        if right {
            let who = format!("{}.{}", text(case, "sender")?, text(case, "caller")?);
            self.rightful.push((who, number(case, "now")?));
        }
        self.is_ending |= reply.statusmsg == "OK"
            && reply.data["message"]
                .as_str()
                .is_some_and(|text| text.contains("after"));
        verdict
    }

    async fn put(&self, case: &Value, keys: &Value) -> Result<RpcReply, String> {
        // A text in place of an object is JSON of another kind.
        let data = match case["data"].as_str() {
            Some(raw) => serde_json::from_str(raw).map_err(|error| error.to_string())?,
            None => self.here(&case["data"], keys),
        };
        let (agent, action) = (text(case, "agent")?, text(case, "action")?);
        let body = json!({"agent": agent, "action": action, "data": data}).to_string();
        let now = UnixTime::from_secs(number(case, "now")?);
        let request = Request {
            message: body.clone().into_bytes(),
            id: "2ecvzXAzWRTIbJ5YMQTXGLJmC8V".to_owned(),
            sender: text(case, "sender")?.to_owned(),
            caller: text(case, "caller")?.to_owned(),
            collective: "provisioning".to_owned(),
            agent: agent.to_owned(),
            ttl: Duration::from_secs(60),
            time_ns: now.as_nanos(),
            filter: None,
        };
        let accepted = Accepted {
            request,
            caller: None,
            payload: body.into_bytes(),
            reply_to: None,
            federation: None,
        };
        let body = self
            .dispatcher
            .handle(&accepted, now)
            .await
            .ok_or("no answer")?;
        RpcReply::decode(&body.bytes, &Limits::default()).map_err(|error| error.to_string())
    }

    /// Data with this node's directory for the recorded one, and the material that it refers to.
    fn here(&self, data: &Value, keys: &Value) -> Value {
        match data {
            Value::String(text) => Value::String(match referred(text, keys) {
                Some(material) => material,
                None => text.replace(HOME, &self.dir.path().display().to_string()),
            }),
            Value::Array(items) => items.iter().map(|item| self.here(item, keys)).collect(),
            Value::Object(members) => members
                .iter()
                .map(|(name, value)| (name.clone(), self.here(value, keys)))
                .collect(),
            Value::Null | Value::Bool(_) | Value::Number(_) => data.clone(),
        }
    }

    fn compare(
        &self,
        case: &Value,
        keys: &Value,
        reply: &RpcReply,
        before: &Snapshot,
        after: &Snapshot,
    ) -> Result<(), String> {
        let expect = &case["expect"];
        let mut changed = changed(before, after);
        if let Some(rule) = self.refused_by_rule(case, keys)? {
            return if reply.statuscode.as_u8() == 1 && changed.is_empty() {
                Ok(())
            } else {
                Err(format!(
                    "rule `{rule}` does not hold: {reply:?}, {changed:?}"
                ))
            };
        }
        if expect["no_reply"] == true {
            // Rule: a node that was asked something answers; the recorded one was dead, or waited to end.
            return Ok(());
        }
        if expect["statusmsg"] == messages::LOCKED && !self.is_rightly_locked(case)? {
            // Rule: a call with a wrong secret takes no lock.
            return if reply.statusmsg == messages::LOCKED {
                Err("a wrong secret took the lock".to_owned())
            } else {
                Ok(())
            };
        }
        self.compare_status(case, reply)?;
        // Rule: what is refused has changed nothing.
        let mut expected = if reply.statuscode.as_u8() == 0 {
            texts(&expect["files_changed"])
        } else {
            BTreeSet::new()
        };
        if case["action"] == "reprovision" && reply.statuscode.as_u8() == 0 {
            // The recording looked at the files too early; what was left in the end stands elsewhere in the file.
            expected.insert("server.conf".to_owned());
            self.compare_reprovisioned(after)?;
        }
        // A file that is written anew as it was counts where the recording says so.
        changed.extend(
            rewritten(before, after)
                .intersection(&expected)
                .cloned()
                .collect::<Vec<_>>(),
        );
        if changed != self.as_here(expected, before) {
            return Err(format!("changed {changed:?}"));
        }
        if reply.statuscode.as_u8() == 0 {
            self.compare_data(case, keys, reply, after)?;
        }
        Ok(())
    }

    fn compare_reprovisioned(&self, after: &Snapshot) -> Result<(), String> {
        let settings = |text: &str| {
            text.lines()
                .filter(|line| !line.starts_with('#') && !line.starts_with("logfile"))
                .map(str::to_owned)
                .collect::<BTreeSet<_>>()
        };
        let (_, content, _) = after.get("server.conf").ok_or("no configuration")?;
        let found = settings(&String::from_utf8_lossy(content));
        if self.left.is_empty() || found == settings(&self.left) {
            Ok(())
        } else {
            Err(format!("left {found:?}"))
        }
    }

    /// Files that the recorded node had from a refused request are not there to be changed by a later one.
    fn as_here(&self, expected: BTreeSet<String>, before: &Snapshot) -> BTreeSet<String> {
        let after = self.files();
        expected
            .into_iter()
            .filter(|name| before.contains_key(name) || after.contains_key(name))
            .collect()
    }

    /// What makes this node refuse what the recorded one did, or died of.
    fn refused_by_rule(&self, case: &Value, keys: &Value) -> Result<Option<&'static str>, String> {
        let data = &case["data"];
        if data["token"] != *self.secret || case["agent"] != "choria_provision" {
            return Ok(None);
        }
        let is_done = case["expect"]["statuscode"] == 0 || case["expect"]["no_reply"] == true;
        if !is_done {
            return Ok(None);
        }
        Ok(match text(case, "action")? {
            "restart" if self.is_ending => None,
            "restart" if data["splay"].as_i64().is_some_and(|splay| splay < 0) => {
                Some("a splay is not negative")
            }
            "restart" if !self.is_member => Some("a restart leads to a member"),
            "gen25519" if data["nonce"].as_str().is_some_and(|nonce| nonce.len() > 64) => {
                Some("a nonce is short")
            }
            "configure" => {
                let settings = data["config"]
                    .as_str()
                    .and_then(|text| serde_json::from_str::<BTreeMap<String, Value>>(text).ok())
                    .unwrap_or_default();
                let breaks = |text: &str| text.contains(['\n', '\r']);
                let policies = ["action_policies", "opa_policies"]
                    .iter()
                    .filter_map(|member| data[*member].as_object())
                    .flat_map(|files| files.keys())
                    .any(|name| name.contains('/') || name.starts_with('.'));
                let token = data["server_jwt"].as_str().unwrap_or_default();
                if settings
                    .iter()
                    .any(|(key, value)| breaks(key) || value.as_str().is_some_and(breaks))
                {
                    Some("a setting is one line")
                } else if policies {
                    Some("a policy stays in its directory")
                } else if !token.is_empty() && !self.is_own_token(token, keys) {
                    Some("a server token is this node's, for the key it has made")
                } else {
                    None
                }
            }
            _ => None,
        })
    }

    fn is_own_token(&self, token: &str, keys: &Value) -> bool {
        let token = referred(token, keys).unwrap_or_else(|| token.to_owned());
        let seed = overlay_tokens::file::read_seed(&self.dir.path().join("server.seed"));
        let (Ok(seed), Ok(token)) = (seed, Unverified::<ServerClaims>::decode(token.trim())) else {
            return false;
        };
        let claims = token.claims_unverified();
        claims.identity == self.dispatcher.node.identity.as_str()
            && claims.standard.public_key == seed.public().to_string()
    }

    /// Whether somebody else with the right secret called in the last two minutes.
    fn is_rightly_locked(&self, case: &Value) -> Result<bool, String> {
        let who = format!("{}.{}", text(case, "sender")?, text(case, "caller")?);
        let now = number(case, "now")?;
        Ok(self
            .rightful
            .iter()
            .any(|(other, at)| *other != who && now - at < WINDOW))
    }

    fn compare_status(&self, case: &Value, reply: &RpcReply) -> Result<(), String> {
        let expect = &case["expect"];
        let told = format!("{} {}", reply.statuscode.as_u8(), reply.statusmsg);
        if expect["statuscode"] != reply.statuscode.as_u8() {
            return Err(told);
        }
        let expected =
            text(expect, "statusmsg")?.replace(HOME, &self.dir.path().display().to_string());
        if reply.statusmsg == expected {
            return Ok(());
        }
        if !case["data"].is_object() && reply.statuscode.as_u8() == 4 {
            // Rule: inputs are an object; that is seen before an action is looked at.
            return Ok(());
        }
        let beginning = BEGINNINGS
            .iter()
            .find(|beginning| expected.starts_with(**beginning));
        match beginning {
            Some(beginning) if reply.statusmsg.starts_with(beginning) => Ok(()),
            Some(_) | None => Err(told),
        }
    }

    fn compare_data(
        &self,
        case: &Value,
        keys: &Value,
        reply: &RpcReply,
        after: &Snapshot,
    ) -> Result<(), String> {
        let wanted = case["expect"]["data"].as_object().ok_or("no data")?;
        let found = reply.data.as_object().ok_or("no data")?;
        if wanted.keys().collect::<Vec<_>>() != found.keys().collect::<Vec<_>>() {
            return Err(format!("data has {:?}", found.keys().collect::<Vec<_>>()));
        }
        for (name, wanted) in wanted {
            let found = &found[name];
            let differs = || Err(format!("{name} is {found}, not {wanted}"));
            match (name.as_str(), wanted.as_str(), found.as_str()) {
                ("jwt", Some(wanted), Some(found)) => {
                    if referred(wanted, keys).as_deref() != Some(found) {
                        return differs();
                    }
                }
                ("ecdh_public" | "public_key", Some(wanted), Some(found)) => {
                    if wanted.len() != found.len() {
                        return differs();
                    }
                }
                ("signature", Some(_), Some(found)) => {
                    let nonce = case["data"]["nonce"].as_str().unwrap_or_default();
                    let public = text(&reply.data, "public_key")?;
                    verify_possession(nonce, public, found).map_err(|error| error.to_string())?;
                    let seed = after.get("server.seed").ok_or("no seed")?;
                    if seed.0 != 0o600 || seed.1.len() != 64 {
                        return Err("the seed's mode or length".to_owned());
                    }
                }
                ("csr", Some(wanted), Some(found)) => compare_csr(wanted, found)?,
                ("message", Some(wanted), Some(found)) => {
                    let wanted = wanted.replace(HOME, &self.dir.path().display().to_string());
                    let same = |text: &str| {
                        text.split_once(" after ")
                            .map_or(text.to_owned(), |(begin, _)| begin.to_owned())
                    };
                    if same(&wanted) != same(found) {
                        return differs();
                    }
                }
                ("ssldir" | "directory", Some(wanted), Some(found)) => {
                    if wanted.replace(HOME, &self.dir.path().display().to_string()) != found {
                        return differs();
                    }
                }
                // The versions are those of two programs.
                ("version", Some(_), Some(_)) => {}
                (_, _, _) if wanted == found => {}
                (_, _, _) => return differs(),
            }
        }
        Ok(())
    }

    /// Files below the node's directory by name, with mode and content.
    fn files(&self) -> Snapshot {
        let root = self.dir.path();
        let mut found = Snapshot::new();
        let mut left = vec![root.to_owned()];
        while let Some(dir) = left.pop() {
            for entry in std::fs::read_dir(&dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    left.push(path);
                } else {
                    let metadata = std::fs::metadata(&path).unwrap();
                    let mode = metadata.permissions().mode() & 0o777;
                    let which = (metadata.ino(), metadata.mtime_nsec());
                    let name = name_below(root, &path);
                    found.insert(name, (mode, std::fs::read(&path).unwrap(), which));
                }
            }
        }
        found
    }
}

/// Mode, content, and which file it is: one that is written anew is another, though its content be the same.
type Snapshot = BTreeMap<String, (u32, Vec<u8>, (u64, i64))>;

fn name_below(root: &Path, path: &Path) -> String {
    path.strip_prefix(root)
        .map_or_else(|_| PathBuf::new(), Path::to_owned)
        .display()
        .to_string()
}

fn changed(before: &Snapshot, after: &Snapshot) -> BTreeSet<String> {
    before
        .keys()
        .chain(after.keys())
        .filter(|name| {
            let of = |files: &Snapshot| {
                files
                    .get(*name)
                    .map(|(mode, content, _)| (*mode, content.clone()))
            };
            of(before) != of(after)
        })
        .cloned()
        .collect()
}

fn rewritten(before: &Snapshot, after: &Snapshot) -> BTreeSet<String> {
    after
        .keys()
        .filter(|name| before.get(*name) != after.get(*name))
        .cloned()
        .collect()
}

/// `{keys.json a.b}` stands for a member of another file.
fn referred(text: &str, keys: &Value) -> Option<String> {
    let path = text.strip_prefix("{keys.json ")?.strip_suffix('}')?;
    let found = path.split('.').fold(keys, |value, name| &value[name]);
    found.as_str().map(str::to_owned)
}

/// Two requests for certificates of one subject have the same length but for their keys.
fn compare_csr(wanted: &str, found: &str) -> Result<(), String> {
    let subject = |pem: &str| -> Result<String, String> {
        use x509_cert::der::DecodePem as _;
        let request = x509_cert::request::CertReq::from_pem(pem.as_bytes())
            .map_err(|error| error.to_string())?;
        Ok(format!(
            "{} {} {}",
            request.info.subject,
            request.algorithm.oid,
            request.info.attributes.len()
        ))
    };
    let (wanted, found) = (subject(wanted)?, subject(found)?);
    if wanted == found {
        Ok(())
    } else {
        Err(format!("{found}, not {wanted}"))
    }
}

/// The configuration of a member that nobody connects.
fn member(identity: &Identity, denied: bool) -> Result<Config, String> {
    let organisation = overlay_tokens::Key::from_seed([1; 32]).public();
    let config = load_text::<Config>(&format!(
        "identity = \"{identity}\"\ntoken_file = \"x\"\n[issuers]\nchoria = \"{organisation}\"\n\
         [broker]\ntls = false\nservers = [\"nats://127.0.0.1:1\"]\n"
    ));
    let mut config = config.map_err(|faults| format!("{faults:?}"))?.config;
    if denied {
        config.authorization = Authorization::Unsupported("action_policy");
    }
    Ok(config)
}

fn texts(list: &Value) -> BTreeSet<String> {
    list.as_array()
        .into_iter()
        .flatten()
        .filter_map(|item| item.as_str().map(str::to_owned))
        .collect()
}
