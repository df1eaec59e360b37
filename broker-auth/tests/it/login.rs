//! Logins of every kind at a real broker, on the oldest line that is supported and on the newest.

use overlay_testkit::mint::Organisation;
use overlay_testkit::{nats_server, skip};
use overlay_tokens::claims::{ClientPermissions, ServerPermissions};
use overlay_tokens::issue::{ClientToken, ProvisioningToken, ServerToken};
use serde_json::Value;

use crate::cell::{Cell, PROVISIONER_PASSWORD, SYSTEM_PASSWORD};
use crate::raw::Connect;

const OLDEST_LINE: &str = "2.12";

pub(crate) fn fleet() -> ClientPermissions {
    ClientPermissions {
        fleet_management: true,
        ..ClientPermissions::default()
    }
}

pub(crate) fn client(organisation: &Organisation, permissions: ClientPermissions) -> Connect {
    Connect::of(&organisation.client(ClientToken {
        permissions: Some(permissions),
        ..ClientToken::new("up=rip")
    }))
}

pub(crate) fn node(organisation: &Organisation, identity: &str) -> Connect {
    Connect::of(&organisation.server(ServerToken {
        identity: identity.to_owned(),
        collectives: vec!["c1".to_owned()],
        ..ServerToken::default()
    }))
}

pub(crate) fn provisioning_token(organisation: &Organisation) -> String {
    organisation.provisioning(ProvisioningToken {
        token: "s3cret".into(),
        urls: vec!["nats://127.0.0.1:4222".to_owned()],
        ..ProvisioningToken::default()
    })
}

/// Runs a suite on the newest broker and on one of the oldest line.
fn on_both_lines(name: &str, suite: fn(&Cell)) {
    suite(&Cell::of_version(None));
    match nats_server::locate_version(OLDEST_LINE) {
        Ok(_) => suite(&Cell::of_version(Some(OLDEST_LINE))),
        Err(error) => skip(
            &format!("{name} on {OLDEST_LINE}"),
            &error.to_string(),
            "cargo xtask tools",
        ),
    }
}

/// The account and the lists of a connection, as the broker itself tells them.
fn user_info(cell: &Cell, connect: &Connect, inbox: &str) -> Value {
    let mut raw = cell.login(connect).unwrap();
    let answer = raw.request("$SYS.REQ.USER.INFO", inbox, "");
    serde_json::from_str::<Value>(&answer).unwrap()["data"].clone()
}

#[test]
fn every_kind_of_login_gets_in_with_its_own_permissions() {
    on_both_lines(
        "every_kind_of_login_gets_in_with_its_own_permissions",
        |cell| {
            let organisation = &cell.parts.organisation;
            let mut caller = cell.login(&client(organisation, fleet())).unwrap();
            assert!(
                caller.may_publish("choria.node.n1")
                    && caller.may_publish("west.broadcast.agent.rpcutil")
            );
            assert!(
                !caller.may_publish("choria.reply.x.1")
                    && !caller.may_publish("$JS.API.STREAM.CREATE.X")
            );

            let mut node = cell.login(&node(organisation, "n1.example.net")).unwrap();
            assert!(
                node.may_subscribe("c1.node.n1.example.net") && node.may_publish("c1.reply.x.1")
            );

            let mut bare = cell
                .login(&Connect::token(&provisioning_token(organisation)))
                .unwrap();
            assert!(
                bare.may_subscribe("provisioning.node.raw")
                    && bare.may_publish("choria.lifecycle.event.startup.provision_mode_server")
            );
            assert!(!bare.may_subscribe("provisioning.node.n2"));

            let provisioner = Connect::of(&organisation.provisioner("up=prov"))
                .user("provisioner", PROVISIONER_PASSWORD);
            let mut provisioner = cell.login(&provisioner).unwrap();
            assert!(
                provisioner.may_publish("provisioning.node.n2")
                    && provisioner.may_subscribe("provisioning.reply.>")
                    && !provisioner.may_subscribe(">")
            );

            let system = ClientPermissions {
                system_user: true,
                ..ClientPermissions::default()
            };
            let system = client(organisation, system).user("system", SYSTEM_PASSWORD);
            let info = user_info(cell, &system, "answers.x");
            assert_eq!(
                (&info["user"], &info["account"]),
                (&"system".into(), &"system".into())
            );
        },
    );
}

#[test]
fn refused_logins_hear_nothing_but_that_they_are() {
    on_both_lines("refused_logins_hear_nothing_but_that_they_are", |cell| {
        let organisation = &cell.parts.organisation;
        let stranger = Organisation::new();
        let good = client(organisation, fleet());
        let other = overlay_testkit::mint::key();
        let (signed, _) = good.token.rsplit_once('.').unwrap();
        let attempts = [
            ("not_signed_by_issuer", client(&stranger, fleet())),
            ("nonce_not_signed", Connect::token(&good.token)),
            ("nonce_signature_wrong", good.clone().signed_by(&other)),
            ("nonce_signature_malformed", good.clone().sig("+++===")),
            ("token_malformed", Connect::token(signed)),
            ("token_malformed", Connect::token("hello")),
            ("token_malformed", Connect::token(&"x".repeat(20_000))),
            ("nothing_presented", Connect::named()),
            ("nothing_presented", Connect::named().user("rip", "x")),
            (
                "nothing_presented",
                Connect {
                    jwt: good.token.clone(),
                    token: String::new(),
                    ..good.clone()
                },
            ),
            (
                "provisioner_password",
                Connect::of(&organisation.provisioner("p")).user("provisioner", "no"),
            ),
            (
                "not_a_provisioner",
                good.clone().user("provisioner", PROVISIONER_PASSWORD),
            ),
            (
                "not_a_system_user",
                good.clone().user("system", SYSTEM_PASSWORD),
            ),
            (
                "system_token",
                Connect::named().user("system", SYSTEM_PASSWORD),
            ),
            (
                "not_signed_by_issuer",
                Connect::token(&provisioning_token(&stranger)),
            ),
        ];
        for (reason, connect) in &attempts {
            let before = cell.service.refused(reason);
            let told = cell.login(connect).map(|_| ()).unwrap_err();
            assert_eq!(told, "-ERR 'Authorization Violation'", "{reason}");
            assert_eq!(cell.service.refused(reason), before + 1.0, "{reason}");
        }
        cell.login(&good).unwrap();
    });
}

#[test]
fn case_23_callers_cannot_read_each_others_replies() {
    let cell = Cell::start();
    let mut caller = cell
        .login(&client(&cell.parts.organisation, fleet()))
        .unwrap();
    let other = overlay_tokens::claims::unique_id("up=other");
    assert!(caller.may_subscribe("choria.reply.7419405695a186147a0de38f7e31a509.>"));
    assert!(!caller.may_subscribe(&format!("choria.reply.{other}.>")));
    assert!(!caller.may_subscribe("*.reply.>") && !caller.may_subscribe(">"));
}

#[test]
fn case_26_an_org_admin_reads_any_reply() {
    let cell = Cell::start();
    let admin = ClientPermissions {
        org_admin: true,
        ..ClientPermissions::default()
    };
    let mut admin = cell
        .login(&client(&cell.parts.organisation, admin))
        .unwrap();
    assert!(admin.may_subscribe("*.reply.>") && admin.may_publish("$JS.API.STREAM.CREATE.X"));
}

#[test]
fn case_30_a_node_without_collectives_can_do_nothing() {
    let cell = Cell::start();
    let (key, now) = (overlay_testkit::mint::key(), overlay_testkit::mint::now());
    let mut claims = ServerToken {
        identity: "n1".to_owned(),
        collectives: vec!["c1".to_owned()],
        public_key: Some(key.public()),
        validity: std::time::Duration::from_secs(60),
        ..ServerToken::default()
    }
    .claims(now)
    .unwrap();
    claims.collectives.clear();
    let token = overlay_tokens::issue::sign(&claims, &cell.parts.issuer).unwrap();
    let mut node = cell.login(&Connect::token(&token).signed_by(&key)).unwrap();
    assert!(
        !node.may_publish("c1.reply.x")
            && !node.may_subscribe("c1.node.n1")
            && !node.may_subscribe("x")
    );
}

#[test]
fn case_31_nodes_cannot_call_nodes() {
    let cell = Cell::start();
    let mut node = cell.login(&node(&cell.parts.organisation, "n1")).unwrap();
    assert!(!node.may_publish("c1.node.x") && !node.may_publish("c1.broadcast.agent.rpcutil"));
    assert!(node.may_publish("c1.broadcast.agent.registration"));
}

#[test]
fn case_33_unprovisioned_nodes_see_only_the_agents_they_need() {
    let cell = Cell::start();
    let mut bare = cell
        .login(&Connect::token(&provisioning_token(
            &cell.parts.organisation,
        )))
        .unwrap();
    assert!(!bare.may_subscribe("provisioning.broadcast.agent.other") && !bare.may_subscribe(">"));
}

#[test]
fn case_42_the_broker_tells_a_client_its_account_and_lists() {
    let cell = Cell::start();
    let inbox = "choria.reply.7419405695a186147a0de38f7e31a509.info";
    let info = user_info(&cell, &client(&cell.parts.organisation, fleet()), inbox);
    assert_eq!(
        (&info["user"], &info["account"]),
        (&"up=rip".into(), &"choria".into())
    );
    let publish = info["permissions"]["publish"]["allow"].as_array().unwrap();
    assert_eq!(publish.len(), 5);
    assert!(publish.contains(&"*.node.>".into()));
}

#[test]
fn case_43_every_connection_is_offered_a_nonce() {
    on_both_lines("case_43_every_connection_is_offered_a_nonce", |cell| {
        let raw = cell.parts.open(cell.broker.port());
        assert_eq!(raw.nonce().len(), 15);
    });
}

#[tokio::test]
async fn case_43_websockets_log_in_like_anybody() {
    let cell = Cell::start();
    let login = cell.parts.organisation.client(ClientToken::new("up=rip"));
    let ca = cell.parts.authority.ca_file();
    let key = login.key.clone();
    let token = login.token.clone();
    let client = async_nats::ConnectOptions::with_auth_callback(move |nonce| {
        let (key, token) = (key.clone(), token.clone());
        async move {
            assert_eq!(nonce.len(), 15);
            let mut auth = async_nats::Auth::new();
            auth.token = Some(token);
            auth.signature = Some(key.sign(&nonce).to_vec());
            Ok(auth)
        }
    })
    .custom_inbox_prefix("choria.reply.7419405695a186147a0de38f7e31a509")
    .add_root_certificates(ca)
    .connect(cell.broker.websocket_url().unwrap())
    .await
    .unwrap();
    let info = client
        .request("$SYS.REQ.USER.INFO", "".into())
        .await
        .unwrap();
    let info: Value = serde_json::from_slice(&info.payload).unwrap();
    assert_eq!(info["data"]["account"], "choria");
}

#[test]
fn case_49_malformed_subjects_in_a_token_cost_nobody_the_login() {
    on_both_lines(
        "case_49_malformed_subjects_in_a_token_cost_nobody_the_login",
        |cell| {
            let token = ClientToken {
                pub_subjects: ["good.x", "a b", "a..b", "", "a.>.b"]
                    .map(str::to_owned)
                    .to_vec(),
                ..ClientToken::new("up=rip")
            };
            let mut caller = cell
                .login(&Connect::of(&cell.parts.organisation.client(token)))
                .unwrap();
            assert!(caller.may_publish("good.x") && !caller.may_publish("a.b"));
        },
    );
}

#[test]
fn case_50_a_connection_ends_with_the_token_of_its_client() {
    let cell = Cell::start();
    let token = ClientToken {
        validity: std::time::Duration::from_secs(4),
        ..ClientToken::new("up=rip")
    };
    let connect = Connect::of(&cell.parts.organisation.client(token));
    let told = cell.login(&connect).unwrap().until_closed();
    assert!(
        told.iter()
            .any(|line| line.contains("User Authentication Expired")),
        "{told:?}"
    );
    assert!(cell.login(&connect).is_err());
    assert_eq!(cell.service.refused("token_expired"), 1.0);
}

#[test]
fn a_node_of_all_permissions_uses_its_subjects_at_the_broker() {
    let cell = Cell::start();
    let all = ServerPermissions {
        submission: true,
        streams: true,
        governor: true,
        service_host: true,
    };
    let token = ServerToken {
        identity: "n1".to_owned(),
        permissions: Some(all),
        ..ServerToken::default()
    };
    let mut node = cell
        .login(&Connect::of(&cell.parts.organisation.server(token)))
        .unwrap();
    for subject in [
        "choria.submission.in.x",
        "choria.governor.G",
        "$JS.API.STREAM.INFO.X",
        "$JS.ACK.x",
    ] {
        assert!(node.may_publish(subject), "{subject}");
    }
    assert!(!node.may_publish("$JS.API.STREAM.CREATE.X") && !node.may_publish("$KV.B.k"));
    assert!(
        node.may_subscribe("choria.broadcast.service.>")
            && node.may_subscribe("choria.republish.>")
    );
}
