//! `overlays/`: its files are valid as they stand, alone and with a site's differences.
#![allow(
    clippy::unwrap_used,
    reason = "a helper that fails is a test that fails"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use overlay_testkit::{Process, nats_server};

use crate::cell_support::{Place, has, succeeds, text};

fn overlays() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../overlays")
}

#[test]
fn configuration_is_valid_at_every_site() {
    let programs = [
        ("overlay-broker-auth", "broker-auth"),
        ("overlay-server", "server"),
        ("overlay-provisioner", "provisioner"),
        ("overlay-aaa-signer", "aaa-signer"),
        ("overlay-stream-replicator", "stream-replicator"),
    ];
    if !has(
        "configuration_is_valid_at_every_site",
        &programs.map(|(program, _)| program),
    ) {
        return;
    }
    for (program, file) in programs {
        let path = Process::locate(program).unwrap();
        let base = overlays().join(format!("base/config/{file}.toml"));
        let sites = fs::read_dir(overlays())
            .unwrap()
            .map(|entry| entry.unwrap().path().join(format!("config/{file}.toml")))
            .filter(|site| site.is_file() && *site != base);
        for site in sites.map(Some).chain([None]) {
            let mut command = Command::new(&path);
            command.arg("--config").arg(&base).arg("--print-config");
            if let Some(site) = &site {
                command.arg("--config").arg(site);
            }
            let output = command.output().unwrap();
            assert!(
                output.status.success(),
                "{site:?}: {}",
                text(&output.stderr)
            );
        }
    }
}

#[test]
fn a_broker_takes_the_example_s_cluster() {
    if !has("a_broker_takes_the_example_s_cluster", &[]) {
        return;
    }
    let place = Place::new();
    succeeds(&place.init(&[]));
    let cluster = fs::read_to_string(overlays().join("example/broker/cluster.conf")).unwrap();
    let here = place.root.display().to_string();
    place.write(
        "broker/cluster.conf",
        &cluster.replace("/etc/overlay/cell", &here),
    );
    let conf = place.read("broker/nats-server.conf");
    place.write(
        "broker/nats-server.conf",
        &format!("{conf}include \"cluster.conf\"\n"),
    );
    let server = nats_server::locate().unwrap();
    let conf = place.path("broker/nats-server.conf");
    let output = Command::new(server.path)
        .arg("-t")
        .arg("-c")
        .arg(conf)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
}

/// What `systemd` does with a unit before it starts it: `%i` is the instance, `%d` the directory of the credentials.
fn start_as_systemd_would(place: &Place, unit: &str, instance: &str) -> std::process::Output {
    let text = place.read(&format!("systemd/{unit}"));
    let credentials = tempfile::tempdir().unwrap();
    let here = credentials.path().display().to_string();
    let filled = text.replace("%i", instance).replace("%d", &here);
    let values = |key: &str| {
        let lines = filled.lines().map(str::to_owned);
        let found = lines.filter_map(|line| Some(line.strip_prefix(key)?.to_owned()));
        found.collect::<Vec<_>>()
    };
    let mut sources = Vec::new();
    for credential in values("LoadCredential=") {
        let (name, source) = credential.split_once(':').unwrap();
        fs::copy(source, credentials.path().join(name)).unwrap();
        sources.push(PathBuf::from(source));
    }
    let hidden = |source: &Path| PathBuf::from(format!("{}.hidden", source.display()));
    // They are root's: the service's user cannot read them.
    for source in &sources {
        fs::rename(source, hidden(source)).unwrap();
    }
    let check = values("ExecStartPre=/usr/bin/").remove(0);
    let mut words = check.split(' ');
    let mut command = Command::new(Process::locate(words.next().unwrap()).unwrap());
    command.env("CREDENTIALS_DIRECTORY", &here).args(words);
    for variable in values("Environment=") {
        let (name, value) = variable.split_once('=').unwrap();
        command.env(name, value);
    }
    let output = command.output().unwrap();
    for source in &sources {
        fs::rename(hidden(source), source).unwrap();
    }
    output
}

#[test]
fn services_read_nothing_of_roots_but_their_credentials() {
    let programs = [
        "overlay-aaa-signer",
        "overlay-broker-auth",
        "overlay-provisioner",
        "overlay-server",
        "overlay-stream-replicator",
    ];
    if !has(
        "services_read_nothing_of_roots_but_their_credentials",
        &programs,
    ) {
        return;
    }
    let place = Place::new();
    let region = Place::new();
    succeeds(&region.init(&["--site", "test"]));
    let pass = region.path("sites/test").display().to_string();
    let flags = ["--node", "n1", "--aaa-signer", "2", "--region", &pass];
    succeeds(&place.init(&[&flags[..], &["--replicators", "2"]].concat()));
    for (unit, instance) in [
        ("overlay-broker-auth.service", ""),
        ("overlay-provisioner.service", ""),
        ("overlay-aaa-signer@.service", "1"),
        ("overlay-aaa-signer@.service", "2"),
        ("overlay-stream-replicator@.service", "1"),
        ("overlay-stream-replicator@.service", "2"),
        ("overlay-server@.service", "n1"),
    ] {
        let output = start_as_systemd_would(&place, unit, instance);
        assert!(output.status.success(), "{unit}: {}", text(&output.stderr));
    }
}

#[test]
fn systemd_understands_the_units() {
    let test = "systemd_understands_the_units";
    if Command::new("systemd-analyze")
        .arg("--version")
        .output()
        .is_err()
    {
        return overlay_testkit::skip(test, "no systemd-analyze", "apt-get install systemd");
    }
    let place = Place::new();
    succeeds(&place.init(&["--nodes", "1"]));
    let dir = place.path("systemd");
    let mut units = Vec::new();
    for entry in fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "service")
        {
            let unit = fs::read_to_string(&path).unwrap();
            assert!(
                !unit.contains("/etc/overlay/cell"),
                "{} has a path of the base",
                path.display()
            );
            // The programs need not be installed here.
            let unit = unit
                .replace("=/usr/bin/nats-server", "=/bin/true")
                .replace("=/usr/bin/overlay-", "=/bin/true ");
            fs::write(&path, unit).unwrap();
            units.push(path);
        }
    }
    assert_eq!(units.len(), 7);
    let output = Command::new("systemd-analyze")
        .arg("verify")
        .args(&units)
        .output()
        .unwrap();
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{}",
        text(&output.stderr)
    );
}
