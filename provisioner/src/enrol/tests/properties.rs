//! What must hold whatever comes in, and in whatever order.

use overlay_protocol::provisioning::audit::Kind;
use proptest::prelude::*;
use serde_json::json;

use super::super::*;
use super::World;
use super::node::Fault;
use super::world::{NAME, configuration, configuration_with};
use crate::answer::{Answer, HelperFault};
use crate::time::after;

/// What the world does next.
#[derive(Debug, Clone)]
enum Step {
    /// It does the n-th of what was asked for and is not done.
    Answer(usize),
    /// It does that twice.
    Twice(usize),
    /// The n-th is lost.
    Lose(usize),
    /// A foreign input.
    Odd(u8),
    /// Time passes, in milliseconds.
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0_usize..4).prop_map(Step::Answer),
        1 => (0_usize..4).prop_map(Step::Twice),
        1 => (0_usize..4).prop_map(Step::Lose),
        1 => (0_u8..13).prop_map(Step::Odd),
        2 => (0_u64..40_000).prop_map(Step::Wait),
    ]
}

fn fault() -> impl Strategy<Value = (Action, Fault, u32)> {
    let action = prop::sample::select(Action::ALL.to_vec());
    let fault = prop_oneof![
        Just(Fault::Silent),
        Just(Fault::Gone),
        Just(Fault::Unreadable),
        Just(Fault::NoObject),
        Just(Fault::Aborts("no")),
        Just(Fault::Aborts("Could not obtain provisioning lock")),
        Just(Fault::Lacks("jwt")),
        Just(Fault::Lacks("message")),
        Just(Fault::Lacks("signature")),
        Just(Fault::Says("message", json!(5))),
        Just(Fault::Says("public_key", json!("00"))),
        Just(Fault::Says("ecdh_public", json!("00"))),
        Just(Fault::Says("version", json!(1))),
    ];
    (action, fault, 0_u32..6)
}

fn helper() -> impl Strategy<Value = Result<String, HelperFault>> {
    prop_oneof![
        6 => Just(Ok(configuration())),
        1 => Just(Ok(configuration_with(json!({"confirm": true})))),
        1 => Just(Ok(configuration_with(json!({"upgrade": "1.2.3"})))),
        1 => Just(Ok(configuration_with(json!({"key": "no key"})))),
        1 => Just(Ok("{\"defer\":true}".to_owned())),
        1 => Just(Ok("{\"shutdown\":true}".to_owned())),
        1 => Just(Ok(String::new())),
        1 => Just(Err(HelperFault::None)),
    ]
}

fn odd(number: u8, last: u32) -> Input {
    match number {
        0 => Input::Start,
        1 => Input::Tick,
        2 => Input::Member,
        3 => Input::Worker,
        4 => Input::Name(NameState::Free),
        5 => Input::Rates(Admission::Granted),
        6 => Input::Token(TokenUse::Ours),
        7 => Input::Helper(
            Answer::decode(configuration().as_bytes())
                .map(Box::new)
                .map_err(HelperFault::from),
        ),
        8 => Input::Issued(Err("no".to_owned())),
        9 => Input::CallFailed {
            call: CallId(last),
            fault: CallFault::TooLarge,
        },
        10 => Input::Reply {
            call: CallId(last),
            sender: "other".to_owned(),
            reply: overlay_protocol::rpc::RpcReply::ok("x", json!({})),
        },
        11 => Input::Paused,
        _ => Input::Announced,
    }
}

/// What is seen of an enrolment from outside.
#[derive(Debug, Default)]
struct Seen {
    rates: bool,
    placed: bool,
    key_called: bool,
    asked: bool,
    issued: u32,
    configured_well: bool,
    finishes: u32,
    last_call: u32,
    enrolled: u32,
}

impl Seen {
    fn note(&mut self, command: &Command) -> Result<(), TestCaseError> {
        prop_assert_eq!(self.finishes, 0, "nothing comes after the end");
        match command {
            Command::TakeRates { .. } => self.rates = true,
            Command::AwaitWorker => {
                prop_assert!(self.rates);
                self.placed = true;
            }
            Command::AskHelper(question) => {
                prop_assert!(self.key_called && question.ed25519_pubkey.is_some());
                prop_assert!(question.jwt.is_some());
                prop_assert!(!self.asked, "the helper is asked once");
                self.asked = true;
            }
            Command::Issue(_) => {
                prop_assert!(self.asked);
                self.issued += 1;
                prop_assert_eq!(self.issued, 1);
            }
            Command::Call(call) => {
                prop_assert!(call.id.number() > self.last_call, "each try is new");
                self.last_call = call.id.number();
                match call.action {
                    Action::Jwt | Action::Inventory => {}
                    Action::Gen25519 => {
                        prop_assert!(self.placed);
                        self.key_called = true;
                    }
                    Action::Gencsr | Action::Shutdown | Action::ReleaseUpdate => {
                        prop_assert!(self.key_called);
                    }
                    Action::Configure => {
                        prop_assert!(self.issued == 1 && !self.configured_well);
                        prop_assert!(!call.data["server_jwt"].as_str().unwrap().is_empty());
                    }
                    Action::Restart => {
                        prop_assert!(self.issued == 1);
                        self.configured_well = true;
                    }
                }
            }
            Command::Finish(_) => self.finishes += 1,
            Command::Audit(record) => {
                self.enrolled +=
                    u32::from(record.kind == Kind::Enrolled || record.kind == Kind::Renewed);
            }
            Command::CheckName
            | Command::UseToken { .. }
            | Command::PublishVetted(_)
            | Command::Record(_)
            | Command::AwaitMember { .. }
            | Command::Tell(_) => {}
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// It always ends, exactly once; never is a token issued or delivered before key, judgement and helper; never is a
    /// node configured after that went well; nothing panics.
    #[test]
    fn it_ends_once_and_keeps_its_order(
        steps in prop::collection::vec(step(), 0..80),
        faults in prop::collection::vec(fault(), 0..4),
        helper in helper(),
        name in prop::sample::select(vec![NameState::Free, NameState::Free, NameState::Live, NameState::Unknown]),
        member in any::<bool>(),
        upgrades in any::<bool>(),
        joins in any::<bool>(),
    ) {
        let mut world = World::new();
        world.helper = helper;
        world.name = name;
        world.joins = joins;
        if member {
            world.enlist(100_000);
        }
        if upgrades {
            world.policy.features.upgrades = Some(crate::policy::Upgrades {
                repository: "https://repo".to_owned(),
                optional: true,
            });
        }
        for (action, fault, times) in faults {
            world.node.fail(action, fault, times);
        }
        let mut seen = Seen::default();
        let mut enrolment = world.begin();
        let mut open: Vec<Command> = Vec::new();
        let mut inputs = vec![Input::Start];
        let mut steps = steps.into_iter();
        for _ in 0..3000 {
            for input in inputs.drain(..) {
                for command in enrolment.on(input, world.now) {
                    seen.note(&command)?;
                    open.push(command);
                }
            }
            if seen.finishes > 0 {
                break;
            }
            // After the foreseen steps, what was asked for is done in order and time passes.
            let idle = if open.is_empty() { Step::Wait(60_000) } else { Step::Answer(0) };
            let step = steps.next().unwrap_or(idle);
            match step {
                Step::Answer(at) | Step::Twice(at) if !open.is_empty() => {
                    let command = open.remove(at % open.len());
                    if matches!(step, Step::Twice(_)) {
                        inputs.extend(world.perform(command.clone()));
                    }
                    inputs.extend(world.perform(command));
                }
                Step::Lose(at) if !open.is_empty() => {
                    let command = open.remove(at % open.len());
                    // What is lost is told: each of these has a limit of its own outside.
                    inputs.extend(match command {
                        Command::Call(call) => Some(Input::CallFailed { call: call.id, fault: CallFault::TimedOut }),
                        Command::CheckName => Some(Input::Name(NameState::Unknown)),
                        Command::TakeRates { .. } => Some(Input::Rates(Admission::Later(std::time::Duration::from_secs(1)))),
                        Command::UseToken { .. } => Some(Input::Token(TokenUse::Unknown("x".to_owned()))),
                        Command::AwaitWorker => Some(Input::Worker),
                        Command::AskHelper(_) => Some(Input::Helper(Err(HelperFault::None))),
                        Command::Issue(_) => Some(Input::Issued(Err("x".to_owned()))),
                        Command::PublishVetted(_)
                        | Command::Record(_)
                        | Command::Audit(_)
                        | Command::AwaitMember { .. }
                        | Command::Tell(_)
                        | Command::Finish(_) => None,
                    });
                }
                Step::Odd(number) => inputs.push(odd(number, seen.last_call)),
                Step::Wait(ms) => {
                    world.now = after(world.now, std::time::Duration::from_millis(ms));
                    inputs.push(Input::Tick);
                }
                Step::Answer(_) | Step::Twice(_) | Step::Lose(_) => inputs.push(Input::Tick),
            }
        }
        prop_assert_eq!(seen.finishes, 1, "it ends");
        prop_assert_eq!(enrolment.deadline(), None);
        for number in 0..13 {
            prop_assert!(enrolment.on(odd(number, seen.last_call), world.now).is_empty());
        }
        prop_assert!(seen.enrolled <= 1);
        prop_assert!(world.record.is_none_or(|record| record.identity.as_str() == NAME));
    }
}
