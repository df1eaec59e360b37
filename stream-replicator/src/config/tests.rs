use std::path::Path;

use overlay_runtime::config::{self, Loaded};

use super::*;

fn directory(name: &str) -> Vec<(String, String)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/config")
        .join(name);
    let mut files: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            (
                path.file_stem().unwrap().to_string_lossy().into_owned(),
                std::fs::read_to_string(path).unwrap(),
            )
        })
        .collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

fn load(text: &str) -> Result<Config, Vec<Fault>> {
    config::load_text::<Config>(text).map(|Loaded { config, .. }| config)
}

fn valid(name: &str) -> Config {
    let files = directory("valid");
    let (_, text) = files.iter().find(|(file, _)| file == name).unwrap();
    load(text).unwrap()
}

/// The reference with every key that is commented out written in; keys that exclude each other stay out.
fn written_out(reference: &str) -> String {
    const EXCLUDED: [&str; 10] = [
        "key",
        "credentials_file",
        "jwt_file",
        "nkey_file",
        "user",
        "password_file",
        "header",
        "token",
        "remove",
        "max_age",
    ];
    reference
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(key)
                if key
                    .split_once(" = ")
                    .is_some_and(|(key, _)| !key.contains(' ') && !EXCLUDED.contains(&key)) =>
            {
                format!("{key}\n")
            }
            _ => format!("{line}\n"),
        })
        .collect()
}

#[test]
fn the_reference_is_a_configuration_and_shows_the_defaults() {
    let reference = Config::reference();
    let config = load(&reference).unwrap();
    let out = match load(&written_out(&reference)) {
        Ok(config) => config,
        Err(faults) => panic!("{faults:?}"),
    };
    let bare = valid("minimal");
    let default = bare.streams.first().unwrap();
    for config in [&config, &out] {
        let stream = config.streams.first().unwrap();
        assert_eq!(stream.window, default.window);
        assert_eq!(stream.poison, default.poison);
        assert_eq!(stream.start, default.start);
        assert_eq!(stream.name, "lon");
        assert_eq!(
            (
                stream.writers,
                &stream.order,
                stream.on_gap,
                stream.on_recreated
            ),
            (
                default.writers,
                &default.order,
                default.on_gap,
                default.on_recreated
            )
        );
        assert_eq!(stream.max_hops, default.max_hops);
        assert_eq!(
            (
                stream.create_target,
                stream.ephemeral,
                stream.target_initiated
            ),
            (true, false, false)
        );
        assert_eq!(
            stream.source.endpoint.attempt_limit,
            default.source.endpoint.attempt_limit
        );
        let sampling = config.streams.get(1).and_then(|s| s.sampling.as_ref());
        let sampling = sampling.unwrap();
        assert_eq!(sampling.warn, sampling.interval / 2);
        assert!(!sampling.force_is_strict && !sampling.lifecycle);
        let heartbeats = config.heartbeats.as_ref().unwrap();
        assert!(
            heartbeats
                .beats
                .iter()
                .all(|b| b.interval == Duration::from_secs(10))
        );
        assert!(!heartbeats.election);
        assert_eq!(config.original_metrics, bare.original_metrics);
        assert_eq!(config.runtime.admin, bare.runtime.admin);
    }
    assert_eq!(
        out.streams.first().unwrap().candidate.as_deref(),
        Some("replicator-1.lon")
    );
}

#[test]
fn every_fault_is_told_at_once_with_its_place() {
    for (name, text) in directory("invalid") {
        let faults = load(&text).unwrap_err();
        let told: Vec<String> = faults.iter().map(ToString::to_string).collect();
        let expected: Vec<&str> = text
            .lines()
            .map_while(|line| line.strip_prefix("# "))
            .collect();
        assert!(!expected.is_empty(), "{name}");
        for line in &expected {
            let (key, problem) = line.split_once(": ").unwrap();
            assert!(
                faults
                    .iter()
                    .any(|fault| fault.key() == key && fault.to_string().contains(problem)),
                "{name}: {line} in {told:#?}"
            );
        }
        let keys: std::collections::BTreeSet<_> = expected
            .iter()
            .filter_map(|line| line.split_once(": "))
            .map(|(key, _)| key)
            .collect();
        for fault in &faults {
            assert!(
                keys.contains(fault.key()),
                "{name}: {fault} was not expected"
            );
        }
    }
}

#[test]
fn sr_case_01_a_site_without_name_is_refused() {
    let faults = load("[heartbeats]\n").unwrap_err();
    assert!(
        faults
            .iter()
            .any(|f| f.key() == "name" && f.problem() == "name is required")
    );
}

#[test]
fn certificates_and_login_are_inherited_as_a_whole_each() {
    let config = valid("inherited");
    let [a, b, c] = config.streams.as_slice() else {
        panic!("three streams");
    };
    let login = |stream: &StreamConfig| {
        (
            stream.source.endpoint.login.clone(),
            stream.target.endpoint.login.clone(),
        )
    };
    assert!(matches!(
        login(a),
        (Login::Choria { .. }, Login::Password { .. })
    ));
    assert!(matches!(
        login(b),
        (Login::Choria { .. }, Login::Nkey { .. })
    ));
    assert!(matches!(
        login(c),
        (
            Login::Choria { .. },
            Login::Credentials {
                seed_file: Some(_),
                ..
            }
        )
    ));
    assert!(a.source.endpoint.tls.own.is_some());
    // A table that says anything of certificates says all of them.
    let tls = &b.source.endpoint.tls;
    assert!(tls.insecure && tls.own.is_none() && tls.ca_file.is_none());
    assert_eq!(c.source.endpoint.tls, a.source.endpoint.tls);
    assert_eq!(
        c.source
            .endpoint
            .servers
            .first()
            .map(ToString::to_string)
            .as_deref(),
        Some("nats://other:4222")
    );
    assert!(
        config
            .streams
            .iter()
            .all(|s| { s.target.endpoint.api_prefix.as_deref() == Some("$JS.region.API") })
    );
    let candidates: Vec<_> = config
        .streams
        .iter()
        .map(|s| s.candidate.as_deref())
        .collect();
    assert_eq!(candidates, [Some("one"), None, Some("two")]);
}

#[test]
fn a_start_is_one_of_five() {
    let start = |text: &str| {
        let text = format!(
            "name='x'\n[source]\nservers=['a']\n[target]\nservers=['b']\n[[streams]]\nstream='T'\nstart='{text}'\n"
        );
        load(&text).map(|config| config.streams.first().unwrap().start)
    };
    assert_eq!(start("all"), Ok(Start::All));
    assert_eq!(start("end"), Ok(Start::End));
    assert_eq!(start("sequence:42"), Ok(Start::Sequence(42)));
    assert_eq!(start("ago:2h"), Ok(Start::Ago(Duration::from_secs(7200))));
    assert_eq!(
        start("time:1970-01-01T01:00:00+01:00"),
        Ok(Start::Time(SystemTime::UNIX_EPOCH))
    );
    for text in ["", "sequence:0", "ago:-1h", "time:now", "END"] {
        assert!(start(text).is_err(), "{text}");
    }
}

#[test]
fn files_that_are_not_there_are_told_with_their_names() {
    let config = valid("inherited");
    let told: Vec<String> = config
        .inspect(&Secrets::default())
        .iter()
        .map(ToString::to_string)
        .collect();
    for file in [
        "/login/cell.jwt",
        "/tls/ca.pem",
        "/tls/own.key",
        "/login/password",
        "/login/b.nk",
        "/login/c.jwt",
    ] {
        assert!(
            told.iter().any(|line| line.contains(file)),
            "{file} in {told:#?}"
        );
    }
}

#[test]
fn a_state_directory_below_a_file_is_refused() {
    let text = "name='x'\nstate_dir='/dev/null/x'\n[source]\nservers=['a']\n[target]\nservers=['b']\n[[streams]]\nstream='T'\n";
    let faults = load(text).unwrap().inspect(&Secrets::default());
    assert!(faults.iter().any(|fault| {
        fault.key() == "state_dir"
            && fault
                .problem()
                .starts_with("could not create state directory: ")
    }));
}

#[test]
fn the_order_of_keys_says_what_the_key_is() {
    let orders: Vec<String> = valid("keyed")
        .streams
        .iter()
        .map(|stream| stream.order.to_string())
        .collect();
    assert_eq!(
        orders,
        [
            "key: subject",
            "key: subject token 3",
            "key: header Sender",
            "key: field data.sender"
        ]
    );
    assert_eq!(valid("minimal").streams[0].order.to_string(), "strict");
}
