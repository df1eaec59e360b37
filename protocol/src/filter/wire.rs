//! Reading the entries of a filter: objects only, no member twice.
//!
//! What serde derives would also take a list of values in the order of the members, which Choria's schema refuses.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, Visitor};

use super::{CompoundEntry, FactFilter};

struct FactVisitor;

struct CompoundVisitor;

impl<'de> Deserialize<'de> for FactFilter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FactVisitor)
    }
}

impl<'de> Deserialize<'de> for CompoundEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(CompoundVisitor)
    }
}

impl<'de> Visitor<'de> for FactVisitor {
    type Value = FactFilter;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a fact filter object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<FactFilter, A::Error> {
        let mut fact = None;
        let mut operator = None;
        let mut value = None;
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "fact" => set(&mut fact, "fact", map.next_value()?)?,
                "operator" => set(&mut operator, "operator", map.next_value()?)?,
                "value" => set(&mut value, "value", map.next_value()?)?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(FactFilter {
            fact: fact.ok_or_else(|| Error::missing_field("fact"))?,
            operator: operator.ok_or_else(|| Error::missing_field("operator"))?,
            value: value.ok_or_else(|| Error::missing_field("value"))?,
        })
    }
}

impl<'de> Visitor<'de> for CompoundVisitor {
    type Value = CompoundEntry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a compound filter object of texts")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<CompoundEntry, A::Error> {
        let mut expr = None;
        let mut other = BTreeMap::new();
        while let Some(key) = map.next_key::<String>()? {
            let value: String = map.next_value()?;
            if key == "expr" {
                set(&mut expr, "expr", value)?;
            } else if other.insert(key, value).is_some() {
                return Err(Error::custom("a member is given twice"));
            }
        }
        Ok(CompoundEntry { expr, other })
    }
}

fn set<T, E: Error>(slot: &mut Option<T>, name: &'static str, value: T) -> Result<(), E> {
    if slot.is_some() {
        return Err(E::duplicate_field(name));
    }
    *slot = Some(value);
    Ok(())
}
