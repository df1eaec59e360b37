//! An enrolment that is driven by recorded data in place of a broker.

use std::collections::VecDeque;
use std::sync::Arc;

use overlay_protocol::id::Identity;
use overlay_protocol::provisioning::NodeRecord;
use overlay_protocol::rpc::RpcReply;
use overlay_provisioner::{
    Action, Admission, Answer, Call, CallFault, Calls, Command, Enrolment, Entropy, Features,
    Finished, Found, HelperFault, HelperRules, Input, Issue, IssuedToken, KnownTokens, NameState,
    Names, NodeSecret, Policy, Quarantine, Question, Retry, TokenUse,
};
use overlay_testkit::vectors::Loader;
use overlay_tokens::claims::{ClientClaims, ServerClaims};
use overlay_tokens::issue::ChainIssuer;
use overlay_tokens::{Issuers, Key, UnixTime, Unverified};
use serde_json::Value;

/// Keys and tokens that the recorded programs had.
pub(super) struct Keys {
    pub(super) secret: String,
    pub(super) org: Key,
    pub(super) issuers: Issuers,
    provisioner: String,
    key: Key,
}

impl Keys {
    /// Reads `keys.json`.
    pub(super) fn load(loader: &Loader) -> Result<Self, String> {
        let keys = loader
            .load("keys.json")
            .map_err(|error| error.to_string())?;
        let seed = |name: &str| {
            let cases = keys["cases"].as_array().ok_or("no cases")?;
            let case = cases
                .iter()
                .find(|case| case["name"] == name)
                .ok_or(format!("no key {name}"))?;
            key(&case["seed"])
        };
        let org = seed("org")?;
        let issuers = Issuers::new([("choria".to_owned(), org.public())])
            .map_err(|error| error.to_string())?;
        Ok(Self {
            secret: text(&keys["provisioning_secret"])?.to_owned(),
            issuers,
            org,
            provisioner: text(&keys["tokens"]["provisioner"])?.to_owned(),
            key: seed("prov")?,
        })
    }

    /// The chain issuer that signs nodes' tokens.
    pub(super) fn issuer(&self, now: UnixTime) -> Result<ChainIssuer, String> {
        let token = Unverified::<ClientClaims>::decode(&self.provisioner)
            .map_err(|error| error.to_string())?
            .verify(&self.issuers, now)
            .map_err(|error| error.to_string())?;
        ChainIssuer::new(&token, self.key.clone()).map_err(|error| error.to_string())
    }

    /// Rules as the original's, where it has any.
    pub(super) fn policy(&self) -> Policy {
        Policy {
            issuers: self.issuers.clone(),
            known_tokens: KnownTokens::default(),
            secrets: vec![NodeSecret::of_all(self.secret.as_str())],
            denied_tokens: [].into(),
            site: None,
            provisioner: "provisioner".to_owned(),
            instance: "1".to_owned(),
            component: "provision_mode_server".to_owned(),
            calls: Calls::default(),
            features: Features::default(),
            names: Names::default(),
            issue: Issue::default(),
            helper: HelperRules {
                details: false,
                secrets: true,
            },
            retry: Retry::default(),
            quarantine: Quarantine::default(),
            placements: [].into(),
        }
    }
}

pub(super) fn key(seed: &Value) -> Result<Key, String> {
    Key::from_seed_text(text(seed)?.as_bytes()).map_err(|error| error.to_string())
}

pub(super) fn text(value: &Value) -> Result<&str, String> {
    value.as_str().ok_or(format!("{value} is no text"))
}

/// The node as a test plays it.
pub(super) trait Node {
    /// Answers a call.
    fn answer(&mut self, call: &Call) -> Result<RpcReply, CallFault>;
    /// What the helper writes about it.
    fn helper(&mut self, question: &Question) -> Result<String, HelperFault>;
    /// Whether it comes back as a member.
    fn joins(&self) -> bool;
}

/// What an enrolment did.
#[derive(Default)]
pub(super) struct Run {
    pub(super) finished: Option<Finished>,
    pub(super) calls: Vec<Call>,
    pub(super) questions: Vec<Question>,
    pub(super) issued: Vec<ServerClaims>,
    pub(super) vetted: Vec<String>,
    pub(super) record: Option<NodeRecord>,
    pub(super) now: Option<UnixTime>,
}

impl Run {
    pub(super) fn outcome(&self) -> String {
        self.finished.as_ref().map_or_else(String::new, |finished| {
            let why = finished.outcome.why();
            let why = why.map_or_else(String::new, |why| format!(": {why}"));
            format!("{}{why}", finished.outcome.as_str())
        })
    }

    pub(super) fn is_enrolled(&self) -> bool {
        self.outcome() == "enrolled"
    }

    pub(super) fn times(&self, action: Action) -> usize {
        self.calls
            .iter()
            .filter(|call| call.action == action)
            .count()
    }
}

/// Runs an enrolment to its end.
pub(super) fn run(
    keys: &Keys,
    policy: &Policy,
    identity: &str,
    prior: Option<NodeRecord>,
    node: &mut dyn Node,
    mut now: UnixTime,
    seed: u8,
) -> Result<Run, String> {
    let issuer = keys.issuer(now)?;
    let name = Identity::new(identity).map_err(|error| error.to_string())?;
    let entropy = Entropy::new([seed; 32]);
    let policy = Arc::new(policy.clone());
    let mut enrolment = Enrolment::new(name, Found::Event, prior, policy, entropy, now);
    let mut run = Run::default();
    let mut inputs = VecDeque::from([Input::Start]);
    for _ in 0..1000 {
        let input = match inputs.pop_front() {
            Some(input) => input,
            None => {
                now = now.max(enrolment.deadline().ok_or("it waits for nothing")?);
                Input::Tick
            }
        };
        for command in enrolment.on(input, now) {
            inputs.extend(perform(command, &mut run, node, &issuer, identity));
        }
        if run.finished.is_some() {
            run.now = Some(now);
            return Ok(run);
        }
    }
    Err("it does not end".to_owned())
}

fn perform(
    command: Command,
    run: &mut Run,
    node: &mut dyn Node,
    issuer: &ChainIssuer,
    identity: &str,
) -> Option<Input> {
    match command {
        Command::Call(call) => {
            let id = call.id;
            let answer = node.answer(&call);
            run.calls.push(call);
            Some(match answer {
                Ok(reply) => Input::Reply {
                    call: id,
                    sender: identity.to_owned(),
                    reply,
                },
                Err(fault) => Input::CallFailed { call: id, fault },
            })
        }
        Command::CheckName => Some(Input::Name(NameState::Free)),
        Command::TakeRates { .. } => Some(Input::Rates(Admission::Granted)),
        Command::UseToken { .. } => Some(Input::Token(TokenUse::Ours)),
        Command::AwaitWorker => Some(Input::Worker),
        Command::AskHelper(question) => {
            let output = node.helper(&question);
            run.questions.push(*question);
            Some(Input::Helper(output.and_then(|output| {
                Answer::decode(output.as_bytes())
                    .map(Box::new)
                    .map_err(HelperFault::from)
            })))
        }
        Command::Issue(claims) => {
            run.issued.push((*claims).clone());
            Some(Input::Issued(match issuer.issue(*claims) {
                Ok(token) => Ok(IssuedToken {
                    token: token.into(),
                    issuer: String::new(),
                }),
                Err(error) => Err(error.to_string()),
            }))
        }
        Command::PublishVetted(event) => {
            run.vetted.push(event.kind.type_name().to_owned());
            None
        }
        Command::Record(record) => {
            run.record = Some(*record);
            None
        }
        Command::AwaitMember { .. } => node.joins().then_some(Input::Member),
        Command::Audit(_) | Command::Tell(_) => None,
        Command::Finish(finished) => {
            run.finished = Some(finished);
            None
        }
    }
}
