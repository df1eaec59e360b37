//! Conformance cases of nodes that have yet to be provisioned, and what we do not grant them.

use serde_json::json;

use super::*;
use crate::permissions::Answers;

const BROADCASTS: [&str; 4] = [
    "provisioning.broadcast.agent.discovery",
    "provisioning.broadcast.agent.rpcutil",
    "provisioning.broadcast.agent.choria_util",
    "provisioning.broadcast.agent.choria_provision",
];
const EVENTS: [&str; 6] = [
    "choria.lifecycle.event.startup.provision_mode_server",
    "choria.lifecycle.event.alive.provision_mode_server",
    "choria.lifecycle.event.provisioned.provision_mode_server",
    "choria.lifecycle.event.upgraded.provision_mode_server",
    "choria.lifecycle.event.shutdown.provision_mode_server",
    "provisioning.registration.data",
];

fn and<'a>(list: &[&'a str], more: &'a str) -> Vec<&'a str> {
    list.iter().copied().chain([more]).collect()
}

fn named(name: &str) -> Try {
    Try {
        name: name.to_owned(),
        ..Try::unsigned(token(&provisioning_claims()))
    }
}

/// A node that shows a token with extensions of ours.
fn extended(name: &str, overlay: serde_json::Value) -> Try {
    let claims = ProvisioningClaims {
        extensions: json!({ "site": "lon", "overlay": overlay })
            .as_object()
            .cloned(),
        ..provisioning_claims()
    };
    Try {
        name: name.to_owned(),
        ..Try::unsigned(token(&claims))
    }
}

/// Case 1 of the provisioner's specification, as narrow as it can be.
#[test]
fn case_32_an_unprovisioned_node_hears_and_says_only_its_own() {
    let login = Try::unsigned(token(&provisioning_claims())).login(&policy());
    assert_eq!(
        (login.role, login.account.as_str()),
        (Role::Unprovisioned, "provisioning")
    );
    assert_eq!(
        (login.name.as_str(), login.expires),
        ("unprovisioned:n1.example.net", Some(LATER))
    );
    let Permissions {
        publish,
        subscribe,
        answers,
    } = login.permissions;
    assert_allows(&publish, &EVENTS);
    assert_allows(
        &subscribe,
        &and(&BROADCASTS, "provisioning.node.n1.example.net"),
    );
    let once = |answers: Answers| (answers.each, answers.within.as_secs());
    assert_eq!(answers.map(once), Some((1, 120)));
}

#[test]
fn a_connection_whose_name_no_node_can_have_is_refused() {
    for name in [
        "",
        ">",
        "*",
        "a.*",
        "a.>",
        "a b",
        "a..b",
        "n1\r\n",
        &"x".repeat(300),
    ] {
        named(name).refused_for(Reason::BadNodeName);
    }
    named("n1").login(&policy());
    assert_eq!(
        named("a b").refusal(&policy()).claimed.as_deref(),
        Some("a b")
    );
}

#[test]
fn a_token_for_one_node_is_good_for_no_other() {
    let bound = json!({ "identity": "n1.example.net" });
    let login = extended("n1.example.net", bound.clone()).login(&policy());
    assert_allows(
        &login.permissions.subscribe,
        &and(&BROADCASTS, "provisioning.node.n1.example.net"),
    );
    for other in ["n2.example.net", "N1.example.net", "n1.example.net.", ""] {
        extended(other, bound.clone()).refused_for(Reason::AnotherNodesToken);
    }
}

#[test]
fn extensions_of_ours_that_are_not_understood_let_nobody_in() {
    for wrong in [
        json!(null),
        json!("n1"),
        json!({ "identity": 1 }),
        json!({ "identity": "a b" }),
        json!({ "identitty": "n1.example.net" }),
    ] {
        let refusal = extended("n1.example.net", wrong.clone()).refusal(&policy());
        assert_eq!(refusal.reason, Reason::BadTokenExtensions, "{wrong}");
    }
    extended("n1.example.net", json!({})).login(&policy());
}

#[test]
fn what_choria_needs_wider_is_one_switch_each() {
    let node = named("root.mcollective");
    let any_reply = with_compat(ProvisioningCompat {
        any_reply: true,
        ..ProvisioningCompat::default()
    });
    let permissions = node.login(&any_reply).permissions;
    assert_allows(&permissions.publish, &and(&EVENTS, "provisioning.reply.>"));
    assert_allows(
        &permissions.subscribe,
        &and(&BROADCASTS, "provisioning.node.root.mcollective"),
    );
    let any_name = with_compat(ProvisioningCompat {
        any_node_name: true,
        ..ProvisioningCompat::default()
    });
    let permissions = node.login(&any_name).permissions;
    assert_allows(&permissions.publish, &EVENTS);
    assert_allows(
        &permissions.subscribe,
        &and(&BROADCASTS, "provisioning.node.>"),
    );
    // Whoever has a token for one node needs no wider rule: the token names it.
    let bound = extended("root.mcollective", json!({ "identity": "n1" })).login(&any_name);
    assert_allows(
        &bound.permissions.subscribe,
        &and(&BROADCASTS, "provisioning.node.n1"),
    );
}

#[test]
fn a_node_that_is_denied_does_not_come_back_as_a_new_one() {
    let mut policy = policy();
    policy.denied.identities.insert("n1.example.net".to_owned());
    let refusal = named("n1.example.net").refusal(&policy);
    assert_eq!(refusal.reason, Reason::Denied);
    named("n2.example.net").login(&policy);
}

#[test]
fn case_32_provisioning_tokens_that_prove_nothing_are_refused() {
    let good = provisioning_claims();
    let mut expired = good.clone();
    expired.standard.exp = Some(NOW.secs);
    Try::unsigned(token(&expired)).refused_for(Reason::TokenExpired);
    for (ou, reason) in [
        (Some("other"), Reason::UnknownOrganisation),
        (Some("acme"), Reason::NotSignedByIssuer),
        (None, Reason::NoOrganisation),
    ] {
        let claims = ProvisioningClaims {
            ou: ou.map(str::to_owned),
            ..good.clone()
        };
        Try::unsigned(token(&claims)).refused_for(reason);
    }
    Try::unsigned(issue::sign(&good, &holder()).unwrap()).refused_for(Reason::NotSignedByIssuer);
    let off = Policy {
        provisioning: None,
        ..policy()
    };
    assert_eq!(
        Try::unsigned(token(&good)).refusal(&off).reason,
        Reason::ProvisioningOff
    );
}

#[test]
fn case_32_an_rsa_token_needs_a_configured_signer() {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let good = token(&provisioning_claims());
    let (_, rest) = good.split_once('.').unwrap();
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256","typ":"JWT"}"#);
    Try::unsigned(format!("{header}.{rest}")).refused_for(Reason::ProvisioningSignerUnknown);
}

#[test]
fn case_33_an_unprovisioned_node_sees_only_the_agents_it_needs() {
    let login = Try::unsigned(token(&provisioning_claims())).login(&policy());
    let subscribe = sorted(login.permissions.subscribe.allow());
    assert!(!subscribe.contains(&">") && !subscribe.contains(&"provisioning.broadcast.agent.>"));
}

#[test]
fn a_provisioning_token_known_by_its_subject_alone_is_one() {
    let mut claims = provisioning_claims();
    claims.standard.purpose = Purpose::default();
    assert_eq!(
        Try::unsigned(token(&claims)).login(&policy()).role,
        Role::Unprovisioned
    );
}

#[test]
fn a_provisioning_token_that_is_denied_lets_nobody_in() {
    let mut policy = policy();
    policy.denied.tokens.insert("2Xyz".to_owned());
    let refusal = Try::unsigned(token(&provisioning_claims())).refusal(&policy);
    assert_eq!(refusal.reason, Reason::Denied);
}

#[test]
fn foreign_names_are_bounded_and_without_control_characters() {
    let name = format!("a\r\n{}", "x".repeat(1000));
    let login = Try {
        name,
        ..Try::unsigned(token(&provisioning_claims()))
    }
    .login(&with_compat(ProvisioningCompat {
        any_node_name: true,
        ..ProvisioningCompat::default()
    }));
    assert!(login.name.chars().count() < 160 && !login.name.chars().any(char::is_control));
}
