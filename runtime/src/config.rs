//! Configuration: files and environment, merged, read into a raw form, checked into a typed one.
//!
//! TOML files are merged in the order given: tables merge, values replace. Then variables
//! `OVERLAY_<COMPONENT>__SECTION__KEY` override single keys. The raw form is what the file may hold
//! (`deny_unknown_fields`); the checked form is what the component works with. All faults are told
//! at once.

mod fault;
mod layers;
mod mask;
mod period;
mod settings;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use figment::error::Kind;
use figment::value::{Dict, Tag, Value};
use serde::de::DeserializeOwned;

use crate::secret::Secrets;

pub use fault::Fault;
pub use period::Period;
pub use settings::{RawAdmin, RawBroker, RawLog, RawProcess, Settings, Threads};

pub(crate) use mask::url_passwords;

use layers::Layers;

/// The environment, passed in.
pub type Environment = BTreeMap<String, String>;

/// A component's configuration.
pub trait FileConfig: Sized + std::fmt::Debug {
    /// What the files may hold. Keys that must be there are best optional here and demanded by
    /// [`Self::check`], so that all missing ones are told at once.
    type Raw: DeserializeOwned;

    /// Checks the raw form without touching files or network.
    ///
    /// # Errors
    ///
    /// Every fault that it has.
    fn check(raw: Self::Raw) -> Result<Self, Vec<Fault>>;

    /// The complete configuration as commented TOML; it must pass [`Self::check`].
    fn reference() -> String;

    /// What the process itself needs.
    fn runtime(&self) -> Settings;

    /// Reads a file that is not TOML, told by its name, into the same keys.
    fn read_foreign(_path: &Path) -> Option<Result<toml::Table, Vec<Fault>>> {
        None
    }

    /// Loads and checks the files and the environment: see [`load`]. A component that can begin without its files, or
    /// is one thing or another by them, has its own way.
    ///
    /// # Errors
    ///
    /// Every fault that can be told in one run.
    fn load(
        component: &str,
        files: &[PathBuf],
        environment: &Environment,
    ) -> Result<Loaded<Self>, Vec<Fault>> {
        load(component, files, environment)
    }

    /// Looks at the files that the configuration names: secrets, certificates, data.
    ///
    /// Called by `--check` and before the start; what the broker's settings name is looked at
    /// already.
    fn inspect(&self, _secrets: &Secrets) -> Vec<Fault> {
        Vec::new()
    }
}

/// A checked configuration, and what it was made from.
#[derive(Debug)]
pub struct Loaded<C> {
    /// The checked configuration.
    pub config: C,
    merged: Dict,
}

impl<C> Loaded<C> {
    /// Turns the configuration into another one that was made from the same files.
    pub fn map<D>(self, change: impl FnOnce(C) -> D) -> Loaded<D> {
        Loaded {
            config: change(self.config),
            merged: self.merged,
        }
    }

    /// The merged files and overrides as TOML, with whatever may be secret masked.
    pub fn masked(&self) -> String {
        mask::to_toml(&self.merged)
    }
}

/// The prefix of the variables that override keys of a component's configuration.
pub fn environment_prefix(component: &str) -> String {
    format!("OVERLAY_{}__", component.replace('-', "_").to_uppercase())
}

/// Loads and checks the configuration of a component.
///
/// # Errors
///
/// Every fault of files and environment that can be told in one run.
pub fn load<C: FileConfig>(
    component: &str,
    files: &[PathBuf],
    environment: &Environment,
) -> Result<Loaded<C>, Vec<Fault>> {
    let mut layers = Layers::default();
    for file in files {
        match C::read_foreign(file) {
            Some(Ok(table)) => layers.add_table(file, table),
            Some(Err(faults)) => layers.add_faults(file, faults),
            None => layers.add_file(file),
        }
    }
    layers.add_environment(&environment_prefix(component), environment);
    finish::<C>(layers)
}

/// Loads and checks a configuration from text, for tests of files and references.
///
/// # Errors
///
/// Every fault that can be told in one run.
pub fn load_text<C: FileConfig>(text: &str) -> Result<Loaded<C>, Vec<Fault>> {
    let mut layers = Layers::default();
    layers.add_text(Path::new("text"), text);
    finish::<C>(layers)
}

fn finish<C: FileConfig>(layers: Layers) -> Result<Loaded<C>, Vec<Fault>> {
    let (figment, merged, mut faults) = layers.merge();
    if !faults.is_empty() {
        return Err(faults);
    }
    let mut rest = merged.clone();
    let raw = read_raw::<C::Raw>(&mut rest, &mut faults);
    let told: Vec<String> = faults.iter().map(|fault| fault.key().to_owned()).collect();
    let checked = raw.map(C::check);
    let config = match checked {
        Some(Ok(config)) => Some(config),
        Some(Err(found)) => {
            // A key that was left out above because of its fault seems to be missing here.
            let is_told = |fault: &Fault| {
                let inside = |key: &String| {
                    let rest = key.strip_prefix(fault.key());
                    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
                };
                told.iter().any(inside)
            };
            faults.extend(found.into_iter().filter(|fault| !is_told(fault)));
            None
        }
        None => None,
    };
    for fault in &mut faults {
        layers::locate(fault, &figment, &merged);
    }
    match config {
        Some(config) if faults.is_empty() => Ok(Loaded { config, merged }),
        Some(_) | None => Err(faults),
    }
}

/// Reads the raw form; each key at fault is told and left out, until the rest can be read.
fn read_raw<R: DeserializeOwned>(values: &mut Dict, faults: &mut Vec<Fault>) -> Option<R> {
    loop {
        let error = match Value::Dict(Tag::Default, values.clone()).deserialize::<R>() {
            Ok(raw) => return Some(raw),
            Err(error) => error,
        };
        for error in error {
            let mut path = error.path.clone();
            let fault = match &error.kind {
                Kind::UnknownField(name, known) => {
                    if path.last() != Some(name) {
                        path.push(name.clone());
                    }
                    Fault::new(layers::key_of(&path), "unknown key")
                        .remedy(fault::did_you_mean(name, known))
                }
                Kind::MissingField(name) => {
                    path.push(name.to_string());
                    let key = layers::key_of(&path);
                    let told = faults.iter().any(|fault| fault.key() == key);
                    if !told {
                        faults.push(Fault::new(key, "is missing").remedy("set it"));
                    }
                    return None;
                }
                kind @ (Kind::Message(_)
                | Kind::InvalidType(..)
                | Kind::InvalidValue(..)
                | Kind::InvalidLength(..)
                | Kind::UnknownVariant(..)
                | Kind::DuplicateField(_)
                | Kind::ISizeOutOfRange(_)
                | Kind::USizeOutOfRange(_)
                | Kind::Unsupported(_)
                | Kind::UnsupportedKey(..)) => Fault::new(layers::key_of(&path), kind.to_string()),
            };
            let removed = layers::remove(values, &path);
            faults.push(fault);
            if !removed {
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests;
