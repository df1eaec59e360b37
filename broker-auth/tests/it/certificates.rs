//! Connections that show a certificate, and leaf nodes.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use overlay_testkit::{Broker, TlsFiles};
use overlay_tokens::issue::ClientToken;

use crate::cell::{self, Parts, Service};
use crate::login::{client, fleet};

/// A broker whose websocket port demands certificates, and a service that counts them as `permissions` says.
fn verifying(permissions: &str) -> (Parts, Broker, Service, u16) {
    let parts = Parts::new();
    let port = overlay_testkit::free_port();
    let TlsFiles { ca, cert, key } = &parts.tls;
    let websocket = format!(
        "websocket {{ listen: \"127.0.0.1:{port}\", tls {{ cert_file: {cert:?}, key_file: {key:?}, ca_file: {ca:?}, verify: true }} }}"
    );
    let broker = Broker::builder()
        .tls(&parts.tls)
        .callout(&parts.keys)
        .config(websocket)
        .start();
    let service = parts.service(
        &[broker.port()],
        &format!("[certificates]\npermissions = \"{permissions}\"\n"),
    );
    (parts, broker, service, port)
}

fn options(parts: &Parts) -> async_nats::ConnectOptions {
    let own = parts.authority.client("bridge");
    async_nats::ConnectOptions::new()
        .add_root_certificates(parts.authority.ca_file())
        .add_client_certificate(own.cert, own.key)
}

#[tokio::test]
async fn case_39_a_certificate_alone_publishes_away_from_the_fleet() {
    let (parts, _broker, service, port) = verifying("pubsub");
    let (sender, mut errors) = tokio::sync::mpsc::channel(16);
    let bridge = options(&parts)
        .event_callback(move |event| {
            let sender = sender.clone();
            async move {
                drop(sender.send(event.to_string()).await);
            }
        })
        .connect(format!("wss://127.0.0.1:{port}"))
        .await
        .unwrap();
    let mut heard = bridge.subscribe("foo").await.unwrap();
    bridge.publish("foo", "x".into()).await.unwrap();
    let message = tokio::time::timeout(cell::SOON, futures_util::StreamExt::next(&mut heard)).await;
    assert_eq!(message.unwrap().unwrap().payload, "x");
    bridge
        .publish("choria.lifecycle.x", "x".into())
        .await
        .unwrap();
    bridge.flush().await.unwrap();
    loop {
        let error = tokio::time::timeout(cell::SOON, errors.recv())
            .await
            .unwrap()
            .unwrap();
        if error.to_lowercase().contains("permissions violation") {
            break;
        }
    }
    assert_eq!(
        service.metric("overlay_broker_auth_logins_allowed_total{role=\"certificate\"}"),
        1.0
    );
}

#[tokio::test]
async fn case_39_a_certificate_that_does_not_count_lets_nobody_in() {
    let (parts, _broker, service, port) = verifying("ignored");
    assert!(
        options(&parts)
            .connect(format!("wss://127.0.0.1:{port}"))
            .await
            .is_err()
    );
    assert_eq!(service.refused("certificate_alone"), 1.0);
    // A token beside it is judged by itself.
    let login = parts.organisation.client(ClientToken::new("up=rip"));
    let own = parts.authority.client("own");
    async_nats::ConnectOptions::with_auth_callback(move |nonce| {
        let (key, token) = (login.key.clone(), login.token.clone());
        async move {
            let mut auth = async_nats::Auth::new();
            auth.token = Some(token);
            auth.signature = Some(key.sign(&nonce).to_vec());
            Ok(auth)
        }
    })
    .add_root_certificates(parts.authority.ca_file())
    .add_client_certificate(own.cert, own.key)
    .connect(format!("wss://127.0.0.1:{port}"))
    .await
    .unwrap();
}

#[tokio::test]
async fn provision_case_07_a_node_that_shows_a_verified_certificate_is_no_new_one() {
    let (parts, _broker, service, port) = verifying("pubsub");
    let token = crate::login::provisioning_token(&parts.organisation);
    let own = parts.authority.client("n1");
    let connected = async_nats::ConnectOptions::with_token(token)
        .name("n1")
        .add_root_certificates(parts.authority.ca_file())
        .add_client_certificate(own.cert, own.key)
        .connect(format!("wss://127.0.0.1:{port}"))
        .await;
    assert!(connected.is_err());
    assert_eq!(service.refused("provisioning_with_certificate"), 1.0);
}

#[test]
fn case_40_a_leaf_node_with_a_token_is_refused() {
    let parts = Parts::new();
    let port = overlay_testkit::free_port();
    let leaf = format!("leafnodes {{ listen: \"127.0.0.1:{port}\", no_advertise: true }}");
    let broker = Broker::builder()
        .tls(&parts.tls)
        .callout(&parts.keys)
        .config(leaf)
        .start();
    let service = parts.service(&[broker.port()], "");
    let connect = client(&parts.organisation, fleet());
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let mut bytes = [0; 4096];
    let read = stream.read(&mut bytes).unwrap();
    let info = String::from_utf8_lossy(&bytes[..read]).into_owned();
    let info: serde_json::Value =
        serde_json::from_str(info.lines().next().unwrap().strip_prefix("INFO ").unwrap()).unwrap();
    let sig = overlay_tokens::sign_nonce(
        connect.key.as_ref().unwrap(),
        info["nonce"].as_str().unwrap(),
    )
    .unwrap();
    let json = serde_json::json!({
        "name": "leaf", "server_id": "NLEAF", "auth_token": connect.token, "sig": sig, "user": "u", "pass": "p",
        "headers": true, "jetstream": false, "version": "2.15.1",
    });
    stream
        .write_all(format!("CONNECT {json}\r\nPING\r\n").as_bytes())
        .unwrap();
    let mut told = Vec::new();
    // The broker closes a refused leaf; a reset is as good.
    let _closed = stream.read_to_end(&mut told);
    let told = String::from_utf8_lossy(&told).into_owned();
    assert!(told.contains("Authorization Violation"), "{told}");
    assert_eq!(service.refused("leaf_node"), 1.0);
}
