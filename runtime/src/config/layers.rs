//! Files and variables as layers; later ones win key by key.

use std::path::Path;

use figment::value::{Dict, Map, Value};
use figment::{Error, Figment, Metadata, Profile, Provider, Source};

use super::{Environment, Fault, mask};

/// The layers in order, and the faults met in reading them.
#[derive(Debug, Default)]
pub(super) struct Layers {
    layers: Vec<Layer>,
    faults: Vec<Fault>,
}

#[derive(Debug)]
struct Layer {
    source: String,
    values: Dict,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::from("configuration", Source::Custom(self.source.clone()))
    }

    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        Ok(Profile::Default.collect(self.values.clone()))
    }
}

impl Layers {
    pub(super) fn add_file(&mut self, path: &Path) {
        match std::fs::read_to_string(path) {
            Ok(text) => self.add_text(path, &text),
            Err(error) => {
                let fault = Fault::new("", format!("cannot be read: {error}"))
                    .remedy("give the path of a readable TOML file");
                self.add_faults(path, vec![fault]);
            }
        }
    }

    pub(super) fn add_text(&mut self, path: &Path, text: &str) {
        match text.parse::<toml::Table>() {
            Ok(table) => self.add_table(path, table),
            Err(error) => {
                let line = error.span().map_or(1, |span| {
                    let before = text.get(..span.start).unwrap_or_default();
                    before.matches('\n').count() + 1
                });
                let problem = format!("line {line}: {}", error.message());
                self.add_faults(path, vec![Fault::new("", problem)]);
            }
        }
    }

    pub(super) fn add_table(&mut self, path: &Path, table: toml::Table) {
        match Value::serialize(table).map(Value::into_dict) {
            Ok(Some(values)) => self.layers.push(Layer {
                source: path.display().to_string(),
                values,
            }),
            Ok(None) => {}
            Err(error) => self.add_faults(path, vec![Fault::new("", error.to_string())]),
        }
    }

    pub(super) fn add_faults(&mut self, path: &Path, faults: Vec<Fault>) {
        for mut fault in faults {
            fault.source_or(|| Some(path.display().to_string()));
            self.faults.push(fault);
        }
    }

    /// `PREFIX` + `SECTION__KEY` sets `section.key`; each variable is a layer, so that a fault can
    /// name it.
    pub(super) fn add_environment(&mut self, prefix: &str, environment: &Environment) {
        for (name, text) in environment {
            let Some(rest) = name.strip_prefix(prefix) else {
                continue;
            };
            let key = rest.to_lowercase().replace("__", ".");
            // Text that is no number, boolean, list or table is itself; parsing cannot fail.
            let value: Value = text.parse().unwrap_or_else(|never| match never {});
            if let Value::Dict(_, values) = figment::util::nest(&key, value) {
                self.layers.push(Layer {
                    source: format!("environment variable {name}"),
                    values,
                });
            }
        }
    }

    pub(super) fn merge(self) -> (Figment, Dict, Vec<Fault>) {
        let mut faults = self.faults;
        let figment = self
            .layers
            .into_iter()
            .fold(Figment::new(), |figment, layer| figment.merge(layer));
        let merged = match figment.data() {
            Ok(mut profiles) => profiles.remove(&Profile::Default).unwrap_or_default(),
            Err(error) => {
                faults.push(Fault::new("", error.to_string()));
                Dict::new()
            }
        };
        (figment, merged, faults)
    }
}

/// Adds to a fault where its key came from, and what was there.
pub(super) fn locate(fault: &mut Fault, figment: &Figment, merged: &Dict) {
    let key = fault.key().to_owned();
    let path = segments(&key);
    let value = find(merged, &path);
    fault.value_or(|| value.and_then(|value| mask::shown(&key, value)));
    fault.source_or(|| {
        let tag = value.or_else(|| nearest(merged, &path))?.tag();
        Some(figment.get_metadata(tag)?.source.as_ref()?.to_string())
    });
    fault.source_or(|| {
        let sources: Vec<String> = figment
            .metadata()
            .filter_map(|layer| layer.source.as_ref().map(ToString::to_string))
            .filter(|source| !source.starts_with("environment"))
            .collect();
        (!sources.is_empty()).then(|| sources.join(", "))
    });
}

/// Removes what `path` leads to; an element of a list takes the list with it.
pub(super) fn remove(values: &mut Dict, path: &[String]) -> bool {
    match path {
        [] => false,
        [key] => values.remove(key).is_some(),
        [key, rest @ ..] => match values.get_mut(key) {
            Some(Value::Dict(_, inner)) => remove(inner, rest),
            Some(_) => values.remove(key).is_some(),
            None => false,
        },
    }
}

/// The parts of a key: `streams[2].target.stream` is `streams`, `2`, `target`, `stream`.
fn segments(key: &str) -> Vec<&str> {
    key.split('.')
        .flat_map(|part| part.split('['))
        .map(|part| part.strip_suffix(']').unwrap_or(part))
        .collect()
}

/// The key that a path leads to; elements of lists have their number in brackets.
pub(super) fn key_of(path: &[String]) -> String {
    let mut key = String::new();
    for part in path {
        if !key.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()) {
            key.push_str(&format!("[{part}]"));
            continue;
        }
        if !key.is_empty() {
            key.push('.');
        }
        key.push_str(part);
    }
    key
}

fn find<'a>(values: &'a Dict, path: &[&str]) -> Option<&'a Value> {
    let (key, rest) = path.split_first()?;
    let value = values.get(*key)?;
    if rest.is_empty() {
        return Some(value);
    }
    match value {
        Value::Dict(_, inner) => find(inner, rest),
        Value::Array(_, elements) => {
            let (index, rest) = rest.split_first()?;
            let element = elements.get(index.parse::<usize>().ok()?)?;
            match element {
                _ if rest.is_empty() => Some(element),
                Value::Dict(_, inner) => find(inner, rest),
                Value::String(..)
                | Value::Char(..)
                | Value::Bool(..)
                | Value::Num(..)
                | Value::Empty(..)
                | Value::Array(..) => None,
            }
        }
        Value::String(..)
        | Value::Char(..)
        | Value::Bool(..)
        | Value::Num(..)
        | Value::Empty(..) => None,
    }
}

/// Any value of the section that a missing key belongs to: it tells the file.
fn nearest<'a>(values: &'a Dict, path: &[&str]) -> Option<&'a Value> {
    let (_, section) = path.split_last()?;
    match find(values, section)? {
        Value::Dict(_, inner) => inner.values().find(|value| value.as_dict().is_none()),
        Value::String(..)
        | Value::Char(..)
        | Value::Bool(..)
        | Value::Num(..)
        | Value::Empty(..)
        | Value::Array(..) => None,
    }
}
