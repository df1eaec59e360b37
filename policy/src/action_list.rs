//! Action lists: the claim `agents`, `agent.action` by `agent.action`.

use crate::DISCOVERY;
use crate::verdict::{Verdict, Why};

/// How much of a foreign element is shown.
const SHOWN: usize = 64;

/// Decides by a list of `*`, `agent.*` and `agent.action`, read in order.
///
/// As Choria's: the first element that fits allows, an element that is not of two parts is an error that ends the
/// reading, there are no patterns and no negations, letter case counts, and an empty list allows nothing.
pub fn action_list(agents: &[String], agent: &str, action: &str) -> Verdict {
    if agent == DISCOVERY {
        return discovery();
    }
    if agents.is_empty() {
        return Verdict::Deny(Why::decided("agents", "the list of actions is empty"));
    }

    for (place, element) in agents.iter().enumerate() {
        let rule = || format!("agents[{place}] {}", shown(element));
        if element == "*" {
            return Verdict::Allow(Why::decided(rule(), "every action of every agent"));
        }
        let Some((list_agent, list_action)) = two_parts(element) else {
            let message = format!(
                "{:?} is neither * nor agent.action, and nothing after it is read",
                shown(element)
            );
            return Verdict::Deny(Why::failed(rule(), message));
        };
        if list_agent != agent {
            continue;
        }
        if list_action == "*" {
            let message = format!("every action of agent {}", shown(agent));
            return Verdict::Allow(Why::decided(rule(), message));
        }
        if list_action == action {
            return Verdict::Allow(Why::decided(rule(), "named in the list"));
        }
    }

    let message = format!(
        "none of {} elements names {}.{}",
        agents.len(),
        shown(agent),
        shown(action)
    );
    Verdict::Deny(Why::decided("agents", message))
}

/// What every authoriser says of discovery.
pub(crate) fn discovery() -> Verdict {
    Verdict::Allow(Why::decided(
        DISCOVERY,
        "discovery is allowed to every caller",
    ))
}

/// The two sides of an element with exactly one dot.
fn two_parts(element: &str) -> Option<(&str, &str)> {
    element
        .split_once('.')
        .filter(|(_, action)| !action.contains('.'))
}

/// As much of a foreign text as belongs into a record.
pub(crate) fn shown(text: &str) -> &str {
    let end = (0..=SHOWN.min(text.len()))
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0);
    &text[..end]
}

#[cfg(test)]
mod tests;
