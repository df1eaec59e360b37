//! Getting in, or being told why not.

use std::time::Duration;

use overlay_client::connection::BrokerError;
use overlay_client::{ConnectError, Connection, CredentialsError, Events};
use overlay_testkit::mint::{self, Authority, Organisation};
use overlay_testkit::{Broker, eventually};
use overlay_tokens::UnixTime;
use overlay_tokens::issue::ClientToken;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::cell::{self, load, load_text};

fn with_login() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    cell::operator(&Organisation::new()).write(dir.path(), "client");
    dir
}

fn tls_config(dir: &std::path::Path, broker: &Broker, more: &str) -> overlay_client::Config {
    let url = broker.url();
    let text = format!(
        "token_file = \"client.jwt\"\nseed_file = \"client.seed\"\n[broker]\nservers = [\"{url}\"]\n{more}"
    );
    load_text(dir, &text)
}

#[tokio::test]
async fn a_refused_login_is_an_error_at_once() {
    let broker = Broker::builder()
        .max_control_line(65_536)
        .config("authorization { user: a, password: b }")
        .start();
    let dir = with_login();
    let started = Instant::now();
    let error = Connection::open(&load(dir.path(), &broker.url(), ""), "test")
        .await
        .unwrap_err();
    assert!(
        matches!(&error, ConnectError::Refused { caller, .. } if caller == "up=bob"),
        "{error:?}"
    );
    assert!(started.elapsed() < Duration::from_secs(15));
}

/// Offers `nonce` to everybody, and hears what the first one says to it until the end.
async fn offer(listener: TcpListener, nonce: &str) -> String {
    let (mut stream, _) = listener.accept().await.unwrap();
    let info = serde_json::json!({
        "server_id": "x", "version": "2.12.0", "headers": true, "max_payload": 1_048_576, "nonce": nonce,
    });
    stream
        .write_all(format!("INFO {info}\r\n").as_bytes())
        .await
        .unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).await.unwrap();
    said
}

#[tokio::test]
async fn a_broker_has_nothing_signed_but_a_nonce() {
    for (offered, why) in [
        ("", "offers no nonce"),
        (
            r#"{"protocol":"io.choria.protocol.v2.request"}"#,
            "not a nonce",
        ),
        ("eyJhbGciOiJFZERTQSIsInR5cCI6IkpXVCJ9.e30", "not a nonce"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("nats://{}", listener.local_addr().unwrap());
        let dir = with_login();
        let config = load(dir.path(), &url, "");
        let (said, opened) =
            tokio::join!(offer(listener, offered), Connection::open(&config, "test"));
        assert_eq!(said, "");
        let error = opened.unwrap_err();
        assert!(matches!(error, ConnectError::NotANonce { .. }), "{error:?}");
        let told = format!("{:#}", anyhow::Error::from(error));
        assert!(told.contains(&url) && told.contains(why), "{told}");
    }
}

#[tokio::test]
async fn a_broker_that_is_not_there_is_given_up_in_time() {
    let dir = with_login();
    let mut config = load(dir.path(), "nats://127.0.0.1:1", "");
    config.connect_timeout = Duration::from_millis(700);
    let started = Instant::now();
    let error = Connection::open(&config, "test").await.unwrap_err();
    assert!(
        matches!(
            error,
            ConnectError::Unreachable {
                source: Some(_),
                ..
            }
        ),
        "{error:?}"
    );
    assert!(started.elapsed() < Duration::from_secs(15));
}

#[tokio::test]
async fn a_broker_that_comes_up_late_is_reached() {
    let mut broker = Broker::builder().max_control_line(65_536).start();
    let dir = with_login();
    let config = load(dir.path(), &broker.url(), "");
    broker.stop();
    let (opened, ()) = tokio::join!(Connection::open(&config, "test"), async {
        tokio::task::yield_now().await;
        broker.start_again();
    });
    opened.unwrap();
}

#[tokio::test]
async fn an_unknown_certificate_is_refused_unless_it_is_wanted_so() {
    let authority = Authority::new();
    let broker = Broker::builder()
        .tls(&authority.server("broker", &[]))
        .start();
    let dir = with_login();
    let error = Connection::open(&tls_config(dir.path(), &broker, ""), "test")
        .await
        .unwrap_err();
    assert!(matches!(error, ConnectError::Untrusted { .. }), "{error:?}");

    let ca = format!("ca_file = \"{}\"", authority.ca_file().display());
    Connection::open(&tls_config(dir.path(), &broker, &ca), "test")
        .await
        .unwrap();
    Connection::open(&tls_config(dir.path(), &broker, "verify = false"), "test")
        .await
        .unwrap();

    let other = Authority::new();
    let ca = format!("ca_file = \"{}\"", other.ca_file().display());
    let error = Connection::open(&tls_config(dir.path(), &broker, &ca), "test")
        .await
        .unwrap_err();
    assert!(matches!(error, ConnectError::Untrusted { .. }), "{error:?}");
}

#[tokio::test]
async fn a_broker_without_tls_gets_no_token() {
    let broker = Broker::plain();
    let dir = with_login();
    let mut config = tls_config(dir.path(), &broker, "");
    config.connect_timeout = Duration::from_millis(500);
    let error = Connection::open(&config, "test").await.unwrap_err();
    assert!(
        matches!(
            error,
            ConnectError::Unreachable { .. } | ConnectError::Untrusted { .. }
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn own_files_that_nobody_would_accept_are_told_before_connecting() {
    let dir = with_login();
    let config = load(dir.path(), "nats://127.0.0.1:1", "");
    let refused = async |config| match Connection::open(config, "test").await.unwrap_err() {
        ConnectError::Credentials(error) => error,
        other @ (ConnectError::Tls(_)
        | ConnectError::Url(_)
        | ConnectError::Refused { .. }
        | ConnectError::Untrusted { .. }
        | ConnectError::Undecided { .. }
        | ConnectError::NotANonce { .. }
        | ConnectError::Unreachable { .. }) => panic!("{other:?}"),
    };

    let organisation = Organisation::new();
    let day = 24 * 3600;
    let yesterday = UnixTime::from_secs(mint::now().secs - day);
    let expired = organisation.client_at(ClientToken::new("up=bob"), yesterday);
    expired.write(dir.path(), "client");
    assert!(matches!(
        refused(&config).await,
        CredentialsError::Token { .. }
    ));

    let other = cell::operator(&organisation);
    cell::operator(&organisation).write(dir.path(), "client");
    std::fs::write(dir.path().join("client.jwt"), &other.token).unwrap();
    assert!(matches!(
        refused(&config).await,
        CredentialsError::OtherKey { .. }
    ));

    std::fs::write(dir.path().join("client.seed"), "not a seed").unwrap();
    assert!(matches!(
        refused(&config).await,
        CredentialsError::ReadSeed { .. }
    ));

    std::fs::remove_file(dir.path().join("client.jwt")).unwrap();
    assert!(matches!(
        refused(&config).await,
        CredentialsError::ReadToken { .. }
    ));
}

#[tokio::test]
async fn rpc_case_32_inboxes_have_the_callers_prefix() {
    let broker = Broker::builder()
        .jetstream()
        .max_control_line(65_536)
        .config(
            r#"authorization { users = [ {user: bob, password: secret,
                permissions: {publish: ">", subscribe: "*.reply.>"}} ] }"#,
        )
        .start();
    let dir = with_login();
    std::fs::write(dir.path().join("password"), "secret").unwrap();
    let config = load(
        dir.path(),
        &broker.url(),
        "user = \"bob\"\npassword_file = \"password\"\n",
    );
    let connection = Connection::open(&config, "test").await.unwrap();
    let inbox = connection.nats().new_inbox();
    assert!(
        inbox.starts_with("choria.reply.72dc525f8fe0064c0372c1fb3d729560."),
        "{inbox}"
    );
    let answer = connection
        .nats()
        .request("$JS.API.INFO", "".into())
        .await
        .unwrap();
    assert!(String::from_utf8_lossy(&answer.payload).contains("account_info_response"));
}

#[tokio::test]
async fn a_lost_connection_is_noticed() {
    let mut broker = Broker::builder().max_control_line(65_536).start();
    let dir = with_login();
    let connection = Connection::open(&load(dir.path(), &broker.url(), ""), "test")
        .await
        .unwrap();
    broker.restart();
    eventually(
        Duration::from_secs(20),
        Duration::from_millis(20),
        || async {
            if connection.take_notices().disconnects > 0 {
                Ok(())
            } else {
                Err("still connected")
            }
        },
    )
    .await;
}

#[tokio::test]
async fn a_subscription_that_is_not_allowed_is_an_error() {
    let broker = Broker::builder()
        .config(
            r#"authorization { users = [ {user: bob, password: secret,
                permissions: {publish: ">", subscribe: "*.reply.>"}} ] }"#,
        )
        .start();
    let dir = with_login();
    std::fs::write(dir.path().join("password"), "secret").unwrap();
    let config = load(
        dir.path(),
        &broker.url(),
        "user = \"bob\"\npassword_file = \"password\"\n",
    );
    let connection = Connection::open(&config, "test").await.unwrap();
    let error = Events::watch(&connection).await.unwrap_err();
    assert!(
        matches!(&error, BrokerError::NotAllowed(why) if why.contains("choria.lifecycle.event.>")),
        "{error:?}"
    );
}
