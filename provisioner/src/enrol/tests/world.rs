//! Everything around an enrolment: tokens, policy, helper, time.

use std::sync::Arc;
use std::time::Duration;

use overlay_protocol::id::Identity;
use overlay_protocol::provisioning::audit::Kind;
use overlay_protocol::provisioning::{Issued, NodeRecord};
use overlay_testkit::mint::{Chain, Organisation};
use overlay_tokens::claims::{ClientClaims, ServerClaims};
use overlay_tokens::issue::{ChainIssuer, ClientToken, ProvisioningToken, ServerToken};
use overlay_tokens::{UnixTime, Unverified};
use serde_json::{Map, Value, json};

use super::super::*;
use super::node::TestNode;
use crate::answer::{Answer, HelperFault};
use crate::entropy::Entropy;
use crate::policy::{
    Calls, Features, HelperRules, Issue, KnownTokens, Names, Policy, Quarantine, Retry,
};
use crate::question::Question;
use crate::time::after;

pub(super) const NAME: &str = "n1.example.net";
pub(super) const SECRET: &str = "s3cret-token";

/// One node and all that it meets.
#[derive(Debug)]
pub(super) struct World {
    pub(super) organisation: Organisation,
    pub(super) chain: Chain,
    pub(super) issuer: ChainIssuer,
    pub(super) policy: Policy,
    pub(super) node: TestNode,
    pub(super) helper: Result<String, HelperFault>,
    pub(super) name: NameState,
    pub(super) rates: Admission,
    pub(super) token_use: TokenUse,
    pub(super) issues: bool,
    pub(super) joins: bool,
    /// Whether the record is put away while the node is awaited, as the service does.
    pub(super) rests: bool,
    pub(super) found: Found,
    pub(super) record: Option<NodeRecord>,
    pub(super) now: UnixTime,
    seed: u8,
    /// What happened.
    pub(super) questions: Vec<Question>,
    pub(super) issued: Vec<ServerClaims>,
    pub(super) audits: Vec<(Kind, Option<String>)>,
    pub(super) details: Vec<overlay_protocol::provisioning::audit::Details>,
    pub(super) vetted: Vec<&'static str>,
    pub(super) notes: Vec<String>,
    pub(super) order: Vec<&'static str>,
}

impl World {
    pub(super) fn new() -> Self {
        let organisation = Organisation::new();
        let chain = organisation.chain(ClientToken {
            validity: Duration::from_secs(1000 * 86_400),
            ..ClientToken::new("provisioner=test")
        });
        let issuer = issuer(&organisation, &chain);
        let policy = Policy {
            issuers: organisation.issuers(),
            known_tokens: KnownTokens::default(),
            secrets: vec![crate::policy::NodeSecret::of_all(SECRET)],
            denied_tokens: [].into(),
            site: Some("here".to_owned()),
            provisioner: "provisioner".to_owned(),
            instance: "1".to_owned(),
            component: "provision_mode_server".to_owned(),
            calls: Calls::default(),
            features: Features::default(),
            names: Names::default(),
            issue: Issue::default(),
            helper: HelperRules::default(),
            retry: Retry::default(),
            quarantine: Quarantine::default(),
            placements: [].into(),
        };
        let jwt = organisation.provisioning(ProvisioningToken {
            extensions: json_map(json!({"site": "lon"})),
            ..provisioning_token()
        });
        Self {
            node: TestNode::new(SECRET, jwt),
            organisation,
            chain,
            issuer,
            policy,
            helper: Ok(configuration()),
            name: NameState::Free,
            rates: Admission::Granted,
            token_use: TokenUse::Ours,
            issues: true,
            joins: true,
            rests: true,
            found: Found::Event,
            record: None,
            // Later than every token that a test makes.
            now: after(overlay_testkit::mint::now(), Duration::from_secs(5)),
            seed: 0,
            questions: Vec::new(),
            issued: Vec::new(),
            audits: Vec::new(),
            details: Vec::new(),
            vetted: Vec::new(),
            notes: Vec::new(),
            order: Vec::new(),
        }
    }

    pub(super) fn identity() -> Identity {
        Identity::new(NAME).unwrap()
    }

    /// A provisioning token with extensions.
    pub(super) fn token_with(&self, extensions: Value) -> String {
        self.organisation.provisioning(ProvisioningToken {
            extensions: json_map(extensions),
            ..provisioning_token()
        })
    }

    /// Makes the node a member with a token of so many seconds; returns its record.
    pub(super) fn enlist(&mut self, seconds: u64) {
        let login = self.chain.server(ServerToken {
            identity: NAME.to_owned(),
            collectives: vec!["choria".to_owned()],
            validity: Duration::from_secs(seconds),
            ..ServerToken::default()
        });
        let mut record = NodeRecord::new(Self::identity(), self.now.secs);
        record.state = overlay_protocol::provisioning::NodeState::Member;
        record.issued = Some(Issued {
            public_key: login.key.public().to_string(),
            expires: self.now.secs + i64::try_from(seconds).unwrap(),
            ..Issued::default()
        });
        self.record = Some(record);
        self.node.member = Some((login.token, login.key));
    }

    pub(super) fn begin(&mut self) -> Enrolment {
        self.seed = self.seed.wrapping_add(1);
        Enrolment::new(
            Self::identity(),
            self.found,
            self.record.clone(),
            Arc::new(self.policy.clone()),
            Entropy::new([self.seed; 32]),
            self.now,
        )
    }

    /// Runs an enrolment to its end.
    pub(super) fn run(&mut self) -> Finished {
        let mut enrolment = self.begin();
        let mut inputs = std::collections::VecDeque::from([Input::Start]);
        for _ in 0..10_000 {
            let input = match inputs.pop_front() {
                Some(input) => input,
                None => {
                    // Nothing is under way: time passes.
                    let due = enrolment.deadline().expect("it waits for something");
                    self.now = due.max(self.now);
                    Input::Tick
                }
            };
            if enrolment.is_at_rest() {
                enrolment.recall(self.record.clone());
            }
            let commands = enrolment.on(input, self.now);
            if self.rests {
                enrolment.rest();
            }
            for command in commands {
                if let Command::Finish(finished) = command {
                    assert_eq!(enrolment.deadline(), None);
                    assert!(enrolment.on(Input::Tick, self.now).is_empty());
                    return finished;
                }
                inputs.extend(self.perform(command));
            }
        }
        panic!("it never ends");
    }

    /// Does what an enrolment asks for, and returns the answer.
    pub(super) fn perform(&mut self, command: Command) -> Option<Input> {
        match command {
            Command::Call(call) => {
                self.order.push(call.action.name());
                let id = call.id;
                Some(match self.node.answer(&call) {
                    Ok(reply) => Input::Reply {
                        call: id,
                        sender: NAME.to_owned(),
                        reply,
                    },
                    Err(fault) => {
                        if fault == CallFault::TimedOut {
                            self.now = after(self.now, call.limit);
                        }
                        Input::CallFailed { call: id, fault }
                    }
                })
            }
            Command::CheckName => Some(Input::Name(self.name)),
            Command::TakeRates { .. } => Some(Input::Rates(self.rates)),
            Command::UseToken { .. } => Some(Input::Token(self.token_use.clone())),
            Command::AwaitWorker => Some(Input::Worker),
            Command::AskHelper(question) => {
                self.order.push("helper");
                self.questions.push(*question);
                Some(Input::Helper(self.helper.clone().and_then(|output| {
                    Answer::decode(output.as_bytes())
                        .map(Box::new)
                        .map_err(HelperFault::from)
                })))
            }
            Command::Issue(claims) => {
                self.order.push("issue");
                self.issued.push((*claims).clone());
                let issued = if self.issues {
                    Ok(IssuedToken {
                        token: self.issuer.issue(*claims).unwrap().into(),
                        issuer: String::new(),
                    })
                } else {
                    Err("no".to_owned())
                };
                Some(Input::Issued(issued))
            }
            Command::PublishVetted(event) => {
                assert_eq!(event.identity, NAME);
                self.vetted.push(event.kind.type_name());
                None
            }
            Command::Record(record) => {
                self.record = Some(*record);
                None
            }
            Command::Audit(record) => {
                self.audits
                    .push((record.kind, record.details.reason.clone()));
                self.details.push(record.details);
                None
            }
            Command::AwaitMember { .. } => self.joins.then_some(Input::Member),
            Command::Tell(note) => {
                self.notes.push(note.to_string());
                None
            }
            Command::Finish(_) => None,
        }
    }

    /// The reason for which it ended, and whether as refused, failed, and so on.
    pub(super) fn verdict(&mut self) -> (&'static str, &'static str) {
        let finished = self.run();
        let reason = finished.outcome.why().map_or("", |why| why.reason.as_str());
        (finished.outcome.as_str(), reason)
    }
}

/// What signs nodes' tokens.
pub(super) fn issuer(organisation: &Organisation, chain: &Chain) -> ChainIssuer {
    let token = Unverified::<ClientClaims>::decode(&chain.login.token).unwrap();
    let now = overlay_testkit::mint::now();
    let verified = token.verify(&organisation.issuers(), now).unwrap();
    ChainIssuer::new(&verified, chain.login.key.clone()).unwrap()
}

pub(super) fn provisioning_token() -> ProvisioningToken {
    ProvisioningToken {
        token: SECRET.into(),
        urls: vec!["nats://broker.example.net:4222".to_owned()],
        by_default: true,
        protocol_v2: true,
        validity: Duration::from_secs(3600),
        ..ProvisioningToken::default()
    }
}

pub(super) fn json_map(value: Value) -> Option<Map<String, Value>> {
    value.as_object().cloned()
}

/// An answer of a helper.
pub(super) fn configuration() -> String {
    json!({"msg": "welcome", "configuration": {
        "identity": NAME, "plugin.choria.server.provision": "false", "plugin.security.provider": "choria",
    }})
    .to_string()
}

/// The usual answer of the helper with members added.
pub(super) fn configuration_with(members: Value) -> String {
    let mut answer: Value = serde_json::from_str(&configuration()).unwrap();
    for (name, value) in members.as_object().unwrap() {
        answer[name] = value.clone();
    }
    answer.to_string()
}
