//! What a provider says of somebody, and who that is here.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::authenticate::mapping::Facts;
use crate::authenticate::{Person, Refusal};
use crate::config::Oidc;
use crate::login::Reason;

/// More groups than anybody is in.
const MAX_GROUPS: usize = 4096;

/// The verified claims about somebody.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Claims(Map<String, Value>);

impl Claims {
    pub(super) fn new(claims: Map<String, Value>) -> Self {
        Self(claims)
    }

    /// Who it is at the provider; never given to another.
    pub(super) fn subject(&self) -> Result<&str, Refusal> {
        let subject = self.0.get("sub").and_then(Value::as_str);
        subject.ok_or_else(|| Refusal::new(Reason::Provider, "the claims name no subject"))
    }

    /// Whether the name or the groups are not among them.
    pub(super) fn lack_something(&self, settings: &Oidc) -> bool {
        !self.0.contains_key(&settings.name_claim)
            || self.at(&settings.groups_claim).is_none()
            || settings
                .properties
                .values()
                .any(|claim| !self.0.contains_key(claim))
    }

    /// Adds claims that are not there yet: what the ID token says counts.
    pub(super) fn add(&mut self, further: Map<String, Value>) {
        for (name, value) in further {
            self.0.entry(name).or_insert(value);
        }
    }

    /// Who this is here, by the rules.
    pub(super) async fn person(&self, settings: &Oidc) -> Result<Person, Refusal> {
        let name = self.name(settings)?;
        let callerid = settings
            .names
            .callerid(super::NAME, name)
            .map_err(|error| {
                let claim = &settings.name_claim;
                Refusal::new(Reason::Provider, format!("claim {claim}: {error}"))
            })?;
        let facts = Facts {
            groups: self.groups(settings)?,
            claims: self.facts(),
        };
        let properties = settings
            .properties
            .iter()
            .filter_map(|(property, claim)| {
                let values = facts.claims.get(claim)?;
                Some((property.clone(), values.join(",")))
            })
            .collect();
        let person = Person {
            name: name.to_owned(),
            callerid,
            properties,
            ..Person::default()
        };
        settings.rules.grant(person, &facts).await
    }

    fn name(&self, settings: &Oidc) -> Result<&str, Refusal> {
        let claim = settings.name_claim.as_str();
        let refused = |message: String| Refusal::new(Reason::Provider, message);
        let name = self.0.get(claim).and_then(Value::as_str);
        let name = name.ok_or_else(|| refused(format!("the claims have no text {claim}")))?;
        // Elsewhere anybody may call themselves by the address of another.
        if claim == "email" && self.0.get("email_verified") != Some(&Value::Bool(true)) {
            return Err(refused(
                "the provider has not verified the email".to_owned(),
            ));
        }
        Ok(name)
    }

    fn groups(&self, settings: &Oidc) -> Result<BTreeSet<String>, Refusal> {
        let refused = |message: &str| Refusal::new(Reason::Provider, message);
        let groups = match self.at(&settings.groups_claim) {
            None | Some(Value::Null) => return Ok(BTreeSet::new()),
            Some(Value::String(group)) => return Ok(BTreeSet::from([group.clone()])),
            Some(Value::Array(groups)) if groups.len() <= MAX_GROUPS => groups,
            Some(Value::Array(_)) => return Err(refused("the claims name too many groups")),
            Some(Value::Bool(_) | Value::Number(_) | Value::Object(_)) => {
                return Err(refused("the groups are no list of texts"));
            }
        };
        let texts = groups.iter().map(|group| group.as_str().map(str::to_owned));
        let groups: Option<BTreeSet<String>> = texts.collect();
        groups.ok_or_else(|| refused("the groups are no list of texts"))
    }

    /// The claims that are texts, numbers, truth values or lists of such.
    fn facts(&self) -> BTreeMap<String, Vec<String>> {
        let values = |value: &Value| match value {
            Value::Array(values) => values.iter().filter_map(text).collect(),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Object(_) => text(value).into_iter().collect::<Vec<_>>(),
        };
        let facts = self.0.iter();
        facts
            .map(|(name, value)| (name.clone(), values(value)))
            .collect()
    }

    fn at(&self, path: &[String]) -> Option<&Value> {
        let (first, rest) = path.split_first()?;
        let mut value = self.0.get(first)?;
        for step in rest {
            value = value.as_object()?.get(step)?;
        }
        Some(value)
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}
