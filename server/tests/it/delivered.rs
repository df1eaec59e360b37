//! What a provisioner delivers is judged before a node goes by it: on files without a broker, and by nodes as processes.

use std::time::Duration;

use overlay_protocol::rpc::StatusCode;
use overlay_server::config::Tls;
use overlay_server::provisioning::{Stance, Standing};
use overlay_tokens::claims::OverlayExtension;
use overlay_tokens::issue::ProvisioningToken;
use serde_json::json;

use crate::applicant::{Desk, config};
use crate::bare::{authority, pin};
use crate::support::bare::{Bare, Events, NODE, WITHIN};
use crate::support::read;

const HOUR: Duration = Duration::from_secs(3600);

/// An invitation that pins an authority.
fn pinned(token: &mut ProvisioningToken) {
    let mut extensions = serde_json::Map::new();
    let overlay = OverlayExtension {
        ca_sha256: vec![[7; 32]],
        ..OverlayExtension::default()
    };
    overlay.write(&mut extensions);
    token.extensions = Some(extensions);
}

#[test]
fn a_node_whose_invitation_pins_its_brokers_takes_no_configuration_that_leaves_them_unverified() {
    let ca = |desk: &Desk| desk.path("ssl/ca.pem").display().to_string();
    let desk = Desk::with(Stance::Unprovisioned, pinned);
    let public = desk.key();
    let token = desk.server_token(NODE, &public);
    let before = desk.files();
    let ssl = desk.path("ssl").display().to_string();
    let careless = [
        json!({"config": config(), "server_jwt": token}),
        // What comes does not count unless the configuration names it.
        json!({"config": config(), "server_jwt": token, "certificate": "C", "ca": "A", "ssldir": ssl}),
    ];
    for data in careless {
        let message = desk.refused("configure", data);
        assert!(
            message.starts_with("Could not write config: brokers would not be verified"),
            "{message}"
        );
    }
    assert_eq!(desk.files(), before);
    let settings = json!({
        "identity": NODE, "rpcauthorization": "0", "plugin.security.provider": "choria",
        "plugin.choria.middleware_hosts": "nats://127.0.0.1:1", "plugin.security.choria.ca": ca(&desk),
        "plugin.security.issuer.names": "choria",
        "plugin.security.issuer.choria.public": desk.org.public().to_string(),
    })
    .to_string();
    // Authorities without a certificate are not kept, as with Choria: the file that is named is not there.
    let mut data = json!({"config": settings, "server_jwt": token, "ca": "A", "ssldir": ssl});
    desk.well("configure", data.clone());
    let message = desk.refused("restart", json!({"splay": 1}));
    assert!(message.contains("broker.ca_file"), "{message}");
    data["certificate"] = "C".into();
    desk.well("configure", data);
    desk.well("restart", json!({"splay": 1}));
    // Without a pin it is as with Choria.
    let desk = Desk::new(Stance::Unprovisioned);
    desk.well("configure", json!({"config": config()}));
}

#[test]
fn a_renewal_into_files_that_are_not_there_is_refused_and_those_that_come_with_it_are() {
    let mut desk = Desk::new(Stance::Renewing);
    let old = desk.path("ca.pem");
    std::fs::write(&old, "").unwrap();
    let text = |name: &str| desk.path(name).display().to_string();
    let mut settings = json!({
        "identity": NODE, "rpcauthorization": "0", "plugin.security.provider": "choria",
        "plugin.choria.middleware_hosts": "nats://127.0.0.1:1",
        "plugin.security.choria.ca": text("ca.pem"),
        "plugin.security.choria.token_file": text("server.jwt"),
        "plugin.security.choria.seed_file": text("server.seed"),
        "plugin.security.issuer.names": "choria",
        "plugin.security.issuer.choria.public": desk.org.public().to_string(),
        "rpcaudit": "1", "plugin.rpcaudit.logfile": text("missing/audit.log"),
    });
    let (audit, ca, ssl) = (text("audit.log"), text("ssl/ca.pem"), text("ssl"));
    desk.applicant = desk.applicant.with_standing(Some(Standing {
        issuers: desk.org.issuers(),
        signers: Some(json!([])),
        tls: Tls::Verified(old),
    }));
    let public = desk.key();
    let token = desk.server_token(NODE, &public);
    let before = desk.files();
    let data = json!({"config": settings.to_string(), "server_jwt": token});
    let message = desk.refused("configure", data);
    assert!(
        message.starts_with("Could not write config: ") && message.contains("audit.file"),
        "{message}"
    );
    settings["plugin.rpcaudit.logfile"] = audit.into();
    settings["plugin.security.choria.ca"] = ca.into();
    let mut data = json!({"config": settings.to_string(), "server_jwt": token});
    let message = desk.refused("configure", data.clone());
    assert!(message.contains("broker.ca_file"), "{message}");
    assert_eq!(desk.files(), before);
    data["certificate"] = "C".into();
    data["ca"] = "A".into();
    data["ssldir"] = ssl.into();
    desk.well("configure", data);
    assert!(!desk.path("ssl/ca.pem").exists());
    desk.well("restart", json!({"splay": 1}));
    assert_eq!(desk.read("ssl/ca.pem"), "A");
    assert_eq!(desk.read("server.jwt"), token);
}

#[tokio::test]
async fn a_node_that_demanded_its_broker_does_not_become_a_member_that_takes_any() {
    let bare = Bare::new();
    pin(&bare, authority(&bare));
    let client = bare.client().await;
    let mut events = Events::of(&client).await;
    let _node = bare.start();
    events.expect("startup", "provision_mode_server").await;
    let mut settings = bare.settings();
    settings.remove("plugin.security.choria.ca");
    let reply = bare.deliver(&client, &settings, HOUR).await;
    assert_eq!(reply.statuscode, StatusCode::Aborted);
    assert!(
        reply
            .statusmsg
            .starts_with("Could not write config: brokers would not be verified"),
        "{}",
        reply.statusmsg
    );
    assert_eq!(bare.files(), ["provisioning.jwt", "server.seed"]);
    let reply = bare.ask(&client, "restart", json!({"splay": 1})).await;
    assert_eq!(reply.statuscode, StatusCode::Aborted, "{}", reply.statusmsg);
    // With its authority it becomes one.
    bare.configure(&client, HOUR).await;
    bare.ask_well(&client, "restart", json!({"splay": 1})).await;
    events.expect("provisioned", "provision_mode_server").await;
    events.expect("shutdown", "provision_mode_server").await;
    events.expect("startup", "server").await;
}

#[tokio::test]
async fn a_member_whose_delivered_files_are_gone_can_be_enrolled_and_goes_on_once_they_are_there() {
    let bare = Bare::new();
    let logs = bare.path("logs");
    std::fs::create_dir(&logs).unwrap();
    let mut settings = bare.settings();
    settings.insert("rpcaudit".to_owned(), "1".into());
    let file = logs.join("audit.log").display().to_string();
    settings.insert("plugin.rpcaudit.logfile".to_owned(), file.into());
    let client = bare.client().await;
    let mut events = Events::of(&client).await;
    let mut node = bare.start();
    events.expect("startup", "provision_mode_server").await;
    let reply = bare.deliver(&client, &settings, HOUR).await;
    assert_eq!(reply.statuscode, StatusCode::Ok, "{}", reply.statusmsg);
    // Gone before the restart, they keep the node where somebody can help it.
    std::fs::remove_dir(&logs).unwrap();
    let reply = bare.ask(&client, "restart", json!({"splay": 1})).await;
    assert_eq!(reply.statuscode, StatusCode::Aborted);
    assert!(
        reply.statusmsg.contains("audit.file"),
        "{}",
        reply.statusmsg
    );
    std::fs::create_dir(&logs).unwrap();
    bare.ask_well(&client, "restart", json!({"splay": 1})).await;
    events.expect("provisioned", "provision_mode_server").await;
    events.expect("shutdown", "provision_mode_server").await;
    events.expect("startup", "server").await;
    node.stop(WITHIN);
    events.expect("shutdown", "server").await;

    let token = read(&bare.path("server.jwt"));
    std::fs::remove_dir_all(&logs).unwrap();
    let node = bare.start();
    let pid = node.pid();
    events.expect("startup", "provision_mode_server").await;
    assert!(node.stderr().contains("audit.file"), "{}", node.stderr());
    std::fs::create_dir(&logs).unwrap();
    events.expect("shutdown", "provision_mode_server").await;
    events.expect("startup", "server").await;
    assert_eq!(node.pid(), pid);
    assert_eq!(read(&bare.path("server.jwt")), token);

    // Until then it can be enrolled anew, and proves who it was.
    drop(node);
    std::fs::remove_dir_all(&logs).unwrap();
    let _node = bare.start();
    events.expect("startup", "provision_mode_server").await;
    let shown = bare.ask_well(&client, "jwt", json!({"nonce": "abc"})).await;
    assert_eq!(shown["server_jwt"], token);
    std::fs::create_dir(&logs).unwrap();
    bare.deliver(&client, &settings, HOUR).await;
    bare.ask_well(&client, "restart", json!({"splay": 1})).await;
    events.expect("provisioned", "provision_mode_server").await;
    events.expect("shutdown", "provision_mode_server").await;
    events.expect("startup", "server").await;
    assert_ne!(read(&bare.path("server.jwt")), token);
}
