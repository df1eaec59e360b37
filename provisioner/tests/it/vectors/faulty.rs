//! Nodes with one fault each: ours comes to the same verdict or a safer one, and never falls over.

use overlay_protocol::rpc::{RpcReply, StatusCode};
use overlay_provisioner::{Action, Call, CallFault, HelperFault, Pki, Question};
use overlay_testkit::vectors::{self, Loader, Outcome};
use overlay_tokens::UnixTime;
use serde_json::{Value, json};

use super::machine::{self, Keys, Node, text};
use super::tokens::Plain;

/// When the recordings were made; nodes' tokens are good then.
const NOW: i64 = 1_795_211_345;
/// Within the time of watching a node was found again this often.
const ROUNDS: u8 = 3;

pub(super) fn nodes(file: &Value, loader: &Loader) -> Outcome {
    let keys = Keys::load(loader);
    vectors::for_cases(file, |case| {
        let keys = keys.as_ref().map_err(Clone::clone)?;
        let fault = fault(text(&case["what"])?)?;
        let mut policy = keys.policy();
        if matches!(fault.kind, Kind::Says(Action::Gencsr, ..)) {
            policy.features.pki = Some(Pki { denied: Vec::new() });
        }
        let now = UnixTime::from_secs(NOW);
        let mut stdout = json!({"configuration": {"plugin.choria.server.provision": "false"}});
        let exchanges = matches!(
            &fault.kind,
            Kind::Says(_, "ecdh_public", _) | Kind::Lacks(_, "ecdh_public")
        );
        if exchanges {
            let keys = loader
                .load("keys.json")
                .map_err(|error| error.to_string())?;
            stdout["key"] = keys["x509"]["node_key_pkcs1"].clone();
        }
        let mut node = Faulty {
            node: Plain::new(keys, now, stdout.to_string())?,
            fault,
            left: None,
            restarted: false,
        };
        node.left = node.fault.times;
        let mut record = None;
        let mut at = now;
        let mut enrolled = false;
        for round in 0..ROUNDS {
            let run = machine::run(
                keys,
                &policy,
                "n1.example.net",
                record,
                &mut node,
                at,
                round,
            )?;
            enrolled = run.is_enrolled();
            record = run.record;
            // Long enough for the pause after a failure.
            let after = run.now.map_or(NOW, |now| now.secs).saturating_add(60);
            at = UnixTime::from_secs(after);
            if enrolled || node.is_gone() {
                break;
            }
        }
        match case["expect"]["provisioned"].as_bool() {
            Some(expected) if expected == enrolled => Ok(()),
            Some(expected) => Err(format!(
                "enrolled: {enrolled}, with the original: {expected}"
            )),
            // The original fell over, or nothing is told; a node with such a fault is not enrolled.
            None if enrolled => Err("it was enrolled".to_owned()),
            None => Ok(()),
        }
    })
}

struct Fault {
    kind: Kind,
    /// How often it happens; nothing: each time.
    times: Option<u32>,
}

enum Kind {
    None,
    Aborts(Action),
    NotJson(Action),
    Silent(Action),
    /// More than the broker lets through: nothing arrives.
    TooLarge(Action),
    Vanishes(Action),
    Empty(Action),
    Lacks(Action, &'static str),
    Says(Action, &'static str, Value),
}

/// Reads the fault from its description.
fn fault(what: &str) -> Result<Fault, String> {
    let (what, times) = match what.split_once(" on its first ") {
        Some((what, rest)) => {
            let times = rest.split(' ').next().and_then(|times| times.parse().ok());
            (what, Some(times.ok_or(format!("how often: {rest}"))?))
        }
        None => (what, None),
    };
    let last = || {
        let name = what.rsplit(' ').next().unwrap_or_default();
        action(name)
    };
    let first = || action(what.split(' ').next().unwrap_or_default());
    let kind = if what.starts_with("answers statuscode 1 to ") {
        Kind::Aborts(last()?)
    } else if what.starts_with("answers with a body that is not JSON to ") {
        Kind::NotJson(last()?)
    } else if what.starts_with("does not answer ") {
        Kind::Silent(last()?)
    } else if what.starts_with("answers with more than the broker allows") {
        Kind::TooLarge(last()?)
    } else if what.starts_with("closes its connection on ") {
        Kind::Vanishes(last()?)
    } else if what.ends_with(" reply with empty data") {
        Kind::Empty(first()?)
    } else if what.contains(" reply without ") {
        let member = match what.rsplit(' ').next() {
            Some("jwt") => "jwt",
            Some("ecdh_public") => "ecdh_public",
            Some("directory") => "directory",
            Some("public_key") => "public_key",
            Some("signature") => "signature",
            Some("message") => "message",
            Some("version") => "version",
            other => return Err(format!("without what: {other:?}")),
        };
        Kind::Lacks(first()?, member)
    } else {
        match what {
            "inventory with a number as version" => {
                Kind::Says(Action::Inventory, "version", json!(0.3))
            }
            "empty jwt" => Kind::Says(Action::Jwt, "jwt", json!("")),
            "ecdh-nothex" => Kind::Says(Action::Jwt, "ecdh_public", json!("z".repeat(64))),
            "ecdh-short" => Kind::Says(Action::Jwt, "ecdh_public", json!("00ff")),
            "ecdh-zero" => Kind::Says(Action::Jwt, "ecdh_public", json!("0".repeat(64))),
            "features.pki: csr is the text `not pem`" => {
                Kind::Says(Action::Gencsr, "csr", json!("not pem"))
            }
            "features.pki: PEM around three zero bytes" => Kind::Says(
                Action::Gencsr,
                "csr",
                json!(
                    "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"
                ),
            ),
            "three startup events" | "inventory says upgradable" => Kind::None,
            other => return Err(format!("the fault is not understood: {other}")),
        }
    };
    Ok(Fault { kind, times })
}

fn action(name: &str) -> Result<Action, String> {
    Action::ALL
        .iter()
        .copied()
        .find(|action| action.name() == name)
        .ok_or(format!("no action: {name}"))
}

struct Faulty {
    node: Plain,
    fault: Fault,
    left: Option<u32>,
    restarted: bool,
}

impl Faulty {
    fn is_gone(&self) -> bool {
        self.restarted
    }

    /// Whether the fault happens now.
    fn happens(&mut self, now: Action) -> bool {
        let with = match &self.fault.kind {
            Kind::None => return false,
            Kind::Aborts(action)
            | Kind::NotJson(action)
            | Kind::Silent(action)
            | Kind::TooLarge(action)
            | Kind::Vanishes(action)
            | Kind::Empty(action)
            | Kind::Lacks(action, _)
            | Kind::Says(action, ..) => *action,
        };
        if with != now || self.left == Some(0) {
            return false;
        }
        if let Some(left) = &mut self.left {
            *left -= 1;
        }
        true
    }
}

impl Node for Faulty {
    fn answer(&mut self, call: &Call) -> Result<RpcReply, CallFault> {
        let name = call.action.name();
        let mut data = self.node.data(call);
        if self.happens(call.action) {
            match &self.fault.kind {
                Kind::None => {}
                Kind::Aborts(_) => {
                    let text = "Incorrect provision token supplied";
                    return Ok(RpcReply::failed(name, StatusCode::Aborted, text));
                }
                Kind::NotJson(action) => {
                    // It did what it was told, and its answer is nothing.
                    self.restarted |= *action == Action::Restart;
                    return Err(CallFault::Unreadable("expected value".to_owned()));
                }
                Kind::Silent(_) | Kind::TooLarge(_) => return Err(CallFault::TimedOut),
                Kind::Vanishes(_) => return Err(CallFault::NoResponders),
                Kind::Empty(_) => data = json!({}),
                Kind::Lacks(_, member) => {
                    if let Some(members) = data.as_object_mut() {
                        members.remove(*member);
                    }
                }
                Kind::Says(_, member, value) => data[*member] = value.clone(),
            }
        } else if call.action == Action::Restart {
            self.restarted = true;
        }
        Ok(RpcReply::ok(name, data))
    }

    fn helper(&mut self, question: &Question) -> Result<String, HelperFault> {
        self.node.helper(question)
    }

    /// Only a node that heard its restart comes back.
    fn joins(&self) -> bool {
        self.restarted
    }
}
