use std::fs;
use std::time::Duration;

use serde::Deserialize;

use super::*;
use crate::nats;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
struct Raw {
    broker: RawBroker,
    admin: RawAdmin,
    log: RawLog,
    process: RawProcess,
    queue: RawQueue,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawQueue {
    length: Option<usize>,
    timeout: Option<Period>,
    must: Option<String>,
}

#[derive(Debug)]
struct Config {
    runtime: Settings,
    length: usize,
    timeout: Duration,
}

impl FileConfig for Config {
    type Raw = Raw;

    fn check(raw: Raw) -> Result<Self, Vec<Fault>> {
        let mut faults = Vec::new();
        let broker = raw.broker.check("broker", "example", &mut faults);
        let default = "127.0.0.1:8200".parse().ok();
        let admin = raw.admin.check("admin", default, &mut faults);
        let log = raw.log.check("log", &mut faults);
        let (grace, threads) = raw.process.check(Threads::Current);
        if raw.queue.must.is_none() {
            faults.push(Fault::new("queue.must", "is missing").remedy("set it"));
        }
        let length = raw.queue.length.unwrap_or(10);
        if length == 0 {
            faults.push(Fault::new("queue.length", "must not be 0").remedy("write 1 or more"));
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        Ok(Self {
            runtime: Settings {
                broker,
                admin,
                log,
                grace,
                threads,
            },
            length,
            timeout: raw
                .queue
                .timeout
                .map_or(Duration::from_secs(1), Duration::from),
        })
    }

    fn reference() -> String {
        format!(
            "{}\n{}\n{}\n{}\n[queue]\nmust = \"be\"\n",
            RawBroker::REFERENCE,
            RawAdmin::reference(([127, 0, 0, 1], 8200).into()),
            RawLog::REFERENCE,
            RawProcess::REFERENCE
        )
    }

    fn runtime(&self) -> Settings {
        self.runtime.clone()
    }

    fn read_foreign(path: &Path) -> Option<Result<toml::Table, Vec<Fault>>> {
        if path.extension()? != "cfg" {
            return None;
        }
        Some(Ok("queue.must = 'from elsewhere'".parse().unwrap()))
    }
}

const BASE: &str = r#"
[broker]
servers = ["nats://a.example:4222", "nats://u:s3cret@b.example:4222"]
[queue]
must = "be"
length = 3
"#;

fn faults(text: &str) -> Vec<String> {
    let faults = load_text::<Config>(text).unwrap_err();
    faults.iter().map(ToString::to_string).collect()
}

#[test]
fn what_is_given_is_read_and_the_rest_has_defaults() {
    let config = load_text::<Config>(BASE).unwrap().config;
    let broker = config.runtime.broker.unwrap();
    assert_eq!(broker.servers.len(), 2);
    assert_eq!(broker.name, "example");
    assert_eq!(broker.auth, nats::Auth::None);
    assert_eq!(config.length, 3);
    assert_eq!(config.timeout, Duration::from_secs(1));
    assert_eq!(config.runtime.grace, Duration::from_secs(20));
    assert_eq!(config.runtime.threads, Threads::Current);
    assert_eq!(config.runtime.admin, "127.0.0.1:8200".parse().ok());
}

#[test]
fn the_reference_is_a_valid_configuration() {
    load_text::<Config>(&Config::reference()).unwrap();
}

#[test]
fn of_two_files_tables_merge_and_values_replace() {
    let dir = tempfile::tempdir().unwrap();
    let (base, site) = (dir.path().join("base.toml"), dir.path().join("site.toml"));
    fs::write(&base, BASE).unwrap();
    fs::write(
        &site,
        "[broker]\nservers = ['c.example:4222']\n[queue]\ntimeout = '5s'",
    )
    .unwrap();
    let loaded = load::<Config>("example", &[base, site], &Environment::new()).unwrap();
    let config = loaded.config;
    assert_eq!(config.length, 3);
    assert_eq!(config.timeout, Duration::from_secs(5));
    let servers = config.runtime.broker.unwrap().servers;
    assert_eq!(servers, ["c.example:4222".parse().unwrap()]);
}

#[test]
fn variables_of_the_component_override_keys() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("base.toml");
    fs::write(&base, BASE).unwrap();
    let environment: Environment = [
        ("OVERLAY_SOME_EXAMPLE__QUEUE__LENGTH", "7"),
        (
            "OVERLAY_SOME_EXAMPLE__BROKER__SERVERS",
            r#"["c.example:4222"]"#,
        ),
        ("OVERLAY_SOME_EXAMPLE__BROKER__CA_FILE", "/etc/ca.pem"),
        ("OVERLAY_OTHER__QUEUE__LENGTH", "8"),
        ("PATH", "/bin"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    let loaded = load::<Config>("some-example", &[base], &environment).unwrap();
    assert_eq!(loaded.config.length, 7);
    let broker = loaded.config.runtime.broker.unwrap();
    assert_eq!(broker.servers.len(), 1);
    assert_eq!(broker.ca_file, Some("/etc/ca.pem".into()));
}

#[test]
fn a_fault_of_a_variable_names_the_variable() {
    let environment: Environment =
        [("OVERLAY_EXAMPLE__QUEUE__LENGHT".to_owned(), "7".to_owned())].into();
    let faults = load::<Config>("example", &[], &environment).unwrap_err();
    let text = faults[0].to_string();
    assert_eq!(
        text,
        "environment variable OVERLAY_EXAMPLE__QUEUE__LENGHT: queue.lenght = 7: unknown key; did you mean length?"
    );
}

#[test]
fn all_faults_are_told_at_once_with_key_value_and_remedy() {
    let told = faults(
        r#"
surplus = 1
[broker]
servers = ["http://a.example"]
seed_file = "/a"
user = "b"
[admin]
listen = "localhost"
[log]
level = "verbose"
format = "xml"
[queue]
length = "many"
timeout = "5 years"
lenght = 1
"#,
    );
    let expected = [
        "text: surplus = 1: unknown key; ",
        "text: queue.length = \"many\": ",
        "text: queue.timeout = \"5 years\": \"5 years\" is not a span of time",
        "text: queue.lenght = 1: unknown key; did you mean length?",
        "text: broker.servers = \"http://a.example\": is not the address of a broker",
        "text: broker.seed_file = \"/a\": is given together with a user; keep one of the two",
        "text: admin.listen = \"localhost\": is not an address and port; write \"127.0.0.1:PORT\"",
        "text: log.level = \"verbose\": is not a log level: unknown level \"verbose\"; write error,",
        "text: log.format = \"xml\": is not a known format; write \"text\" or \"json\"",
        "text: queue.must: is missing; set it",
    ];
    for part in expected {
        assert!(
            told.iter().any(|fault| fault.starts_with(part)),
            "{part:?} in {told:#?}"
        );
    }
    assert_eq!(told.len(), expected.len(), "{told:#?}");
}

#[test]
fn a_file_that_is_no_toml_is_told_with_its_line() {
    assert!(faults("[queue]\nlength = = 3")[0].starts_with("text: line 2: "));
}

#[test]
fn files_that_are_not_there_are_told_all() {
    let files = ["/nonexistent/a.toml".into(), "/nonexistent/b.toml".into()];
    let faults = load::<Config>("example", &files, &Environment::new()).unwrap_err();
    assert_eq!(faults.len(), 2);
    let text = faults[1].to_string();
    assert!(
        text.starts_with("/nonexistent/b.toml: cannot be read"),
        "{text}"
    );
}

#[test]
fn a_foreign_file_merges_like_any_other() {
    let dir = tempfile::tempdir().unwrap();
    let site = dir.path().join("site.toml");
    fs::write(&site, "[broker]\nservers = ['c.example:4222']").unwrap();
    let files = [dir.path().join("server.cfg"), site];
    assert!(load::<Config>("example", &files, &Environment::new()).is_ok());
}

#[test]
fn the_printed_configuration_hides_passwords() {
    let text = load_text::<Config>(BASE).unwrap().masked();
    assert!(text.contains("nats://u:***@b.example:4222"), "{text}");
    assert!(!text.contains("s3cret"), "{text}");
    assert!(text.contains("[queue]"), "{text}");
}
