//! `with(text)`: a fact, a class or an agent.

use std::borrow::Cow;

use crate::filter::fact::FactTest;
use crate::filter::name::NameTest;
use crate::filter::{NodeView, parse_fact};

/// The text of a `with`, read once.
#[derive(Debug)]
pub(super) enum With {
    /// What has the form of a fact filter is one.
    Fact(FactTest<'static>),
    /// Anything else is a class, or else an agent.
    Name {
        class: NameTest<'static>,
        agent: NameTest<'static>,
    },
}

impl With {
    pub(super) fn new(text: &str) -> Self {
        match parse_fact(text) {
            Ok(fact) => Self::Fact(FactTest::new(Cow::Owned(fact))),
            Err(_) => Self::Name {
                class: NameTest::class(text).into_owned(),
                agent: NameTest::name(text).into_owned(),
            },
        }
    }

    /// Tells whether the node has it; what cannot be evaluated it has not.
    pub(super) fn matches(&self, node: &NodeView<'_>) -> bool {
        match self {
            Self::Fact(test) => test.matches(node.facts).unwrap_or(false),
            Self::Name { class, agent } => {
                class.matches_any(node.classes) || agent.matches_any(node.agents)
            }
        }
    }
}
