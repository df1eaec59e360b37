//! Descriptions of agents, from the ones built in and from libraries on disk.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use overlay_protocol::envelope::Limits;
use overlay_protocol::error::DecodeError;
use overlay_protocol::rpc::ddl::{self, Ddl};

/// Where libraries keep the descriptions of agents.
const PLACES: [&str; 2] = ["choria/agent", "mcollective/agent"];

/// Why an agent has no description.
#[derive(Debug, thiserror::Error)]
pub enum DdlError {
    /// No description is known.
    #[error("there is no description of agent `{agent}`")]
    Unknown {
        /// The agent.
        agent: String,
        /// The libraries looked through.
        libraries: Vec<PathBuf>,
    },
    /// A description cannot be read.
    #[error("cannot read the description {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A description is wrong.
    #[error("the description {} is not usable", path.display())]
    Decode {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: DecodeError,
    },
    /// A description is of another agent than its file's name says.
    #[error("the description {} is of agent `{found}`", path.display())]
    OtherAgent {
        /// The file.
        path: PathBuf,
        /// The name in it.
        found: String,
    },
}

/// Finds the description of an agent: built in, else the first in `libraries`.
///
/// # Errors
///
/// There is none, or the one found is of no use.
pub fn resolve(agent: &str, libraries: &[PathBuf]) -> Result<Ddl, DdlError> {
    if let Some(ddl) = ddl::builtin(agent) {
        return Ok(ddl.clone());
    }
    let is_name = agent
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let found = files(libraries).find(|path| is_name && stem(path) == Some(agent));
    match found {
        Some(path) => read(&path, agent),
        None => Err(DdlError::Unknown {
            agent: agent.to_owned(),
            libraries: libraries.to_vec(),
        }),
    }
}

/// All agents that have a usable description, by name.
#[must_use]
pub fn all(libraries: &[PathBuf]) -> BTreeMap<String, Ddl> {
    let mut found = BTreeMap::new();
    for path in files(libraries) {
        let Some(agent) = stem(&path) else { continue };
        match read(&path, agent) {
            Ok(ddl) => drop(found.entry(agent.to_owned()).or_insert(ddl)),
            Err(error) => tracing::debug!(%error, "skipped"),
        }
    }
    for ddl in ddl::builtins() {
        found.insert(ddl.metadata.name.clone(), ddl.clone());
    }
    found
}

fn files(libraries: &[PathBuf]) -> impl Iterator<Item = PathBuf> {
    let dirs = libraries
        .iter()
        .flat_map(|library| PLACES.map(|place| library.join(place)));
    dirs.filter_map(|dir| fs::read_dir(dir).ok())
        .flat_map(|entries| {
            let mut paths: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
            paths.sort();
            paths
        })
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "json")
        })
}

fn stem(path: &Path) -> Option<&str> {
    path.file_stem()?.to_str()
}

fn read(path: &Path, agent: &str) -> Result<Ddl, DdlError> {
    let limits = Limits::default();
    let failed = |source| DdlError::Read {
        path: path.to_owned(),
        source,
    };
    let file = fs::File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(limits.max_bytes as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    let ddl = ddl::decode(&bytes, &limits).map_err(|source| DdlError::Decode {
        path: path.to_owned(),
        source,
    })?;
    if ddl.metadata.name != agent {
        let found = ddl.metadata.name;
        return Err(DdlError::OtherAgent {
            path: path.to_owned(),
            found,
        });
    }
    Ok(ddl)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DDL: &str = r#"{"metadata":{"name":"puppet","description":"d","author":"a","license":"l",
        "version":"1.0.0","url":"https://example.net","timeout":5},
        "actions":[{"action":"status","description":"d","input":{},"output":{}}]}"#;

    #[test]
    fn a_library_is_looked_through_after_what_is_built_in() {
        let dir = tempfile::tempdir().unwrap();
        let agents = dir.path().join("mcollective/agent");
        fs::create_dir_all(&agents).unwrap();
        fs::write(agents.join("puppet.json"), DDL).unwrap();
        fs::write(agents.join("other.json"), DDL).unwrap();
        fs::write(agents.join("broken.json"), "{").unwrap();
        let libraries = [dir.path().to_owned()];
        assert_eq!(resolve("puppet", &libraries).unwrap().metadata.timeout, 5);
        assert!(resolve("rpcutil", &libraries).is_ok());
        assert!(matches!(
            resolve("other", &libraries),
            Err(DdlError::OtherAgent { .. })
        ));
        assert!(matches!(
            resolve("broken", &libraries),
            Err(DdlError::Decode { .. })
        ));
        assert!(matches!(
            resolve("../puppet", &libraries),
            Err(DdlError::Unknown { .. })
        ));
        let all = all(&libraries);
        assert!(all.contains_key("puppet") && all.contains_key("rpcutil"));
        assert!(!all.contains_key("other"));
    }
}
