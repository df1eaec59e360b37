//! Choria's own configuration file of a server, read as leniently as Choria reads it.
//!
//! Lines are `key = value`; lines that start with `#`, and lines of no such form, are skipped;
//! there is no quoting. Files `plugin.d/NAME.cfg` and `.conf` beside it add keys under
//! `plugin.NAME.`. Keys that this node has no use for are named in one [`Notice`] each, so that
//! nothing is ignored in silence. Nothing behind this module knows these names, except for
//! [`crate::config`], which shows the settings by them to `rpcutil#get_config_item`.

mod translate;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::Path;

use overlay_runtime::Fault;

pub use translate::translate;

/// The keys and values of a configuration, the last of equal keys counting.
pub type Pairs = BTreeMap<String, String>;

/// Something the operator should know about a file that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The key it is about.
    pub key: String,
    /// What is the matter with it.
    pub text: String,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.key, self.text)
    }
}

/// The largest configuration file that is read.
const MAX_BYTES: u64 = 1024 * 1024;

/// Reads a file and its `plugin.d` into our keys.
pub fn read_table(path: &Path) -> Result<toml::Table, Vec<Fault>> {
    let failed = |error: &dyn fmt::Display| vec![Fault::new("", error.to_string())];
    let pairs = read(path).map_err(|error| failed(&error))?;
    let level = pairs.get("loglevel").map(|level| log_level(level));
    let (mut raw, notices) = translate(pairs);
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    // Where a node that is enrolled keeps them, and where Choria looks when TLS is anonymous.
    let token = whole.with_file_name("server.jwt");
    if raw.token_file.is_none() && token.is_file() {
        raw.seed_file
            .get_or_insert_with(|| whole.with_file_name("server.seed"));
        raw.token_file = Some(token);
    }
    // Choria's policies lie beside its configuration.
    raw.authorization.directory = Some(whole.with_file_name("policies"));
    raw.choria_file = Some(whole.display().to_string());
    raw.choria_notices = Some(notices.iter().map(Notice::to_string).collect());
    let mut table = toml::Table::try_from(&raw).map_err(|error| failed(&error))?;
    if let Some(level) = level {
        let log = toml::Table::from_iter([("level".to_owned(), level.into())]);
        table.insert("log".to_owned(), log.into());
    }
    Ok(table)
}

/// Reads a file and its `plugin.d`.
pub fn read(path: &Path) -> io::Result<Pairs> {
    let mut pairs = Pairs::new();
    add_lines(&read_bounded(path)?, "", &mut pairs);
    let Some(dir) = path.parent().map(|parent| parent.join("plugin.d")) else {
        return Ok(pairs);
    };
    let Ok(entries) = std::fs::read_dir(dir) else {
        return Ok(pairs);
    };
    let mut files = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|file| has_extension(file))
        .collect::<Vec<_>>();
    files.sort();
    for file in files {
        if let Some(plugin) = file.file_stem().and_then(|stem| stem.to_str()) {
            add_lines(
                &read_bounded(&file)?,
                &format!("plugin.{plugin}."),
                &mut pairs,
            );
        }
    }
    Ok(pairs)
}

/// Whether the name is one of a Choria configuration file.
pub fn has_extension(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension == "cfg" || extension == "conf")
}

/// Adds the pairs of a text, each key with the prefix before it.
pub fn add_lines(text: &str, prefix: &str, pairs: &mut Pairs) {
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let Some((key, value)) = line.split_once('=') else {
            continue;
        };
        let (key, value) = (key.trim_end(), value.trim_start());
        if !key.is_empty() && !value.is_empty() {
            pairs.insert(format!("{prefix}{key}"), value.to_owned());
        }
    }
}

fn log_level(level: &str) -> String {
    match level {
        "fatal" => "error".to_owned(),
        other => other.to_owned(),
    }
}

fn read_bounded(path: &Path) -> io::Result<String> {
    let bytes = std::fs::metadata(path)?.len();
    if bytes > MAX_BYTES {
        return Err(io::Error::other(format!(
            "{bytes} bytes, the most is {MAX_BYTES}"
        )));
    }
    Ok(String::from_utf8_lossy(&std::fs::read(path)?).into_owned())
}

#[cfg(test)]
mod tests;
