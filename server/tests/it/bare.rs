//! Bare nodes as processes: from nothing but a provisioning token to a member, and back.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use futures_util::StreamExt;
use overlay_protocol::envelope::Limits;
use overlay_protocol::envelope::v2::{Reply, Transport};
use overlay_protocol::rpc::{RpcReply, StatusCode};
use overlay_server::VERSION;
use overlay_tokens::claims::OverlayExtension;
use overlay_tokens::request::sign_request;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::support::bare::{Bare, Caller, Events, NODE, PROVISIONER, SECRET, WITHIN};
use crate::support::{open, read};

const HOUR: Duration = Duration::from_secs(3600);

fn mode(path: &std::path::Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[tokio::test]
async fn provision_case_16_24_a_bare_node_becomes_a_member_in_the_same_process() {
    let bare = Bare::new();
    let client = bare.client().await;
    let mut events = Events::of(&client).await;
    let node = bare.start();
    let pid = node.pid();
    events.expect("startup", "provision_mode_server").await;
    let status = bare
        .status_where(|status| status["provisioning_mode"] == true)
        .await;
    assert_eq!(status["identity"], NODE);

    let found = bare
        .ask_agent(&client, PROVISIONER, "rpcutil", "inventory", json!({}))
        .await;
    assert_eq!(
        found.data,
        json!({
            "agents": ["choria_provision", "choria_util", "discovery", "rpcutil"], "classes": [],
            "collectives": ["provisioning"], "data_plugins": [], "facts": {}, "machines": [],
            "main_collective": "provisioning", "version": VERSION, "upgradable": false,
        })
    );
    let shown = bare.ask_well(&client, "jwt", json!({})).await;
    // The file as it is, with its line feed.
    assert_eq!(shown["jwt"], read(&bare.path("provisioning.jwt")));
    assert_eq!(shown["ecdh_public"].as_str().unwrap().len(), 64);
    assert!(shown.get("server_jwt").is_none());

    let done = bare.configure(&client, HOUR).await;
    let lines = bare.settings().len() + 1;
    let file = bare.path("server.conf");
    assert_eq!(
        done["message"],
        format!("Wrote {lines} lines to {}", file.display())
    );
    assert_eq!(
        bare.files(),
        [
            "provisioning.jwt",
            "server.conf",
            "server.jwt",
            "server.seed"
        ]
    );
    for file in ["server.conf", "server.jwt", "server.seed"] {
        assert_eq!(mode(&bare.path(file)), 0o600, "{file}");
    }
    assert_eq!(read(&bare.path("server.seed")).len(), 64);
    let done = bare.ask_well(&client, "restart", json!({"splay": 1})).await;
    assert_eq!(done["message"], "Restarting Choria Server after 2s");
    events.expect("provisioned", "provision_mode_server").await;
    events.expect("shutdown", "provision_mode_server").await;
    events.expect("startup", "server").await;
    let status = bare
        .status_where(|status| status["provisioning_mode"] == false)
        .await;
    assert_eq!(status["identity"], NODE);
    assert_eq!(node.pid(), pid);
    assert!(!node.stderr().contains("did not take the last messages"));
    assert!(!node.stderr().contains(SECRET), "{}", node.stderr());
    assert!(!node.stderr().contains("member-password"));
}

#[tokio::test]
async fn provision_case_12_discovery_is_answered_by_a_node_whose_token_file_ends_in_a_line_feed() {
    let bare = Bare::new();
    let client = bare.client().await;
    let mut events = Events::of(&client).await;
    let _node = bare.start();
    events.expect("startup", "provision_mode_server").await;
    // The payload of a discovery is base64 of `ping`.
    let request = bare.request(PROVISIONER, "discovery", b"cGluZw==", "provisioning");
    let secure = sign_request(
        request.encode(),
        &bare.provisioner.key,
        &bare.provisioner.token,
    );
    let mut transport = Transport::new(secure.encode());
    let reply_to = "provisioning.reply.abc.i1.discovery";
    transport.reply = Some(reply_to.to_owned());
    let mut answers = client.subscribe(reply_to).await.unwrap();
    client
        .publish_with_reply(
            "provisioning.broadcast.agent.discovery",
            reply_to,
            transport.encode().into(),
        )
        .await
        .unwrap();
    let message = tokio::time::timeout(WITHIN, answers.next())
        .await
        .unwrap()
        .unwrap();
    let (transport, secure, _) = open(&message.payload);
    assert_eq!(transport.sender.as_deref(), Some(NODE));
    let reply = Reply::decode(&secure.reply, &Limits::default()).unwrap();
    assert_eq!(reply.message, b"pong");
}

#[tokio::test]
async fn provision_case_17_19_a_wrong_secret_changes_nothing_and_keeps_nobody_out() {
    let bare = Bare::new();
    let client = bare.client().await;
    let mut events = Events::of(&client).await;
    let node = bare.start();
    events.expect("startup", "provision_mode_server").await;
    let stranger = Caller {
        caller: "provisioner=other",
        sender: "p2.example.net",
    };
    for action in [
        "jwt",
        "gen25519",
        "gencsr",
        "configure",
        "restart",
        "shutdown",
    ] {
        let data = json!({"token": "wrong-s3cret", "config": "{}", "nonce": "x"});
        let reply = bare
            .ask_agent(&client, stranger, "choria_provision", action, data)
            .await;
        assert_eq!(reply.statuscode, StatusCode::Aborted);
        assert_eq!(
            reply.statusmsg, "Incorrect provision token supplied",
            "{action}"
        );
    }
    assert_eq!(bare.files(), ["provisioning.jwt"]);
    // Choria's node would keep the rightful caller out for two minutes now.
    bare.ask_well(&client, "jwt", json!({})).await;
    for secret in [SECRET, "wrong"] {
        let reply = bare
            .ask_agent(
                &client,
                stranger,
                "choria_provision",
                "jwt",
                json!({"token": secret}),
            )
            .await;
        assert_eq!(reply.statusmsg, "Could not obtain provisioning lock");
    }
    bare.ask_well(&client, "jwt", json!({})).await;
    assert!(!node.stderr().contains("wrong-s3cret"));
}

#[tokio::test]
async fn provision_case_23_a_restart_into_nothing_is_refused() {
    let bare = Bare::new();
    let client = bare.client().await;
    let mut events = Events::of(&client).await;
    let _node = bare.start();
    events.expect("startup", "provision_mode_server").await;
    let file = bare.path("server.conf");
    let file = file.display();
    let reply = bare.ask(&client, "restart", json!({"splay": 1})).await;
    assert_eq!(
        reply.statusmsg,
        format!(
            "Configuration {file} could not be parsed, restart cannot continue: open {file}: no such file or directory"
        )
    );
    // A configuration that would leave the node with nothing.
    bare.ask_well(
        &client,
        "configure",
        json!({"config": r#"{"loglevel":"info"}"#}),
    )
    .await;
    let reply = bare.ask(&client, "restart", json!({"splay": 1})).await;
    let expected = format!("Configuration {file} does not make this node a member");
    assert!(
        reply.statusmsg.starts_with(&expected),
        "{}",
        reply.statusmsg
    );
    let asks = json!({"config": r#"{"plugin.choria.server.provision":"true"}"#});
    bare.ask_well(&client, "configure", asks).await;
    let reply = bare.ask(&client, "restart", json!({"splay": 1})).await;
    assert_eq!(
        reply.statusmsg,
        format!("Configuration {file} enables provisioning, restart cannot continue")
    );
    let reply = bare.ask(&client, "restart", json!({"splay": -1})).await;
    assert_eq!(reply.statuscode, StatusCode::Aborted);
    bare.ask_well(&client, "jwt", json!({})).await;
}

#[tokio::test]
async fn shutting_down_is_told_before_the_process_ends() {
    let bare = Bare::new();
    let client = bare.client().await;
    let mut events = Events::of(&client).await;
    let mut node = bare.start();
    events.expect("startup", "provision_mode_server").await;
    let done = bare.ask_well(&client, "shutdown", json!({})).await;
    let message = done["message"].as_str().unwrap();
    assert!(
        message.starts_with("Shutting Choria Server down after "),
        "{message}"
    );
    events.expect("shutdown", "provision_mode_server").await;
    assert!(node.wait(WITHIN).success());
}

#[tokio::test]
async fn provision_case_26_a_member_goes_back_when_asked_and_keeps_its_credentials_to_prove_itself()
{
    let bare = Bare::new();
    let client = bare.client().await;
    let mut events = Events::of(&client).await;
    let _node = bare.start();
    events.expect("startup", "provision_mode_server").await;
    bare.configure(&client, HOUR).await;
    bare.ask_well(&client, "restart", json!({"splay": 1})).await;
    events.expect("provisioned", "provision_mode_server").await;
    events.expect("shutdown", "provision_mode_server").await;
    events.expect("startup", "server").await;
    let token = read(&bare.path("server.jwt"));

    let refused = fleet(&bare, &client, "jwt", SECRET).await;
    assert_eq!(
        refused.statusmsg,
        "Cannot reconfigure a server that is not in provisioning mode"
    );
    let refused = fleet(&bare, &client, "reprovision", "wrong").await;
    assert_eq!(refused.statusmsg, "Incorrect provision token supplied");
    let done = fleet(&bare, &client, "reprovision", SECRET).await;
    assert_eq!(done.statuscode, StatusCode::Ok, "{}", done.statusmsg);
    let message = done.data["message"].as_str().unwrap();
    assert!(message.starts_with("Restarting after "), "{message}");
    assert!(read(&bare.path("server.conf")).contains("plugin.choria.server.provision=1"));
    events.expect("shutdown", "server").await;
    events.expect("startup", "provision_mode_server").await;

    let shown = bare.ask_well(&client, "jwt", json!({"nonce": "abc"})).await;
    assert_eq!(shown["server_jwt"], token);
    let public = overlay_tokens::Unverified::<overlay_tokens::claims::ServerClaims>::decode(&token)
        .unwrap()
        .claims_unverified()
        .standard
        .public_key
        .parse()
        .unwrap();
    let signature = shown["renewal_signature"].as_str().unwrap();
    overlay_tokens::verify_renewal(&public, "abc", signature).unwrap();
    // A new key does not replace the old one before there is a token for it.
    let made = bare
        .ask_well(&client, "gen25519", json!({"nonce": "x"}))
        .await;
    assert_eq!(read(&bare.path("server.jwt")), token);
    let again = bare.ask_well(&client, "jwt", json!({"nonce": "abd"})).await;
    assert_eq!(again["server_jwt"], token);
    let fresh = bare.server_token(made["public_key"].as_str().unwrap(), HOUR);
    let config = Value::Object(bare.settings()).to_string();
    bare.ask_well(
        &client,
        "configure",
        json!({"config": config, "server_jwt": fresh}),
    )
    .await;
    assert_eq!(read(&bare.path("server.jwt")), fresh);
    bare.ask_well(&client, "restart", json!({"splay": 1})).await;
    events.expect("provisioned", "provision_mode_server").await;
    events.expect("shutdown", "provision_mode_server").await;
    events.expect("startup", "server").await;
}

/// Asks a member as an operator does.
async fn fleet(bare: &Bare, client: &async_nats::Client, action: &str, secret: &str) -> RpcReply {
    let data = json!({"token": secret});
    let body = json!({"agent": "choria_provision", "action": action, "data": data});
    let who = Caller {
        caller: "provisioner=cell",
        sender: "ops.example.net",
    };
    let request = bare.request(
        who,
        "choria_provision",
        body.to_string().as_bytes(),
        "choria",
    );
    let secure = sign_request(
        request.encode(),
        &bare.provisioner.key,
        &bare.provisioner.token,
    );
    let mut transport = Transport::new(secure.encode());
    let reply_to = format!("choria.reply.abc.{}", request.time_ns);
    transport.reply = Some(reply_to.clone());
    let mut answers = client.subscribe(reply_to).await.unwrap();
    client
        .publish(format!("choria.node.{NODE}"), transport.encode().into())
        .await
        .unwrap();
    let message = tokio::time::timeout(WITHIN, answers.next())
        .await
        .unwrap()
        .unwrap();
    let (_, secure, _) = open(&message.payload);
    let reply = Reply::decode(&secure.reply, &Limits::default()).unwrap();
    RpcReply::decode(&reply.message, &Limits::default()).unwrap()
}

/// Invites the node with a token that pins an authority.
pub(crate) fn pin(bare: &Bare, sum: [u8; 32]) {
    let mut extensions = serde_json::Map::new();
    let overlay = OverlayExtension {
        ca_sha256: vec![sum],
        ..OverlayExtension::default()
    };
    overlay.write(&mut extensions);
    bare.invite(|token| token.extensions = Some(extensions));
}

/// The sum of the authority by which the broker is known.
pub(crate) fn authority(bare: &Bare) -> [u8; 32] {
    let ca = std::fs::read(bare.authority.ca_file()).unwrap();
    let der = <rustls::pki_types::CertificateDer<'_> as rustls::pki_types::pem::PemObject>::from_pem_slice(&ca).unwrap();
    Sha256::digest(&der).into()
}

#[tokio::test]
async fn a_pinned_authority_is_demanded_and_another_one_told_apart() {
    let bare = Bare::new();
    let client = bare.client().await;
    let mut events = Events::of(&client).await;
    pin(&bare, authority(&bare));
    let node = bare.start();
    events.expect("startup", "provision_mode_server").await;
    drop(node);
    pin(&bare, [7; 32]);
    let mut node = bare.start();
    let line = node.wait_for_line("could not connect", WITHIN);
    assert!(line.contains("that the provisioning token"), "{line}");
}

#[tokio::test]
async fn a_token_for_another_name_is_of_no_use() {
    let bare = Bare::new();
    let mut extensions = serde_json::Map::new();
    let overlay = OverlayExtension {
        identity: Some("n2.example.net".parse().unwrap()),
        ..OverlayExtension::default()
    };
    overlay.write(&mut extensions);
    bare.invite(|token| token.extensions = Some(extensions));
    let mut node = bare.start();
    assert_eq!(node.wait(WITHIN).code(), Some(78));
    assert!(
        node.stderr().contains("it is for `n2.example.net` only"),
        "{}",
        node.stderr()
    );
}

#[tokio::test]
async fn without_configuration_and_token_the_process_says_what_is_missing() {
    let bare = Bare::new();
    std::fs::remove_file(bare.path("provisioning.jwt")).unwrap();
    let mut node = bare.start();
    assert_eq!(node.wait(WITHIN).code(), Some(78));
    assert!(
        node.stderr().contains("put a provisioning.jwt"),
        "{}",
        node.stderr()
    );
}

#[tokio::test]
async fn registration_data_of_a_node_without_token_has_a_whole_envelope() {
    let bare = Bare::new();
    let file = bare.path("registration.json");
    std::fs::write(&file, r#"{"rack":7}"#).unwrap();
    bare.invite(|token| {
        token.registration = file.display().to_string();
        token.facts = file.display().to_string();
    });
    let client = bare.client().await;
    let mut data = client
        .subscribe("provisioning.registration.data")
        .await
        .unwrap();
    client.flush().await.unwrap();
    let _node = bare.start();
    let message = tokio::time::timeout(WITHIN, data.next())
        .await
        .unwrap()
        .unwrap();
    let limits = Limits::default();
    let transport = Transport::decode(&message.payload, &limits).unwrap();
    let secure =
        overlay_protocol::envelope::v2::SecureRequest::decode(&transport.data, &limits).unwrap();
    assert!(secure.is_unsigned());
    let request =
        overlay_protocol::envelope::v2::Request::decode(&secure.request, &limits).unwrap();
    assert_eq!(request.caller, format!("choria={NODE}"));
    assert_eq!(request.agent, "registration");
    let document: Value = serde_json::from_slice(&request.message).unwrap();
    assert_eq!(document["protocol"], "choria:registration:filecontent:1");
    assert_eq!(document["content"], "eyJyYWNrIjo3fQ==");
    assert_eq!(document["updated"], false);
    let found = bare
        .ask_agent(&client, PROVISIONER, "rpcutil", "inventory", json!({}))
        .await;
    assert_eq!(found.data["facts"], json!({"rack": 7}));
}

#[tokio::test]
async fn provision_case_27_a_member_whose_token_has_ended_starts_as_one_to_be_enrolled() {
    let mut bare = Bare::new();
    // The configuration is delivered beside a file of the operator's.
    bare.config_name = "server.toml";
    std::fs::write(bare.path("server.toml"), "[provisioning]\nrenew = false\n").unwrap();
    let client = bare.client().await;
    let mut events = Events::of(&client).await;
    let mut node = bare.start();
    events.expect("startup", "provision_mode_server").await;
    bare.configure(&client, Duration::from_secs(14)).await;
    bare.ask_well(&client, "restart", json!({"splay": 1})).await;
    events.expect("provisioned", "provision_mode_server").await;
    events.expect("shutdown", "provision_mode_server").await;
    events.expect("startup", "server").await;
    node.stop(WITHIN);
    events.expect("shutdown", "server").await;
    let ended = read(&bare.path("server.jwt"));
    let plan = overlay_tokens::Unverified::<overlay_tokens::claims::ServerClaims>::decode(&ended)
        .unwrap()
        .claims_unverified()
        .standard
        .expires_at()
        .unwrap();
    overlay_testkit::eventually(WITHIN, Duration::from_millis(100), async || {
        bare.now().secs > plan
    })
    .await;
    let _node = bare.start();
    events.expect("startup", "provision_mode_server").await;
    assert_eq!(
        bare.files(),
        ["provisioning.jwt", "server.conf", "server.toml"]
    );
}

#[tokio::test]
async fn a_member_that_verifies_its_broker_renews_with_nobody_else() {
    let bare = Bare::new();
    let client = bare.client().await;
    let mut events = Events::of(&client).await;
    let mut node = bare.start();
    events.expect("startup", "provision_mode_server").await;
    bare.configure(&client, Duration::from_secs(12)).await;
    bare.ask_well(&client, "restart", json!({"splay": 1})).await;
    events.expect("provisioned", "provision_mode_server").await;
    events.expect("shutdown", "provision_mode_server").await;
    events.expect("startup", "server").await;
    // Another broker, of another authority, poses as the one to be enrolled at.
    let another = Bare::new();
    bare.invite(|token| token.urls = vec![another.url()]);
    node.wait_for_line("asking for a new one on a second connection", WITHIN);
    let line = node.wait_for_line("could not connect", WITHIN);
    assert!(line.contains(&another.url()), "{line}");
    assert!(line.contains("certificate"), "{line}");
}

#[tokio::test]
async fn a_member_renews_on_a_second_connection_and_is_never_without_its_old_token() {
    let bare = Bare::new();
    let client = bare.client().await;
    let mut events = Events::of(&client).await;
    let node = bare.start();
    let pid = node.pid();
    events.expect("startup", "provision_mode_server").await;
    // Two thirds of its life pass before the node asks for another.
    bare.configure(&client, Duration::from_secs(24)).await;
    bare.ask_well(&client, "restart", json!({"splay": 1})).await;
    events.expect("provisioned", "provision_mode_server").await;
    events.expect("shutdown", "provision_mode_server").await;
    events.expect("startup", "server").await;
    let old = read(&bare.path("server.jwt"));
    let seed = read(&bare.path("server.seed"));
    let config = read(&bare.path("server.conf"));
    events.expect("startup", "provision_mode_server").await;

    let shown = bare.ask_well(&client, "jwt", json!({"nonce": "abc"})).await;
    assert_eq!(shown["server_jwt"], old);
    assert!(shown["renewal_signature"].is_string());
    let reply = bare.ask(&client, "restart", json!({"splay": 1})).await;
    assert_eq!(reply.statuscode, StatusCode::Aborted, "{}", reply.statusmsg);
    bare.configure(&client, HOUR).await;
    events.expect("provisioned", "provision_mode_server").await;
    // All of it lies beside the files that the member goes on living by.
    assert_eq!(read(&bare.path("server.jwt")), old);
    assert_eq!(read(&bare.path("server.seed")), seed);
    assert_eq!(read(&bare.path("server.conf")), config);
    let live = fleet(&bare, &client, "jwt", SECRET).await;
    assert_eq!(
        live.statusmsg,
        "Cannot reconfigure a server that is not in provisioning mode"
    );
    bare.ask_well(&client, "restart", json!({"splay": 1})).await;
    assert_ne!(read(&bare.path("server.jwt")), old);
    assert_ne!(read(&bare.path("server.seed")), seed);
    events.expect("shutdown", "provision_mode_server").await;
    events.expect("shutdown", "server").await;
    events.expect("startup", "server").await;
    assert_eq!(node.pid(), pid);
    assert_eq!(
        bare.files(),
        [
            "provisioning.jwt",
            "server.conf",
            "server.jwt",
            "server.seed"
        ]
    );
}
