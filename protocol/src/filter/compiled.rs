//! Evaluation: one filter on one node, or on many.

use std::borrow::{Borrow, Cow};

use super::expr::{Budget, Program};
use super::fact::FactTest;
use super::name::NameTest;
use super::{CompoundEntry, Filter, FilterError, FilterKind, MAX_PATTERNS, NodeView, Verdict};

/// A filter read once, for use on many nodes.
#[derive(Debug)]
pub struct CompiledFilter<'f> {
    filter: &'f Filter,
    size: Result<(), FilterError>,
    identity: Vec<NameTest<'f>>,
    agent: Vec<NameTest<'f>>,
    class: Vec<NameTest<'f>>,
    fact: Vec<FactTest<'f>>,
    compound: Vec<CompoundTest<'f>>,
}

/// One compound filter.
#[derive(Debug)]
pub(super) struct CompoundTest<'f> {
    text: &'f str,
    program: Result<Program<'f>, FilterError>,
}

impl<'f> CompiledFilter<'f> {
    pub(super) fn new(filter: &'f Filter) -> Self {
        let size = filter.check_size();
        let mut patterns = patterns_left(filter);
        // An oversized filter is refused without the cost of reading it.
        let (identity, agent, class, fact, compound) = match &size {
            Ok(()) => (
                filter
                    .identity
                    .iter()
                    .map(|entry| NameTest::name(entry))
                    .collect(),
                filter
                    .agent
                    .iter()
                    .map(|entry| NameTest::name(entry))
                    .collect(),
                filter
                    .cf_class
                    .iter()
                    .map(|entry| NameTest::class(entry))
                    .collect(),
                filter
                    .fact
                    .iter()
                    .map(|entry| FactTest::new(Cow::Borrowed(entry)))
                    .collect(),
                filter
                    .compound
                    .iter()
                    .map(|entry| CompoundTest::new(entry, &mut patterns))
                    .collect(),
            ),
            Err(_) => (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new()),
        };
        Self {
            filter,
            size,
            identity,
            agent,
            class,
            fact,
            compound,
        }
    }

    /// Tells whether the filter matches `node`.
    pub fn matches(&self, node: &NodeView<'_>) -> bool {
        self.explain(node).is_match()
    }

    /// Tells whether the filter matches `node`, or else which entry refused and why.
    pub fn explain(&self, node: &NodeView<'_>) -> Verdict {
        if let Err(error) = &self.size {
            return Verdict::no_match(FilterKind::Filter, "", Some(error.clone()));
        }
        let tests = Tests {
            identity: self.identity.iter(),
            agent: self.agent.iter(),
            class: self.class.iter(),
            fact: self.fact.iter(),
            compound: self.compound.iter(),
        };
        judge(self.filter, tests, node)
    }

    /// Gives the first fault that does not depend on a node.
    pub(super) fn first_fault(&self) -> Option<FilterError> {
        let mut names = self.identity.iter().chain(&self.agent).chain(&self.class);
        self.size
            .as_ref()
            .err()
            .cloned()
            .or_else(|| names.find_map(|test| test.fault().cloned().map(FilterError::from)))
            .or_else(|| self.fact.iter().find_map(FactTest::fault))
            .or_else(|| {
                self.compound
                    .iter()
                    .find_map(|test| test.program.as_ref().err().cloned())
            })
    }
}

impl<'f> CompoundTest<'f> {
    /// Reads an expression, taking the regular expressions in it from those that the filter may still have.
    fn new(entries: &'f [CompoundEntry], patterns: &mut usize) -> Self {
        let text = match entries {
            [
                CompoundEntry {
                    expr: Some(text), ..
                },
            ] => text.as_str(),
            _ => {
                return Self {
                    text: "",
                    program: Err(FilterError::NotAnExpression),
                };
            }
        };
        Self {
            text,
            program: Program::new(text, patterns).map_err(FilterError::from),
        }
    }

    fn matches(&self, node: &NodeView<'_>, budget: &mut Budget) -> Result<bool, FilterError> {
        match &self.program {
            Ok(program) => Ok(program.is_true(node, budget)?),
            Err(error) => Err(error.clone()),
        }
    }
}

/// The tests of a filter, read beforehand or only when their turn comes.
struct Tests<Identity, Agent, Class, Fact, Compound> {
    identity: Identity,
    agent: Agent,
    class: Class,
    fact: Fact,
    compound: Compound,
}

/// Regular expressions that the expressions of a filter may have together.
fn patterns_left(filter: &Filter) -> usize {
    MAX_PATTERNS.saturating_sub(filter.patterns())
}

/// Evaluates a filter on one node, reading no more of it than the verdict needs.
pub(super) fn judge_once(filter: &Filter, node: &NodeView<'_>) -> Verdict {
    if let Err(error) = filter.check_size() {
        return Verdict::no_match(FilterKind::Filter, "", Some(error));
    }
    let mut patterns = patterns_left(filter);
    let tests = Tests {
        identity: filter.identity.iter().map(|entry| NameTest::name(entry)),
        agent: filter.agent.iter().map(|entry| NameTest::name(entry)),
        class: filter.cf_class.iter().map(|entry| NameTest::class(entry)),
        fact: filter
            .fact
            .iter()
            .map(|entry| FactTest::new(Cow::Borrowed(entry))),
        compound: filter
            .compound
            .iter()
            .map(|entry| CompoundTest::new(entry, &mut patterns)),
    };
    judge(filter, tests, node)
}

fn judge<'f, Name, Fact, Compound>(
    filter: &'f Filter,
    tests: Tests<
        impl Iterator<Item = Name>,
        impl Iterator<Item = Name>,
        impl Iterator<Item = Name>,
        impl Iterator<Item = Fact>,
        impl Iterator<Item = Compound>,
    >,
    node: &NodeView<'_>,
) -> Verdict
where
    Name: Borrow<NameTest<'f>>,
    Fact: Borrow<FactTest<'f>>,
    Compound: Borrow<CompoundTest<'f>>,
{
    let mut identity_fault = None;
    let mut identities = tests.identity;
    if let Some(first) = filter.identity.first() {
        let found = identities.any(|test| {
            let test = test.borrow();
            if identity_fault.is_none() {
                identity_fault = test.fault().cloned().map(FilterError::from);
            }
            test.matches(node.identity)
        });
        if !found {
            return Verdict::no_match(FilterKind::Identity, first, identity_fault);
        }
    }
    let agents = tests
        .agent
        .zip(&filter.agent)
        .map(|(test, entry)| (FilterKind::Agent, test, entry, node.agents));
    let classes = tests
        .class
        .zip(&filter.cf_class)
        .map(|(test, entry)| (FilterKind::Class, test, entry, node.classes));
    for (kind, test, entry, names) in agents.chain(classes) {
        if !test.borrow().matches_any(names) {
            return Verdict::no_match(
                kind,
                entry,
                test.borrow().fault().cloned().map(FilterError::from),
            );
        }
    }
    for test in tests.fact {
        let test = test.borrow();
        match test.matches(node.facts) {
            Ok(true) => {}
            Ok(false) => {
                return Verdict::no_match(FilterKind::Fact, test.filter().to_string(), None);
            }
            Err(error) => {
                return Verdict::no_match(FilterKind::Fact, test.filter().to_string(), Some(error));
            }
        }
    }
    // Every expression must be true. Choria subtracts false ones from true ones, so that two true ones outvote a false one.
    let mut budget = Budget::default();
    for test in tests.compound {
        let test = test.borrow();
        match test.matches(node, &mut budget) {
            Ok(true) => {}
            Ok(false) => return Verdict::no_match(FilterKind::Compound, test.text, None),
            Err(error) => return Verdict::no_match(FilterKind::Compound, test.text, Some(error)),
        }
    }
    Verdict::Match
}
