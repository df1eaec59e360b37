//! Where configuration files are.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::{ConfigError, Environment, MAX_FILE_BYTES};

/// The file to read: the given one, else the first that exists; none if the environment suffices.
pub(super) fn find(
    explicit: Option<&Path>,
    environment: &Environment,
) -> Result<Option<PathBuf>, ConfigError> {
    if let Some(path) = explicit {
        return Ok(Some(environment.current_dir.join(environment.expand(path))));
    }
    let searched = places(environment);
    if let Some(found) = searched.iter().find(|path| path.is_file()) {
        return Ok(Some(found.clone()));
    }
    if environment.variable("OVERLAY_BROKER__SERVERS").is_some() {
        return Ok(None);
    }
    Err(ConfigError::NotFound { searched })
}

/// Our places first, then those of Choria's clients, in their order.
fn places(environment: &Environment) -> Vec<PathBuf> {
    let home = environment.home();
    let etc = |path: &str| environment.root.join(path);
    let mut places = Vec::new();
    places.extend(user_dir(environment).map(|dir| dir.join("overlay/client.toml")));
    places.push(etc("etc/overlay/client.toml"));
    places.extend(home.map(|home| home.join(".choriarc")));
    places.extend(home.map(|home| home.join(".mcollective")));
    places.push(etc("etc/choria/client.conf"));
    places.push(etc("usr/local/etc/choria/client.conf"));
    places.push(etc("etc/puppetlabs/mcollective/client.cfg"));
    places
}

/// Where the user's programs keep their configuration.
pub(super) fn user_dir(environment: &Environment) -> Option<PathBuf> {
    match environment.variable("XDG_CONFIG_HOME") {
        Some(dir) => Some(PathBuf::from(dir)),
        None => environment.home().map(|home| home.join(".config")),
    }
}

pub(super) fn is_ours(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension == "toml")
}

/// Reads a text file of bounded size.
pub(super) fn read(path: &Path) -> Result<String, ConfigError> {
    let failed = |source| ConfigError::Read {
        path: path.to_owned(),
        source,
    };
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut text = String::new();
    file.take(MAX_FILE_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(failed)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(failed(std::io::Error::other(
            "the file is larger than 1 MiB",
        )));
    }
    Ok(text)
}
