//! What a cell has for people who log in: identities of the signers, users, configuration of clients.
#![allow(
    clippy::unwrap_used,
    reason = "a helper that fails is a test that fails"
)]

use serde_json::Value;

use crate::cell_support::{Place, succeeds};

fn permissions(token: &Value) -> Vec<String> {
    let granted = token["permissions"].as_object();
    let granted = granted.into_iter().flatten();
    granted
        .filter(|(_, is)| **is == true)
        .map(|(name, _)| name.clone())
        .collect()
}

#[test]
fn each_identity_of_a_signer_may_do_one_thing() {
    let place = Place::new();
    succeeds(&place.init(&["--aaa-signer", "2"]));
    let delegator = place.token("aaa-signer/signer.jwt");
    assert_eq!(delegator["callerid"], "signer=test");
    assert_eq!(permissions(&delegator), ["authentication_delegator"]);
    let issuer = place.token("aaa-signer/login.jwt");
    assert!(
        issuer["iss"].as_str().unwrap().starts_with("I-"),
        "{issuer}"
    );
    assert_eq!(permissions(&issuer), Vec::<String>::new());
    let mut keys = vec![
        delegator["public_key"].clone(),
        issuer["public_key"].clone(),
    ];
    for index in [1, 2] {
        let server = place.token(&format!("aaa-signer/{index}/server.jwt"));
        assert_eq!(server["identity"], format!("aaa-{index}.test"));
        assert_eq!(permissions(&server), ["service_host"]);
        keys.push(server["public_key"].clone());
    }
    keys.sort_by_key(ToString::to_string);
    keys.dedup();
    assert_eq!(keys.len(), 4, "every identity has a key of its own");
}

#[test]
fn nobody_can_log_in_before_somebody_is_made_a_user() {
    let place = Place::new();
    succeeds(&place.init(&[]));
    let users: Value = serde_json::from_str(&place.read("users/users.json")).unwrap();
    assert_eq!(users, serde_json::json!([]));
    // What becomes of them is the operator's: a second run leaves them alone.
    place.write("users/users.json", "[{\"username\":\"bob\"}]");
    succeeds(&place.cell("init", &["--update"]));
    assert!(place.read("users/users.json").contains("bob"));
}

#[test]
fn a_cell_that_signs_for_nobody_has_nothing_for_it() {
    let place = Place::new();
    succeeds(&place.init(&["--aaa-signer", "0"]));
    for absent in [
        "users",
        "login",
        "tls/aaa.pem",
        "aaa-signer/aaa-signer.toml",
    ] {
        assert!(!place.path(absent).exists(), "{absent}");
    }
    assert!(
        !place
            .read("broker-auth/broker-auth.toml")
            .contains("[login]")
    );
    succeeds(&place.cell("init", &["--aaa-signer", "1", "--update"]));
    assert!(place.path("aaa-signer/1/server.jwt").exists());
    assert!(
        place
            .read("broker-auth/broker-auth.toml")
            .contains("[login]")
    );
}

#[test]
fn clients_that_log_in_know_where() {
    let place = Place::new();
    succeeds(&place.init(&[]));
    let url = place.https_url();
    let ours = place.read("login/client.toml");
    assert!(ours.contains(&format!("urls = [\"{url}\"]")), "{ours}");
    let chorias = place.read("login/choria.conf");
    let login = format!("plugin.login.aaasvc.login.url = {url}/choria/v1/login\n");
    assert!(chorias.contains(&login), "{chorias}");
    for text in [&ours, &chorias] {
        assert!(!text.contains("/etc/overlay"), "{text}");
        assert!(
            text.contains(&place.url().replace("tls://", "nats://")),
            "{text}"
        );
    }
}

#[test]
fn what_the_identities_are_not_good_for_is_found() {
    let place = Place::new();
    succeeds(&place.init(&[]));
    let found = |place: &Place| place.check()["findings"].to_string();
    let token = place.read("aaa-signer/login.jwt");
    place.write("aaa-signer/signer.jwt", &token);
    assert!(found(&place).contains("do not take its holder's signature"));
    let token = place.read("operator/client.jwt");
    place.write("aaa-signer/login.jwt", &token);
    assert!(found(&place).contains("does not let its holder issue tokens"));
    place.write("aaa-signer/1/server.jwt", "nonsense");
    let said = found(&place);
    assert!(said.contains("aaa-signer/1/server.jwt"), "{said}");
}
