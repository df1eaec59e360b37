//! Files of the original, and its order of versions.

use std::cmp::Ordering;

use overlay_provisioner::compat::Original;
use overlay_provisioner::{Config, compare_versions};
use overlay_runtime::config::{self, Environment};
use overlay_testkit::vectors::{self, Loader, Outcome};
use serde_json::{Value, json};

use super::machine::text;

pub(super) fn config(file: &Value, _loader: &Loader) -> Outcome {
    vectors::for_cases(file, |case| {
        let expect = &case["expect"];
        let refused = expect.get("error").is_some();
        let Some(yaml) = case["yaml"].as_str() else {
            let missing = std::path::PathBuf::from("/nonexistent/choria-provisioner.yaml");
            let loaded = config::load::<Config>("provisioner", &[missing], &Environment::new());
            return match (loaded, refused) {
                (Err(_), true) => Ok(()),
                (loaded, _) => Err(format!("a file that is not there: {loaded:?}")),
            };
        };
        match (Original::read(yaml), refused) {
            (Err(_), true) => Ok(()),
            (Err(error), false) => Err(format!("refused: {error}")),
            (Ok(_), true) => Err(format!("taken, the original says {}", expect["error"])),
            (Ok(read), false) => compare(&read, expect, yaml),
        }
    })
}

fn compare(read: &Original, expect: &Value, yaml: &str) -> Result<(), String> {
    let ours = json!({
        "workers": read.workers, "interval": read.interval, "logfile": read.logfile,
        "loglevel": read.loglevel, "helper": read.helper, "token": read.token,
        "lifecycle_component": read.lifecycle_component, "choria_insecure": read.choria_insecure,
        "site": read.site, "monitor_port": read.monitor_port, "broker_port": read.broker_port,
        "broker_provisioning_password": read.broker_provisioning_password,
        "cert_deny_list": read.cert_deny_list, "jwt_verify_cert": read.jwt_verify_cert,
        "jwt_signing_key": read.jwt_signing_key, "jwt_signing_token": read.jwt_signing_token,
        "server_jwt_validity": read.server_jwt_validity, "rego_policy": read.rego_policy,
        "leader_election": read.leader_election, "upgrades_repository": read.upgrades_repository,
        "upgrades_optional": read.upgrades_optional,
        "features": {"pki": read.pki, "jwt": read.jwt, "ed25519": read.ed25519, "upgrades": read.upgrades},
    });
    for (key, theirs) in expect["config"].as_object().into_iter().flatten() {
        // The original fills in the number of its own processors.
        if key == "workers" && !yaml.to_ascii_lowercase().contains("workers") {
            continue;
        }
        if ours[key] != *theirs {
            return Err(format!(
                "{key} is {}, the original's is {theirs}",
                ours[key]
            ));
        }
    }
    for (key, seconds) in [
        ("interval_seconds", read.interval_seconds),
        (
            "server_jwt_validity_seconds",
            read.server_jwt_validity_seconds,
        ),
    ] {
        if let Some(theirs) = expect[key].as_f64()
            && (theirs - seconds).abs() > 0.5
        {
            return Err(format!("{key} is {seconds}, the original's is {theirs}"));
        }
    }
    Ok(())
}

pub(super) fn versions(file: &Value, _loader: &Loader) -> Outcome {
    vectors::for_cases(file, |case| {
        let order = compare_versions(text(&case["installed"])?, text(&case["wanted"])?);
        for (name, is) in [
            ("equal", order == Ordering::Equal),
            ("less", order == Ordering::Less),
            ("greater", order == Ordering::Greater),
        ] {
            if let Some(expected) = case["expect"][name].as_bool()
                && expected != is
            {
                return Err(format!("{order:?}"));
            }
        }
        Ok(())
    })
}
