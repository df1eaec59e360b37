//! The files that the configuration names.

use std::path::Path;

use overlay_runtime::{Fault, Secrets, err_chain};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::{Config, Endpoint, Tls};
use crate::{login, tls};

/// Looks at every file once, whoever names it first.
pub(super) fn inspect(config: &Config, secrets: &Secrets) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut seen: Vec<&Endpoint> = Vec::new();
    let streams = config
        .streams
        .iter()
        .enumerate()
        .flat_map(|(number, stream)| {
            [
                (format!("streams[{number}].source"), &stream.source.endpoint),
                (format!("streams[{number}].target"), &stream.target.endpoint),
            ]
        });
    let heartbeats = config.heartbeats.iter();
    let control = config.control.iter();
    let others = heartbeats
        .map(|heartbeats| ("heartbeats.endpoint".to_owned(), &heartbeats.endpoint))
        .chain(control.map(|control| ("broker".to_owned(), &control.endpoint)));
    for (at, endpoint) in streams.chain(others) {
        let known = |other: &&Endpoint| other.tls == endpoint.tls && other.login == endpoint.login;
        if seen.iter().any(known) {
            continue;
        }
        seen.push(endpoint);
        if let Err(error) = login::inspect(&endpoint.login, secrets) {
            faults.push(Fault::new(at.as_str(), err_chain(&error)));
        }
        certificates(&at, &endpoint.tls, secrets, &mut faults);
    }
    if let Some((token, seed)) = config
        .control
        .as_ref()
        .and_then(|control| control.token.as_ref())
        && let Err(error) = login::holder(token, seed, secrets)
    {
        faults.push(Fault::new("control.token_file", err_chain(&error)));
    }
    if let Some(dir) = &config.state_dir {
        directory(dir, &mut faults);
    }
    faults
}

fn certificates(at: &str, tls: &Tls, secrets: &Secrets, faults: &mut Vec<Fault>) {
    if let Some(path) = &tls.ca_file {
        let place = secrets.locate(path);
        let key = format!("{at}.ca_file");
        match CertificateDer::pem_file_iter(&place).and_then(Iterator::collect::<Result<Vec<_>, _>>)
        {
            Ok(found) if !found.is_empty() => {}
            Ok(_) => faults.push(Fault::new(key, "holds no PEM certificate").value(path.display())),
            Err(error) => {
                faults.push(Fault::new(key, err_chain(&error)).value(path.display()));
            }
        }
    }
    if let Some((certificate, key)) = &tls.own {
        let own = (secrets.locate(certificate), secrets.locate(key));
        if let Err(error) = secrets.read(key) {
            faults.push(Fault::new(format!("{at}.key_file"), err_chain(&error)));
        } else if let Err(error) = tls::insecure(Some(&own)) {
            faults.push(Fault::new(format!("{at}.cert_file"), err_chain(&error)));
        }
    }
}

/// The directory is made at the start; here it is only known whether that can go well.
fn directory(dir: &Path, faults: &mut Vec<Fault>) {
    let there = dir.ancestors().find(|place| place.exists());
    if let Some(place) = there
        && !place.is_dir()
    {
        let problem = format!(
            "could not create state directory: {} is no directory",
            place.display()
        );
        faults.push(Fault::new("state_dir", problem).value(dir.display()));
    }
}
