use overlay_runtime::config;

use super::*;
use crate::Config;

fn faults(text: &str) -> Vec<Fault> {
    match Original::read(text) {
        Ok(original) => original.table().unwrap_err(),
        Err(faults) => faults,
    }
}

fn problems(text: &str) -> Vec<String> {
    let told = faults(text);
    told.iter()
        .map(|fault| fault.problem().to_owned())
        .collect()
}

fn loaded(text: &str) -> Config {
    let table = Original::read(text).unwrap().table().unwrap();
    let text = toml::to_string(&table).unwrap();
    match config::load_text::<Config>(&text) {
        Ok(loaded) => loaded.config,
        Err(faults) => panic!("{faults:?} in {text}"),
    }
}

const URLS: &str = "source_url: nats://a:4222\n   target_url: nats://b:4222\n";

fn stream(keys: &str) -> String {
    format!("name: GINKGO\nstreams:\n - stream: TEST\n   {URLS}{keys}")
}

#[test]
fn sr_case_01_a_name_is_required() {
    assert_eq!(problems("streams: []\n"), ["name is required"]);
}

#[test]
fn sr_case_02_one_name_twice_for_a_stream_is_refused() {
    let text = "name: GINKGO\nstreams:\n - {stream: TEST, source_url: a, target_url: b}\n - {stream: TEST, source_url: a, target_url: b}\n";
    assert_eq!(
        problems(text),
        ["duplicate stream configuration name GINKGO for stream TEST"]
    );
}

#[test]
fn sr_case_03_two_modes_of_inspection_are_refused() {
    assert_eq!(
        problems(&stream("   inspect_field: a\n   inspect_header: b\n")),
        ["only one inspection mode can be set per stream"]
    );
}

#[test]
fn sr_case_04_what_target_initiated_streams_may_not_have() {
    assert_eq!(
        problems(&stream("   target_initiated: true\n")),
        ["filter_subject is required with target_initiated"]
    );
    let all = "   target_initiated: true\n   max_age: 1h\n   inspect_field: a\n   no_target_create: true\n";
    assert_eq!(
        problems(&stream(all)),
        [
            "filter_subject is required with target_initiated",
            "max_age cannot be used with target_initiated",
            "message inspection and sampling cannot be used with target_initiated",
        ]
    );
    let late = "   target_initiated: true\n   filter_subject: TEST\n   no_target_create: true\n";
    assert_eq!(
        problems(&stream(late)),
        ["target initiated streams requires no_target_create to not be set"]
    );
}

#[test]
fn sr_case_05_a_span_that_is_none_is_told_with_its_key() {
    assert_eq!(
        problems(&stream("   start_delta: wrong\n   max_age: 300y\n")),
        [
            "invalid start_delta: invalid time unit g",
            "invalid max_age: \"300y\" is longer than 292 years",
        ]
    );
}

#[test]
fn sr_case_06_a_silence_is_told_of_after_half_of_the_interval() {
    let config = loaded(&stream("   inspect_field: a\n   inspect_duration: 1h\n"));
    let sampling = config.streams.first().unwrap().sampling.clone().unwrap();
    assert_eq!(sampling.warn, std::time::Duration::from_secs(1800));
}

#[test]
fn sr_case_07_each_side_has_its_own_certificates_or_the_streams() {
    let config = loaded(&stream("   tls: {ca: /s}\n   source_tls: {ca: /own}\n"));
    let stream = config.streams.first().unwrap();
    let ca = |side: &crate::Side| side.endpoint.tls.ca_file.clone();
    assert_eq!(ca(&stream.source), Some("/own".into()));
    assert_eq!(ca(&stream.target), Some("/s".into()));
}

#[test]
fn sr_case_08_a_state_file_is_named_by_stream_and_worker() {
    let config = loaded(
        "name: X\nstate_store: /state\nstreams:\n - {stream: GINKGO, name: OTHER, source_url: a, target_url: b}\n",
    );
    let stream = config.streams.first().unwrap();
    let dir = config.state_dir.unwrap();
    let files = crate::state::Files::new(&dir, &stream.source.stream, &stream.name);
    assert_eq!(files.snapshot(), Path::new("/state/GINKGO_OTHER.json"));
}

#[test]
fn all_faults_of_types_are_told_at_once_without_panic() {
    let text = "name: 1\nmonitor_port: \"80\"\nstreams: [null, {stream: T, ephemeral: \"true\", start_sequence: -1}, x]\nheartbeats: {headers: {a: 1}, subjects: [x]}\ntls: /ca\n";
    let told = faults(text);
    let keys: Vec<&str> = told.iter().map(Fault::key).collect();
    assert_eq!(
        keys,
        [
            "name",
            "streams[0]",
            "streams[1].ephemeral",
            "streams[1].start_sequence",
            "streams[2]",
            "tls",
            "monitor_port",
            "heartbeats.headers",
            "heartbeats.subjects[0]",
        ],
        "{told:?}"
    );
}

#[test]
fn options_of_addresses_become_keys() {
    let text = "name: X\nstreams:\n - stream: T\n   source_url: \"tls://a:1?credentials=/c&connect_timeout=2s, tls://b:2\"\n   target_url: \"nats://c?jwt=/j&nkey=/n&insecure=true&tls_handshake_first=true\"\n";
    let config = loaded(text);
    let stream = config.streams.first().unwrap();
    let source = &stream.source.endpoint;
    assert_eq!(source.servers.len(), 2);
    assert_eq!(source.attempt_limit, std::time::Duration::from_secs(2));
    assert!(matches!(
        &source.login,
        crate::Login::Credentials {
            seed_file: None,
            ..
        }
    ));
    let target = &stream.target.endpoint;
    assert!(target.tls.insecure && target.tls.first);
    assert!(matches!(
        &target.login,
        crate::Login::Credentials {
            seed_file: Some(_),
            ..
        }
    ));
    assert!(
        config
            .notices
            .iter()
            .any(|notice| notice.contains("any certificate is believed"))
    );
}

#[test]
fn choria_logins_are_verified_unless_the_old_way_is_asked_for_by_name() {
    let text = "name: X\nchoria: {seed_file: /s, jwt_file: /j, collective: c}\nstreams:\n - {stream: T, source_url: a, target_url: b}\n";
    let config = loaded(text);
    let tls = |config: &Config| config.streams.first().unwrap().source.endpoint.tls.clone();
    assert!(!tls(&config).insecure);
    assert!(
        config
            .notices
            .iter()
            .any(|notice| notice.contains("choria_unverified"))
    );
    let mut table = Original::read(text).unwrap().table().unwrap();
    let original = table
        .get_mut("original")
        .and_then(toml::Value::as_table_mut);
    original
        .unwrap()
        .insert("choria_unverified".to_owned(), true.into());
    let old = config::load_text::<Config>(&toml::to_string(&table).unwrap());
    assert!(tls(&old.unwrap().config).insecure);
    let without = "name: X\nchoria: {seed_file: /s, jwt_file: /j}\nstreams:\n - {stream: T, source_url: a, target_url: b}\n";
    assert!(problems(without).contains(&"collective is required".to_owned()));
}

#[test]
fn what_the_original_never_did_is_told() {
    let config = loaded(&stream(
        "   inspect_header: Sender\n   inspect_duration: 1h\n",
    ));
    assert!(config.streams.first().unwrap().sampling.is_some());
    assert!(
        config
            .notices
            .iter()
            .any(|notice| notice.contains("sampled by header"))
    );
    let config = loaded(&format!(
        "logfile: /x\nmonitor_port: 8080\nbogus: 1\n{}",
        stream("   nope: x\n")
    ));
    for word in [
        "logfile",
        "monitor_port",
        "profiling",
        "bogus",
        "streams[0].nope",
    ] {
        assert!(
            config.notices.iter().any(|notice| notice.starts_with(word)),
            "{word} in {:?}",
            config.notices
        );
    }
}

#[test]
fn a_place_to_begin_is_the_first_of_several() {
    let start = |keys: &str| loaded(&stream(keys)).streams.first().unwrap().start;
    let all = "   start_sequence: 5\n   start_delta: 1h\n   start_time: 2026-01-02T03:04:05Z\n";
    assert_eq!(
        start(&format!("{all}   start_at_end: true\n")),
        crate::Start::End
    );
    assert_eq!(start(all), crate::Start::Sequence(5));
    assert_eq!(
        start("   start_delta: 1h\n   start_time: 2026-01-02T03:04:05Z\n"),
        crate::Start::Ago(std::time::Duration::from_secs(3600))
    );
    assert!(matches!(
        start("   start_time: 2026-01-02T03:04:05Z\n"),
        crate::Start::Time(_)
    ));
    assert_eq!(start(""), crate::Start::All);
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in "[ -~\n]{0,300}") {
        if let Ok(original) = Original::read(&text) {
            drop(original.table());
        }
    }
}
