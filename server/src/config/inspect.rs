//! Whether the files that the configuration names are there and of use: for `--check`, at the start, and of files that
//! are not in their places yet.

use std::path::{Path, PathBuf};

use overlay_runtime::{Fault, Secrets};
use overlay_tokens::file;

use super::{Config, Membership, Tls};

/// Where a file is looked for.
pub(crate) type Place<'a> = &'a dyn Fn(&Path) -> PathBuf;

/// `place` says where each file is now.
pub(super) fn files(config: &Config, secrets: &Secrets, place: Place<'_>) -> Vec<Fault> {
    let mut faults = Vec::new();
    if let Some(membership) = config.membership() {
        credentials(membership, secrets, place, &mut faults);
    }
    if let Tls::Verified(ca) = &config.broker.tls {
        readable("broker.ca_file", ca, place, &mut faults);
    }
    if let Some((certificate, key)) = &config.broker.certificate {
        readable("broker.certificate_file", certificate, place, &mut faults);
        readable("broker.key_file", key, place, &mut faults);
    }
    for (key, path) in [
        ("audit.file", config.audit_file.as_deref()),
        (
            "status.file",
            config.status.as_ref().map(|(file, _)| file.as_path()),
        ),
    ] {
        if let Some(dir) = path.and_then(Path::parent)
            && !dir.as_os_str().is_empty()
            && !dir.is_dir()
        {
            faults.push(Fault::new(
                key,
                format!("{} is no directory", dir.display()),
            ));
        }
    }
    faults
}

fn credentials(config: &Membership, secrets: &Secrets, place: Place<'_>, faults: &mut Vec<Fault>) {
    let seed_file = place(&config.seed_file);
    if let Err(error) = file::read_token(&place(&config.token_file)) {
        faults.push(Fault::new("token_file", overlay_runtime::err_chain(&error)));
    }
    if let Err(error) = file::read_seed(&seed_file) {
        faults.push(Fault::new("seed_file", overlay_runtime::err_chain(&error)));
    } else if !secrets.guards(&config.seed_file)
        && let Ok(Some(exposed)) = file::exposure(&seed_file)
    {
        let mode = exposed.mode;
        let fault = Fault::new(
            "seed_file",
            format!("has mode {mode:04o}, others may read or change it"),
        );
        faults.push(fault.remedy("chmod 0600"));
    }
}

fn readable(key: &str, path: &Path, place: Place<'_>, faults: &mut Vec<Fault>) {
    let found = std::fs::File::open(place(path)).and_then(|file| file.metadata());
    let problem = match found {
        Ok(found) if found.is_dir() => "is a directory".to_owned(),
        Ok(_) => return,
        Err(error) => error.to_string(),
    };
    faults.push(Fault::new(key, format!("{}: {problem}", path.display())));
}
