//! Odd helpers: the same nodes are enrolled, with the same inputs, or fewer where a rule of ours says so.
//!
//! What becomes of exit codes, time-outs and floods is known from the tests of the helper's process; here they are faults.

use std::time::Duration;

use overlay_protocol::rpc::RpcReply;
use overlay_provisioner::{Action, Call, CallFault, HelperFault, Question};
use overlay_testkit::vectors::{self, Loader, Outcome};
use overlay_tokens::UnixTime;
use serde_json::Value;

use super::machine::{self, Keys, Node, text};
use super::tokens::Plain;

const NOW: i64 = 1_795_211_364;
/// The original's time limit, and ours.
const LIMIT: Duration = Duration::from_secs(10);
/// The most that ours reads unless it is told otherwise.
const MOST: u64 = 1 << 20;

pub(super) fn helpers(file: &Value, loader: &Loader) -> Outcome {
    let keys = Keys::load(loader);
    vectors::for_cases(file, |case| {
        let keys = keys.as_ref().map_err(Clone::clone)?;
        // The recorded emulator made a node's name of the case's.
        let identity = format!("{}-00000.example.net", text(&case["name"])?);
        let now = UnixTime::from_secs(NOW);
        let mut node = Asked {
            node: Plain::new(keys, now, String::new())?,
            answer: answer(&case["helper"])?,
        };
        let run = machine::run(keys, &keys.policy(), &identity, None, &mut node, now, 1)?;
        let refused_by_rule = node
            .answer
            .as_ref()
            .is_ok_and(|stdout| is_refused(stdout, &identity));
        let expected = case["expect"]["provisioned"] == true && !refused_by_rule;
        if run.is_enrolled() != expected {
            return Err(format!("ended as {}", run.outcome()));
        }
        let configure = run
            .calls
            .iter()
            .find(|call| call.action == Action::Configure);
        let Some(configure) = configure else {
            return Ok(());
        };
        for (name, theirs) in case["expect"]["configure"]
            .as_object()
            .into_iter()
            .flatten()
        {
            // Keys are encrypted and tokens signed anew.
            let fresh = matches!(name.as_str(), "key" | "ecdh_public" | "server_jwt");
            let ours = &configure.data[name];
            if !fresh && ours != theirs {
                return Err(format!("configure: {name} is {ours}, it was {theirs}"));
            }
        }
        Ok(())
    })
}

/// What the helper's process yields.
fn answer(helper: &Value) -> Result<Result<String, HelperFault>, String> {
    for (name, value) in helper.as_object().ok_or("no helper")? {
        let number = value.as_u64().unwrap_or_default();
        match name.as_str() {
            "exit" if number != 0 => {
                return Ok(Err(HelperFault::Failed(format!("exit code {number}"))));
            }
            "sleep" if number >= LIMIT.as_secs() => return Ok(Err(HelperFault::TimedOut(LIMIT))),
            "huge" if number > MOST => {
                return Ok(Err(HelperFault::Failed("too much output".to_owned())));
            }
            "exit" | "sleep" | "huge" | "stdout" | "stderr_bytes" => {}
            other => return Err(format!("what a helper does with {other} is not known")),
        }
    }
    Ok(Ok(text(&helper["stdout"])?.to_owned()))
}

/// Rules: another identity, line breaks in settings, policies that are no plain file names of their kind.
fn is_refused(stdout: &str, identity: &str) -> bool {
    let Ok(Value::Object(answer)) = serde_json::from_str(stdout) else {
        return false;
    };
    let members = |name: &str| answer.get(name).and_then(Value::as_object).cloned();
    let settings = members("configuration").unwrap_or_default();
    let other = settings
        .get("identity")
        .is_some_and(|name| name != identity);
    let broken = settings.iter().any(|(name, value)| {
        let value = value.as_str().unwrap_or_default();
        [name, value]
            .iter()
            .any(|text| text.contains(['\n', '\r', '\0']))
            || name.contains('=')
    });
    let stray = [("action_policies", ".policy"), ("opa_policies", ".rego")]
        .iter()
        .any(|(member, ending)| {
            let names = members(member).unwrap_or_default();
            names.keys().any(|name| {
                !name.is_empty() && (!name.ends_with(ending) || name.contains(['/', '\\', ':']))
            })
        });
    other || broken || stray
}

struct Asked {
    node: Plain,
    answer: Result<String, HelperFault>,
}

impl Node for Asked {
    fn answer(&mut self, call: &Call) -> Result<RpcReply, CallFault> {
        self.node.answer(call)
    }

    fn helper(&mut self, _question: &Question) -> Result<String, HelperFault> {
        self.answer.clone()
    }

    fn joins(&self) -> bool {
        true
    }
}
