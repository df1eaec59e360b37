use std::path::Path;

use super::service::Original;
use super::translate;

const FILE: &str = r#"{
  "Port": "8443", "monitor_port": 8080, "site": "london", "loglevel": "fatal", "extra": 1,
  "choria_config": "/c.conf", "authenticator": "userlist", "auditors": ["logfile"],
  "authorizer": "opa", "signer": "basicjwt",
  "tls_certificate": "/tls/cert.pem", "tls_key": "/tls/key.pem",
  "logfile_auditor": {"logfile": "/log/audit.log"},
  "userlist_authenticator": {"validity": "1h30m", "users_file": "/users.json",
    "signing_key": "/chain.seed", "signing_token": "/chain.jwt"},
  "basicjwt_signer": {"signing_certificate": "/org.public", "signing_token": "/signer.jwt",
    "signing_seed": "/signer.seed", "max_validity": "24h", "choria_service": true}
}"#;

const HOST: &str = "plugin.security.provider = choria
# a comment
plugin.security.choria.token_file = /rpc.jwt
plugin.security.choria.seed_file = /rpc.seed
plugin.choria.middleware_hosts = broker-1:4222, nats://broker-2:4222
collectives = choria,acme
identity = aaa.example.net
";

fn read(path: &Path) -> Result<String, String> {
    match path.to_str() {
        Some("/c.conf") => Ok(HOST.to_owned()),
        Some("/org.public") => Ok(format!(
            "{}\n",
            overlay_tokens::Key::from_seed([1; 32]).public()
        )),
        Some("/rsa.pem") => Ok("-----BEGIN CERTIFICATE-----\n".to_owned()),
        _ => Err("no such file".to_owned()),
    }
}

fn translated(text: &str) -> Result<toml::Table, Vec<String>> {
    let original = Original::read(text).map_err(|error| vec![error.to_string()])?;
    translate::table(&original, &read)
        .map_err(|faults| faults.iter().map(|fault| fault.key().to_owned()).collect())
}

#[test]
fn the_original_s_keys_become_ours() {
    let table = translated(FILE).unwrap();
    let text = toml::to_string(&table).unwrap();
    for line in [
        "site = \"london\"",
        "listen = \"[::]:8443\"",
        "listen = \"127.0.0.1:8080\"",
        "certificate_file = \"/tls/cert.pem\"",
        "authorizer = \"rego\"",
        "max_validity = \"86400000ms\"",
        "validity = \"5400000ms\"",
        "token_file = \"/rpc.jwt\"",
        "token_file = \"/signer.jwt\"",
        "token_file = \"/chain.jwt\"",
        "servers = [\"tls://broker-1:4222\", \"nats://broker-2:4222\"]",
        "collectives = [\"choria\", \"acme\"]",
        "path = \"/log/audit.log.chain.jsonl\"",
        "level = \"error\"",
        "extra is not known",
    ] {
        assert!(text.contains(line), "{line} is not in {text}");
    }
}

#[test]
fn what_would_only_fail_later_is_a_fault_now() {
    for (from, to, key) in [
        ("\"basicjwt\"", "\"advanced\"", "signer"),
        ("\"opa\"", "\"\"", "authorizer"),
        ("\"opa\"", "\"rego\"", "authorizer"),
        ("[\"logfile\"]", "[\"other\"]", "auditors"),
        ("[\"logfile\"]", "[]", "auditors"),
        ("[\"logfile\"]", "[\"jetstream\"]", "jetstream_auditor"),
        ("/log/audit.log", "", "logfile_auditor.logfile"),
        ("\"userlist\"", "\"okta\"", "authenticator"),
        ("\"24h\"", "\"1d\"", "basicjwt_signer.max_validity"),
        ("\"1h30m\"", "\"\"", "userlist_authenticator.validity"),
        ("/signer.seed", "", "basicjwt_signer.signing_seed"),
        (
            "/org.public",
            "/rsa.pem",
            "basicjwt_signer.signing_certificate",
        ),
        (
            "/org.public",
            "/none",
            "basicjwt_signer.signing_certificate",
        ),
        ("/c.conf", "/none", "choria_config"),
    ] {
        assert!(FILE.contains(from), "{from}");
        let faults = translated(&FILE.replace(from, to)).unwrap_err();
        assert_eq!(faults, [key], "{from} to {to}");
    }
}

#[test]
fn what_go_refuses_is_refused() {
    for text in [
        "",
        "{",
        "[]",
        "1",
        r#"{"port": 1.5}"#,
        r#"{"port": "x"}"#,
        r#"{"port": 70000}"#,
        r#"{"auditors": "logfile"}"#,
        r#"{"basicjwt_signer": []}"#,
        r#"{"site": 1}"#,
    ] {
        assert!(Original::read(text).is_err(), "{text}");
    }
}
