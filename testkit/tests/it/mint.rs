use overlay_testkit::mint::{self, Authority, CalloutKeys, Organisation};
use overlay_testkit::{Broker, eventually};
use overlay_tokens::Unverified;
use overlay_tokens::claims::{ClientClaims, ServerClaims};
use overlay_tokens::issue::{ClientToken, ServerToken};

use crate::{LIMIT, PERIOD};

#[test]
fn tokens_verify_under_the_organisation_that_minted_them() {
    let organisation = Organisation::new();
    let chain = organisation.chain(ClientToken::new("up=signer"));
    let server = ServerToken {
        identity: "n1.example.net".to_owned(),
        ..ServerToken::default()
    };
    let clients = [
        organisation.client(ClientToken::new("up=rip")),
        chain.client(ClientToken::new("up=rip")),
        organisation.provisioner("provisioner"),
    ];
    for login in clients {
        let verified = Unverified::<ClientClaims>::decode(&login.token)
            .unwrap()
            .verify(&organisation.issuers(), mint::now())
            .unwrap();
        assert_eq!(verified.public_key().unwrap(), login.key.public());
    }
    for login in [organisation.server(server.clone()), chain.server(server)] {
        let token = Unverified::<ServerClaims>::decode(&login.token).unwrap();
        let issuers = organisation.issuers();
        assert!(token.verify(&issuers, mint::now()).is_ok());
        let stranger = Organisation::new().issuers();
        let token = Unverified::<ServerClaims>::decode(&login.token).unwrap();
        assert!(token.verify(&stranger, mint::now()).is_err());
    }
}

#[tokio::test]
async fn a_broker_with_tls_shows_a_certificate_of_the_authority() {
    let authority = Authority::new();
    let broker = Broker::builder()
        .tls(&authority.server("broker", &[]))
        .websocket()
        .start();
    for url in [broker.url(), broker.websocket_url().unwrap()] {
        let options = async_nats::ConnectOptions::new().require_tls(true);
        let trusting = options.clone().add_root_certificates(authority.ca_file());
        trusting.connect(url.as_str()).await.unwrap();
        let other = Authority::new();
        let wary = options.add_root_certificates(other.ca_file());
        assert!(wary.connect(url.as_str()).await.is_err());
    }
}

#[tokio::test]
async fn a_broker_with_callout_lets_its_static_users_in_and_asks_about_others() {
    let keys = CalloutKeys::new();
    let broker = Broker::builder().callout(&keys).start();
    let seed = keys.callout.seed().unwrap().to_string();
    let service = async_nats::ConnectOptions::with_nkey(seed)
        .connect(broker.url())
        .await
        .unwrap();
    let mut asked = service.subscribe("$SYS.REQ.USER.AUTH").await.unwrap();
    service.flush().await.unwrap();
    let request = async {
        let request = futures_util::StreamExt::next(&mut asked).await.unwrap();
        // Sealed for the service's curve key.
        let sender = request.headers.as_ref().unwrap().get("Nats-Server-Xkey");
        let plain = keys.curve.open(sender.unwrap().as_str(), &request.payload);
        assert!(plain.unwrap().starts_with(b"ey"));
    };
    // The first strangers may come before the broker knows of the subscription.
    let strangers = eventually(LIMIT, PERIOD, || async {
        let refused = async_nats::connect(broker.url()).await.is_err();
        assert!(refused);
        false
    });
    tokio::select! {
        () = request => {}
        () = strangers => {}
    }
}

#[tokio::test]
async fn the_streams_user_reaches_jetstream() {
    let keys = CalloutKeys::new();
    let dir = tempfile::tempdir().unwrap();
    keys.write(dir.path());
    let broker = Broker::builder().callout(&keys).start();
    let seed = std::fs::read_to_string(dir.path().join("streams.nk")).unwrap();
    let client = async_nats::ConnectOptions::with_nkey(seed)
        .connect(broker.url())
        .await
        .unwrap();
    eventually(LIMIT, PERIOD, || async {
        let answer = client.request("$JS.API.INFO", "".into()).await;
        answer.map(|message| assert!(message.payload.starts_with(b"{")))
    })
    .await;
}

#[test]
fn a_broker_takes_the_accounts_that_cells_are_delivered_with() {
    let keys = CalloutKeys::new();
    for sections in [&["vetted_events"][..], &["raw_events"][..], &[]] {
        let broker = Broker::builder()
            .jetstream()
            .max_control_line(65_536)
            .config(keys.cell_config(sections))
            .start();
        let accounts = broker.monitoring("/accountz")["accounts"].to_string();
        assert!(accounts.contains("provisioning"), "{accounts}");
    }
}
