//! Whether the files that the configuration names are there and of use, for `--check`.

use std::path::Path;

use overlay_runtime::{Fault, Secrets};
use overlay_tokens::file;

use super::{Config, Membership, Tls};

pub(super) fn files(config: &Config, secrets: &Secrets) -> Vec<Fault> {
    let mut faults = Vec::new();
    if let Some(membership) = config.membership() {
        credentials(membership, secrets, &mut faults);
    }
    if let Tls::Verified(ca) = &config.broker.tls {
        readable("broker.ca_file", ca, &mut faults);
    }
    if let Some((certificate, key)) = &config.broker.certificate {
        readable("broker.certificate_file", certificate, &mut faults);
        readable("broker.key_file", key, &mut faults);
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

fn credentials(config: &Membership, secrets: &Secrets, faults: &mut Vec<Fault>) {
    if let Err(error) = file::read_token(&config.token_file) {
        faults.push(Fault::new("token_file", overlay_runtime::err_chain(&error)));
    }
    if let Err(error) = file::read_seed(&config.seed_file) {
        faults.push(Fault::new("seed_file", overlay_runtime::err_chain(&error)));
    } else if !secrets.guards(&config.seed_file)
        && let Ok(Some(exposed)) = file::exposure(&config.seed_file)
    {
        let mode = exposed.mode;
        let fault = Fault::new(
            "seed_file",
            format!("has mode {mode:04o}, others may read or change it"),
        );
        faults.push(fault.remedy("chmod 0600"));
    }
}

fn readable(key: &str, path: &Path, faults: &mut Vec<Fault>) {
    if let Err(error) = std::fs::File::open(path) {
        faults.push(Fault::new(key, format!("{}: {error}", path.display())));
    }
}
