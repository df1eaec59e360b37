//! The crate table as a check: which of our crates may see which, what the pure ones may not see, and under which
//! licences the others come.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::run::{cargo, read, say};

/// Who may depend on whom, of ours. A component never depends on a component.
const TABLE: &[(&str, &[&str])] = &[
    ("overlay-protocol", &[]),
    ("overlay-tokens", &["overlay-protocol"]),
    ("overlay-policy", &["overlay-protocol", "overlay-tokens"]),
    ("overlay-schemas", &[]),
    ("overlay-runtime", &[]),
    ("overlay-client", &["overlay-protocol", "overlay-tokens"]),
    (
        "overlay-broker-auth",
        &["overlay-protocol", "overlay-tokens", "overlay-runtime"],
    ),
    (
        "overlay-provisioner",
        &["overlay-protocol", "overlay-tokens", "overlay-runtime"],
    ),
    (
        "overlay-aaa-signer",
        &[
            "overlay-protocol",
            "overlay-tokens",
            "overlay-policy",
            "overlay-runtime",
        ],
    ),
    (
        "overlay-stream-replicator",
        &["overlay-protocol", "overlay-tokens", "overlay-runtime"],
    ),
    (
        "overlay-server",
        &[
            "overlay-protocol",
            "overlay-tokens",
            "overlay-policy",
            "overlay-runtime",
        ],
    ),
    (
        "overlay-cli",
        &[
            "overlay-client",
            "overlay-protocol",
            "overlay-tokens",
            "overlay-policy",
            "overlay-runtime",
        ],
    ),
    ("overlay-testkit", &["overlay-protocol", "overlay-tokens"]),
    (
        "overlay-e2e",
        &[
            "overlay-protocol",
            "overlay-tokens",
            "overlay-policy",
            "overlay-runtime",
            "overlay-client",
            "overlay-broker-auth",
            "overlay-provisioner",
            "overlay-aaa-signer",
            "overlay-stream-replicator",
            "overlay-server",
            "overlay-testkit",
        ],
    ),
    (
        "overlay-fuzz",
        &[
            "overlay-protocol",
            "overlay-tokens",
            "overlay-policy",
            "overlay-runtime",
            "overlay-aaa-signer",
            "overlay-stream-replicator",
        ],
    ),
    ("xtask", &[]),
];

/// What only tests may see besides.
const DEV_TABLE: &[(&str, &[&str])] = &[
    ("overlay-protocol", &["overlay-schemas", "overlay-testkit"]),
    ("overlay-tokens", &["overlay-testkit"]),
    ("overlay-policy", &["overlay-testkit"]),
    ("overlay-runtime", &["overlay-testkit"]),
    ("overlay-client", &["overlay-testkit"]),
    ("overlay-broker-auth", &["overlay-testkit"]),
    ("overlay-provisioner", &["overlay-testkit"]),
    ("overlay-aaa-signer", &["overlay-testkit"]),
    ("overlay-stream-replicator", &["overlay-testkit"]),
    ("overlay-server", &["overlay-testkit"]),
    ("overlay-cli", &["overlay-testkit"]),
];

/// What a pure crate may not reach, at any distance.
const PURE: &[&str] = &[
    "overlay-protocol",
    "overlay-tokens",
    "overlay-policy",
    "overlay-schemas",
];
const IMPURE: &[&str] = &["tokio", "async-nats", "mio", "hyper"];

/// What a fleet node may not reach: it has no use for it.
const NODE: &str = "overlay-server";
const NOT_ON_NODES: &[&str] = &[
    "aws-lc-rs",
    "axum",
    "hyper",
    "rcgen",
    "clap_complete",
    "comfy-table",
    "indicatif",
];

/// What we ship for.
const HOST: &str = "x86_64-unknown-linux-gnu";

/// Every licence we take; an expression passes if one of its alternatives does.
const LICENCES: &[&str] = &[
    "MIT",
    "MIT-0",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Zlib",
    "0BSD",
    "BSL-1.0",
    "CC0-1.0",
    "Unicode-3.0",
    "Unlicense",
    "Apache-2.0 WITH LLVM-exception",
    "CDLA-Permissive-2.0",
];

/// Packages that name their licence in a file only, and what the file says.
const LICENCE_FILES: &[(&str, &str)] = &[("cloudevents-sdk", "Apache-2.0")];

/// Checks the table, the reach of pure crates and of the node, the lint table, and the licences.
pub(crate) fn run() -> Result<()> {
    let text = read(&mut cargo(&[
        "metadata",
        "--format-version",
        "1",
        "--locked",
        "--filter-platform",
        HOST,
    ]))?;
    let metadata: Value = serde_json::from_str(&text).context("parse cargo metadata")?;
    let packages = metadata["packages"]
        .as_array()
        .context("cargo metadata has packages")?;
    let mut faults = Vec::new();
    ours(packages, &mut faults);
    licences(packages, &mut faults);
    for package in PURE {
        forbid(
            package,
            IMPURE,
            "a pure crate has no tokio and no sockets",
            &mut faults,
        )?;
    }
    forbid(
        NODE,
        NOT_ON_NODES,
        "a fleet node has no use for it",
        &mut faults,
    )?;
    if !faults.is_empty() {
        for fault in &faults {
            say(&format!("deps: {fault}"));
        }
        bail!("{} faults in the crate table", faults.len());
    }
    say(&format!(
        "deps: {} packages, the table holds, licences are ours to use",
        packages.len()
    ));
    Ok(())
}

fn ours(packages: &[Value], faults: &mut Vec<String>) {
    let allowed = |table: &[(&str, &[&'static str])], name: &str| {
        table
            .iter()
            .find(|(package, _)| *package == name)
            .map(|(_, list)| list.to_vec())
    };
    for package in packages
        .iter()
        .filter(|package| package["source"].is_null())
        // What is mended of others is not ours (docs/adr/0016).
        .filter(|package| {
            let manifest = package["manifest_path"].as_str();
            manifest.is_some_and(|path| !path.contains("/vendor/"))
        })
    {
        let name = package["name"].as_str().unwrap_or_default();
        let Some(normal) = allowed(TABLE, name) else {
            faults.push(format!(
                "{name} is not in the crate table of xtask/src/deps.rs"
            ));
            continue;
        };
        let dev = allowed(DEV_TABLE, name).unwrap_or_default();
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let Some(other) = dependency["name"].as_str() else {
                continue;
            };
            if !other.starts_with("overlay-") {
                continue;
            }
            let only_tests = dependency["kind"] == "dev";
            if !(normal.contains(&other) || only_tests && (dev.contains(&other) || other == name)) {
                let kind = if only_tests { "in tests " } else { "" };
                faults.push(format!("{name} may not depend {kind}on {other}"));
            }
        }
    }
}

fn licences(packages: &[Value], faults: &mut Vec<String>) {
    for package in packages
        .iter()
        .filter(|package| !package["source"].is_null())
    {
        let name = package["name"].as_str().unwrap_or_default();
        let stated = package["license"].as_str();
        let from_file = LICENCE_FILES
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, licence)| *licence);
        let Some(expression) = stated.or(from_file) else {
            faults.push(format!("{name} names no licence"));
            continue;
        };
        if !passes(expression) {
            faults.push(format!(
                "{name} is licensed {expression}, which is not on our list"
            ));
        }
    }
}

/// Enough of SPDX for what is published: alternatives of conjunctions, with brackets around either.
fn passes(expression: &str) -> bool {
    let plain = expression.replace(['(', ')'], " ").replace('/', " OR ");
    let known = |licence: &str| LICENCES.contains(&licence.trim());
    if expression.contains(") AND") || expression.contains("AND (") {
        return plain
            .split(" AND ")
            .all(|part| part.split(" OR ").any(known));
    }
    plain
        .split(" OR ")
        .any(|part| part.split(" AND ").all(known))
}

/// Faults for every package of `forbidden` that `from`, built alone, links at any distance.
fn forbid(from: &str, forbidden: &[&str], why: &str, faults: &mut Vec<String>) -> Result<()> {
    let tree = [
        "tree",
        "--locked",
        "--package",
        from,
        "--edges",
        "normal,no-proc-macro",
    ];
    let shape = ["--prefix", "none", "--format", "{p}"];
    let listed = read(cargo(&tree).args(shape))?;
    let reached: BTreeSet<&str> = listed
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    for name in forbidden.iter().filter(|name| reached.contains(**name)) {
        faults.push(format!("{from} reaches {name}: {why}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::passes;

    #[test]
    fn takes_an_alternative_that_is_on_the_list() {
        assert!(passes("MIT OR Apache-2.0"));
        assert!(passes("GPL-3.0 OR MIT"));
        assert!(passes("MIT/Apache-2.0"));
        assert!(passes("(MIT OR GPL-2.0) AND Unicode-3.0"));
    }

    #[test]
    fn refuses_a_conjunction_with_an_unknown_part() {
        assert!(!passes("GPL-3.0"));
        assert!(!passes("MIT AND GPL-3.0"));
        assert!(!passes("(MIT OR Apache-2.0) AND GPL-3.0"));
    }
}
