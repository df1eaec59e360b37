//! Conformance cases of provisioning at a real broker with the accounts of a generated cell.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use overlay_testkit::eventually;
use overlay_testkit::mint::{Login, Organisation};
use overlay_tokens::claims::{ClientPermissions, ServerPermissions};
use overlay_tokens::issue::{ClientToken, ProvisioningToken, ServerToken};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;

use crate::cell::{self, Cell, OFTEN, PROVISIONER_PASSWORD, SOON};
use crate::login::{client, fleet, node, provisioning_token};
use crate::raw::{Connect, Raw};

/// What cells are generated with, unless their only provisioner is Choria's.
pub(crate) const VETTED: &[&str] = &["vetted_events"];
const VIOLATION: &str = "-ERR 'Authorization Violation'";
pub(crate) const STARTUP: &str = "choria.lifecycle.event.startup.provision_mode_server";

pub(crate) fn bare(organisation: &Organisation, name: &str) -> Connect {
    Connect::token(&provisioning_token(organisation)).called(name)
}

pub(crate) fn provisioner(organisation: &Organisation) -> Connect {
    Connect::of(&organisation.provisioner("provisioner=cell"))
        .user("provisioner", PROVISIONER_PASSWORD)
}

pub(crate) fn admin(organisation: &Organisation) -> Login {
    organisation.client(ClientToken {
        permissions: Some(ClientPermissions {
            org_admin: true,
            ..ClientPermissions::default()
        }),
        ..ClientToken::new("up=admin")
    })
}

#[track_caller]
fn refused(cell: &Cell, connect: &Connect, reason: &str) {
    let before = cell.service.refused(reason);
    let told = cell.login(connect).map(|_| ()).unwrap_err();
    assert_eq!(told, VIOLATION, "{reason}");
    assert_eq!(cell.service.refused(reason), before + 1.0, "{reason}");
}

#[test]
fn provision_case_01_a_node_gets_in_with_its_token_alone() {
    let cell = Cell::of_overlay(VETTED, "");
    let mut node = cell
        .login(&bare(&cell.parts.organisation, "n1.example.net"))
        .unwrap();
    for subject in [
        "provisioning.node.n1.example.net",
        "provisioning.broadcast.agent.discovery",
        "provisioning.broadcast.agent.rpcutil",
        "provisioning.broadcast.agent.choria_util",
        "provisioning.broadcast.agent.choria_provision",
    ] {
        assert!(node.may_subscribe(subject), "{subject}");
    }
    for type_ in ["startup", "alive", "provisioned", "upgraded", "shutdown"] {
        let subject = format!("choria.lifecycle.event.{type_}.provision_mode_server");
        assert!(node.may_publish(&subject), "{subject}");
    }
    assert!(node.may_publish("provisioning.registration.data"));
    let connections = cell.broker.monitoring("/connz?auth=1");
    let found = connections["connections"].as_array().unwrap();
    let mine = found
        .iter()
        .find(|found| found["name"] == "n1.example.net")
        .unwrap();
    assert_eq!(mine["account"], "provisioning");
    assert_eq!(mine["authorized_user"], "unprovisioned:n1.example.net");
}

#[test]
fn provision_cases_02_to_05_tokens_that_prove_nothing_let_no_node_in() {
    let cell = Cell::of_overlay(VETTED, "");
    let organisation = &cell.parts.organisation;
    let good = || ProvisioningToken {
        token: "s3cret".into(),
        urls: vec!["nats://127.0.0.1:4222".to_owned()],
        ..ProvisioningToken::default()
    };
    let now = overlay_testkit::mint::now();
    let sign = |change: fn(&mut overlay_tokens::claims::ProvisioningClaims)| {
        let mut claims = good().claims(now).unwrap();
        change(&mut claims);
        Connect::token(&overlay_tokens::issue::sign(&claims, &cell.parts.issuer).unwrap())
    };
    refused(
        &cell,
        &sign(|claims| claims.standard.exp = Some(1_700_000_000)),
        "token_expired",
    );
    refused(&cell, &sign(|claims| claims.ou = None), "no_organisation");
    refused(
        &cell,
        &sign(|claims| claims.ou = Some("other".to_owned())),
        "unknown_organisation",
    );
    let stranger = Organisation::new();
    refused(&cell, &bare(&stranger, "n1"), "not_signed_by_issuer");
    cell.login(&bare(organisation, "n1")).unwrap();
}

/// A token that is signed as the original signs those of protocol v1, with an RSA key of which a signer file may tell.
fn rsa_token(claims: &overlay_tokens::claims::ProvisioningClaims, key: &[u8]) -> String {
    let key = PrivateKeyDer::from_pem_slice(key).unwrap();
    let key = rustls::crypto::ring::sign::any_supported_type(&key).unwrap();
    let signer = key
        .choose_scheme(&[rustls::SignatureScheme::RSA_PKCS1_SHA256])
        .unwrap();
    // The claims are taken as they are from a token of the other kind.
    let other = overlay_tokens::issue::sign(claims, &overlay_testkit::mint::key()).unwrap();
    let claims = other.split('.').nth(1).unwrap();
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256","typ":"JWT"}"#);
    let signed = format!("{header}.{claims}");
    let signature = URL_SAFE_NO_PAD.encode(signer.sign(signed.as_bytes()).unwrap());
    format!("{signed}.{signature}")
}

#[test]
fn provision_case_06_an_rsa_token_needs_its_signer_in_the_configuration() {
    let keys: serde_json::Value = serde_json::from_str(include_str!(
        "../../../tokens/tests/vectors/provisioner/keys.json"
    ))
    .unwrap();
    let x509 = |name: &str| keys["x509"][name].as_str().unwrap().to_owned();
    let cell = Cell::of_overlay(VETTED, "");
    let claims = ProvisioningToken {
        token: "s3cret".into(),
        urls: vec!["nats://127.0.0.1:4222".to_owned()],
        ..ProvisioningToken::default()
    }
    .claims(overlay_testkit::mint::now())
    .unwrap();
    let token = rsa_token(&claims, x509("node_key_pkcs8").as_bytes());
    let connect = Connect::token(&token).called("n1");
    refused(&cell, &connect, "provisioning_signer_unknown");

    let signer = cell.parts.secret("signer.pem", &x509("node_certificate"));
    let knowing = cell
        .parts
        .start_changed(&[cell.broker.port()], "", |config| {
            let signer = format!(
                "[provisioning]\nsigner_file = {:?}\n",
                signer.display().to_string()
            );
            config.replace("[provisioning]\n", &signer)
        });
    drop(cell.service);
    knowing.wait_until_ready();
    let login = |connect: &Connect| cell.parts.login(cell.broker.port(), connect);
    overlay_testkit::eventually_blocking(SOON, OFTEN, || login(&connect).map(drop));
    let mut other = token.clone();
    other.replace_range(token.len() - 20..token.len() - 10, "AAAAAAAAAA");
    assert!(login(&Connect::token(&other).called("n1")).is_err());
    assert_eq!(knowing.refused("not_signed_by_issuer"), 1.0);
}

#[test]
fn provision_case_08_tokens_of_members_get_in_by_their_own_rules_only() {
    let cell = Cell::of_overlay(VETTED, "");
    let organisation = &cell.parts.organisation;
    for connect in [client(organisation, fleet()), node(organisation, "n1")] {
        let mut member = cell.login(&connect).unwrap();
        assert!(!member.may_subscribe("provisioning.node.n1"));
        assert!(!member.may_subscribe("provisioning.broadcast.agent.discovery"));
        // Without its holder's signature it is no bearer token either.
        refused(&cell, &Connect::token(&connect.token), "nonce_not_signed");
    }
    let allowed = "overlay_broker_auth_logins_allowed_total{role=\"unprovisioned\"}";
    assert_eq!(cell.service.metric(allowed), 0.0);
}

#[test]
fn provision_cases_09_and_10_a_provisioner_needs_password_token_and_signature() {
    let cell = Cell::of_overlay(VETTED, "");
    let organisation = &cell.parts.organisation;
    let good = provisioner(organisation);
    let mut raw = cell.login(&good).unwrap();
    assert!(raw.may_publish("provisioning.node.x"));
    let short = Connect {
        token: String::new(),
        ..good.clone()
    };
    let bearer =
        Connect::token(&provisioning_token(organisation)).user("provisioner", PROVISIONER_PASSWORD);
    let member = client(organisation, fleet()).user("provisioner", PROVISIONER_PASSWORD);
    let unsigned = Connect {
        key: None,
        ..good.clone()
    };
    let expired = {
        let token = ClientToken {
            permissions: Some(ClientPermissions {
                provisioner: true,
                ..ClientPermissions::default()
            }),
            validity: Duration::from_secs(60),
            ..ClientToken::new("provisioner=cell")
        };
        let before = overlay_tokens::UnixTime::from_secs(overlay_testkit::mint::now().secs - 3600);
        Connect::of(&organisation.client_at(token, before))
            .user("provisioner", PROVISIONER_PASSWORD)
    };
    for (connect, reason) in [
        (
            good.clone().user("provisioner", "wrong"),
            "provisioner_password",
        ),
        (good.clone().user("provisioner", ""), "provisioner_password"),
        (short, "provisioner_token"),
        (member, "not_a_provisioner"),
        (expired, "token_expired"),
        (bearer, "wrong_purpose"),
        (unsigned, "nonce_not_signed"),
        (
            good.signed_by(&overlay_testkit::mint::key()),
            "nonce_signature_wrong",
        ),
    ] {
        refused(&cell, &connect, reason);
    }
}

#[test]
fn provision_case_11_the_password_alone_is_enough_where_the_switch_says_so() {
    let cell = Cell::of_overlay(VETTED, "");
    let lax = cell
        .parts
        .start_changed(&[cell.broker.port()], "", |config| {
            config.replace("[provisioning]\n", "[provisioning]\nwithout_token = true\n")
        });
    drop(cell.service);
    lax.wait_until_ready();
    let parts = &cell.parts;
    let login = |connect: &Connect| parts.login(cell.broker.port(), connect);
    let bare = Connect::named().user("provisioner", PROVISIONER_PASSWORD);
    let mut raw = overlay_testkit::eventually_blocking(SOON, OFTEN, || login(&bare));
    assert!(raw.may_publish("provisioning.node.x"));
    let bad = client(&parts.organisation, fleet()).user("provisioner", PROVISIONER_PASSWORD);
    assert_eq!(login(&bad).map(|_| ()).unwrap_err(), VIOLATION);
    assert_eq!(lax.refused("not_a_provisioner"), 1.0);
    let told = lax.process.stderr();
    assert!(told.contains("wider than they must be"), "{told}");
}

#[test]
fn provision_case_12_a_line_end_after_the_token_is_forgiven() {
    let cell = Cell::of_overlay(VETTED, "");
    let token = provisioning_token(&cell.parts.organisation);
    for end in ["\n", "\r\n"] {
        cell.login(&Connect::token(&format!("{token}{end}")).called("n1"))
            .unwrap();
    }
    refused(
        &cell,
        &Connect::token(&format!(" {token}")).called("n1"),
        "token_malformed",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn provision_case_14_events_of_vetted_nodes_are_stored_with_the_fleets() {
    let cell = Cell::of_overlay(VETTED, "");
    let organisation = &cell.parts.organisation;
    let fleet = cell.client(&admin(organisation), None).await;
    let mut heard = fleet.subscribe(">").await.unwrap();
    cell::settle(&fleet).await;
    let mut node = cell.login(&bare(organisation, "n1")).unwrap();
    node.publish(STARTUP, "", "raw");
    node.publish("provisioning.registration.data", "", "data");
    node.told();
    let mut provisioner = cell.login(&provisioner(organisation)).unwrap();
    provisioner.publish("provisioning.vetted.startup", "", "vetted");
    provisioner.publish("choria.lifecycle.event.startup.provisioner", "", "own");
    assert_eq!(provisioner.told(), Vec::<String>::new());
    let found = events(&mut heard, 2).await;
    assert_eq!(
        found,
        [
            (STARTUP.to_owned(), "vetted".to_owned()),
            (
                "choria.lifecycle.event.startup.provisioner".to_owned(),
                "own".to_owned()
            )
        ]
    );
    stored(&fleet, "CHORIA_EVENTS", 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn provision_case_14_raw_events_reach_the_fleet_where_the_cell_was_made_for_them() {
    let cell = Cell::of_overlay(&["raw_events"], "");
    let organisation = &cell.parts.organisation;
    let fleet = cell.client(&admin(organisation), None).await;
    let mut heard = fleet.subscribe(">").await.unwrap();
    cell::settle(&fleet).await;
    let mut node = cell.login(&bare(organisation, "n1")).unwrap();
    // What it says of others stays where it is.
    for component in ["server", "broker_auth", "provision_mode_server"] {
        node.publish(
            &format!("choria.lifecycle.event.startup.{component}"),
            "",
            "raw",
        );
    }
    node.publish("provisioning.registration.data", "", "data");
    node.told();
    assert_eq!(
        events(&mut heard, 1).await,
        [(STARTUP.to_owned(), "raw".to_owned())]
    );
    stored(&fleet, "CHORIA_EVENTS", 1).await;
}

/// The next messages of the fleet's account that are lifecycle events of provisioning, or from that account.
async fn events(heard: &mut async_nats::Subscriber, count: usize) -> Vec<(String, String)> {
    let mut found = Vec::new();
    while found.len() < count {
        let message = tokio::time::timeout(SOON, futures_util::StreamExt::next(heard))
            .await
            .unwrap()
            .unwrap();
        let subject = message.subject.to_string();
        if subject.starts_with("provisioning.")
            || (subject.starts_with("choria.lifecycle.event.") && !subject.ends_with("broker_auth"))
        {
            found.push((
                subject,
                String::from_utf8(message.payload.to_vec()).unwrap(),
            ));
        }
    }
    found
}

async fn stored(client: &async_nats::Client, stream: &str, least: u64) {
    let context = async_nats::jetstream::new(client.clone());
    eventually(SOON, OFTEN, || async {
        let mut stream = context
            .get_stream(stream)
            .await
            .map_err(|error| error.to_string())?;
        let info = stream.info().await.map_err(|error| error.to_string())?;
        if info.state.messages >= least {
            Ok(())
        } else {
            Err(format!("{} stored", info.state.messages))
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn provision_case_15_requests_to_the_fleet_are_not_heard_by_nodes_or_the_provisioner() {
    let cell = Cell::of_overlay(
        VETTED,
        "[provisioning.compat]\nprovisioner_unrestricted = true\n",
    );
    let organisation = &cell.parts.organisation;
    let mut listener = cell.login(&provisioner(organisation)).unwrap();
    listener.send("SUB > 1\r\n");
    listener.told();
    let fleet = cell.client(&admin(organisation), None).await;
    for subject in [
        "choria.broadcast.agent.discovery",
        "choria.node.n1",
        "choria.lifecycle.event.shutdown.server",
        "provisioning.broadcast.agent.discovery",
        "provisioning.node.n1",
    ] {
        fleet.publish(subject, "x".into()).await.unwrap();
    }
    // What it is meant to hear of the fleet comes after them.
    fleet
        .publish("choria.broadcast.service.provisioner", "last".into())
        .await
        .unwrap();
    fleet.flush().await.unwrap();
    let (subject, _, payload) = listener.message();
    assert_eq!(
        (subject.as_str(), payload.as_str()),
        ("choria.broadcast.service.provisioner", "last")
    );
}

#[test]
fn provision_case_38_a_provisioner_comes_and_goes_ten_times_a_node() {
    let cell = Cell::of_overlay(VETTED, "");
    let login = cell.parts.organisation.provisioner("up=provisioner");
    // As Choria's provisioner connects: the token in two places.
    let connect = Connect {
        jwt: login.token.clone(),
        ..Connect::of(&login).user("provisioner", PROVISIONER_PASSWORD)
    };
    for _ in 0..100 {
        let mut raw = cell.login(&connect).unwrap();
        assert!(raw.may_subscribe("provisioning.reply.9b3ff0d5e2a0c1c0.abc"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn provision_case_39_a_provisioner_takes_part_in_its_election_and_in_no_other() {
    let cell = Cell::of_overlay(VETTED, "");
    let organisation = &cell.parts.organisation;
    let mut raw = cell.login(&provisioner(organisation)).unwrap();
    let info = raw.request(
        "choria.streams.STREAM.INFO.KV_CHORIA_LEADER_ELECTION",
        "provisioning.reply.x.1",
        "",
    );
    assert!(info.contains("KV_CHORIA_LEADER_ELECTION"), "{info}");
    for (index, vote) in [
        "choria.streams.$KV.CHORIA_LEADER_ELECTION.provisioner",
        "$KV.CHORIA_LEADER_ELECTION.provisioner",
    ]
    .iter()
    .enumerate()
    {
        let stored = raw.request(vote, &format!("provisioning.reply.x.2{index}"), "me");
        assert!(stored.contains("KV_CHORIA_LEADER_ELECTION"), "{stored}");
    }
    let leader = raw.request(
        "choria.streams.DIRECT.GET.KV_CHORIA_LEADER_ELECTION.$KV.CHORIA_LEADER_ELECTION.provisioner",
        "provisioning.reply.x.3",
        "",
    );
    assert!(leader.starts_with("NATS/1.0"), "{leader}");
    for other in [
        "choria.streams.DIRECT.GET.KV_CHORIA_LEADER_ELECTION.$KV.CHORIA_LEADER_ELECTION.other",
        "choria.streams.$KV.CHORIA_LEADER_ELECTION.other",
        "$KV.CHORIA_LEADER_ELECTION.other",
        "choria.streams.STREAM.INFO.KV_OTHER",
        "choria.streams.STREAM.INFO.CHORIA_EVENTS",
    ] {
        assert!(!raw.may_publish(other), "{other}");
    }
    let fleet = cell.client(&admin(organisation), None).await;
    let bucket = async_nats::jetstream::new(fleet)
        .get_key_value("CHORIA_LEADER_ELECTION")
        .await
        .unwrap();
    assert_eq!(bucket.get("provisioner").await.unwrap().unwrap(), "me");
    assert!(bucket.get("other").await.unwrap().is_none());
}

/// The provisioner asks over the import whether a member of a name is connected, and hears of it at once.
#[test]
fn the_provisioner_learns_at_once_that_nobody_has_a_name() {
    let cell = Cell::of_overlay(VETTED, "");
    let organisation = &cell.parts.organisation;
    let mut raw = cell.login(&provisioner(organisation)).unwrap();
    raw.send("SUB provisioning.reply.x.> 1\r\n");
    let ask = |raw: &mut Raw, id: &str| {
        raw.publish(
            "fleet.c1.node.n1",
            &format!("provisioning.reply.x.{id}"),
            "q",
        );
        raw.told()
    };
    let told = ask(&mut raw, "1");
    assert!(
        told.iter()
            .any(|line| line.starts_with("HMSG provisioning.reply.x.1 ")),
        "{told:?}"
    );
    let token = ServerToken {
        identity: "n1".to_owned(),
        collectives: vec!["c1".to_owned()],
        permissions: Some(ServerPermissions::default()),
        ..ServerToken::default()
    };
    let mut member = cell
        .login(&Connect::of(&organisation.server(token)))
        .unwrap();
    member.send("SUB c1.node.n1 1\r\n");
    member.told();
    assert_eq!(ask(&mut raw, "2"), Vec::<String>::new());
    assert_eq!(member.message().2, "q");
}
