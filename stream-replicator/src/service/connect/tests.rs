use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::StreamExt as _;
use nkeys::KeyPair;
use overlay_runtime::Status;
use overlay_testkit::mint::{Authority, CalloutKeys, Login as Minted, Organisation, now};
use overlay_testkit::{Broker, eventually};
use overlay_tokens::broker_jwt::{
    CalloutRequest, Permissions, UserJwt, decode_request, encode_response, encode_user,
};
use overlay_tokens::claims::ClientClaims;
use overlay_tokens::issue::ClientToken;
use overlay_tokens::{Unverified, verify_nonce};
use serde_json::{Value, json};

use super::*;
use crate::config::{Login, Tls};

const LIMIT: Duration = Duration::from_secs(30);
const PERIOD: Duration = Duration::from_millis(50);

fn endpoint(url: &str, login: Login) -> Endpoint {
    Endpoint {
        servers: vec![url.parse().unwrap()],
        tls: Tls::default(),
        login,
        api_prefix: None,
        attempt_limit: Duration::from_secs(5),
    }
}

/// What readiness says of the connection `test`.
fn told(cx: &Context) -> String {
    match cx.readiness.report().parts.get("broker:test") {
        Some(Status::Down(why)) => why.clone(),
        Some(Status::Up) => "up".to_owned(),
        None => "nothing".to_owned(),
    }
}

async fn until_told(cx: &Context, part: &str) {
    eventually(LIMIT, PERIOD, || async { told(cx).contains(part) }).await;
}

fn write(dir: &Path, name: &str, content: &str) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, content).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path
}

/// Signs claims as NATS does.
fn jwt(issuer: &KeyPair, subject: &str, exp: Option<i64>, nats: &Value) -> String {
    let header = URL_SAFE_NO_PAD.encode(r#"{"typ":"JWT","alg":"ed25519-nkey"}"#);
    let mut claims = json!({
        "jti": subject, "iat": now().secs, "iss": issuer.public_key(), "sub": subject,
        "name": "test", "nats": nats,
    });
    if let Some(exp) = exp {
        claims["exp"] = exp.into();
    }
    let body = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
    let signature = issuer.sign(body.as_bytes()).unwrap();
    format!("{body}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// A broker whose users have JWTs, and the account that signs these.
fn operator_mode() -> (Broker, KeyPair) {
    let (operator, account) = (KeyPair::new_operator(), KeyPair::new_account());
    let own = json!({ "type": "operator", "version": 2 });
    let operator_jwt = jwt(&operator, &operator.public_key(), None, &own);
    let limits = json!({
        "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1,
    });
    let account_claims = json!({ "type": "account", "version": 2, "limits": limits });
    let id = account.public_key();
    let account_jwt = jwt(&operator, &id, None, &account_claims);
    let broker = Broker::builder()
        .config(format!(
            "operator: {operator_jwt}\nresolver: MEMORY\nresolver_preload: {{ {id}: {account_jwt} }}\n"
        ))
        .start();
    (broker, account)
}

fn credentials(account: &KeyPair, user: &KeyPair, exp: i64) -> String {
    let claims = json!({ "type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1 });
    let token = jwt(account, &user.public_key(), Some(exp), &claims);
    let seed = user.seed().unwrap();
    format!(
        "-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    )
}

#[tokio::test]
async fn sr_case_52_renewed_credentials_are_shown_at_the_next_login() {
    let (broker, account) = operator_mode();
    let user = KeyPair::new_user();
    let dir = tempfile::tempdir().unwrap();
    let short = credentials(&account, &user, now().secs + 3);
    let file = write(dir.path(), "user.creds", &short);
    let cx = Context::new().unwrap();
    let login = Login::Credentials {
        file: file.clone(),
        seed_file: None,
    };
    let endpoint = endpoint(&broker.url(), login);
    let links = Links::new(&cx);
    let link = links.open("test", &endpoint, &cx.shutdown).await.unwrap();
    assert_eq!((link.generation(), told(&cx).as_str()), (1, "up"));

    // The broker ends the connection; what is tried then is refused, and readiness names the file.
    eventually(LIMIT, PERIOD, || async { !link.is_up() }).await;
    until_told(
        &cx,
        &format!("the user JWT in {} expired at ", file.display()),
    )
    .await;
    write(
        dir.path(),
        "user.creds",
        &credentials(&account, &user, now().secs + 3600),
    );
    eventually(LIMIT, PERIOD, || async { link.is_up() }).await;
    assert!(link.generation() > 1);
    until_told(&cx, "up").await;
    assert!(matches!(*link.events.borrow(), LinkState::Connected(again) if again > 1));
}

/// A login service: lets in whoever shows a token of the organisation and signs the nonce, until the token expires.
struct LoginService {
    client: Client,
    requests: async_nats::Subscriber,
}

impl LoginService {
    async fn start(port: u16, keys: &CalloutKeys, authority: &Authority) -> Self {
        let client = ConnectOptions::with_nkey(keys.callout.seed().unwrap().to_string())
            .add_root_certificates(authority.ca_file())
            .connect(format!("tls://127.0.0.1:{port}"))
            .await
            .unwrap();
        let requests = client.subscribe("$SYS.REQ.USER.AUTH").await.unwrap();
        client.flush().await.unwrap();
        Self { client, requests }
    }

    async fn serve(mut self, keys: &CalloutKeys, org: &Organisation) {
        while let Some(request) = self.requests.next().await {
            let asked = decode_request(&request.payload, keys.account.public(), now()).unwrap();
            let user = |expires| {
                let user = UserJwt {
                    account: "choria".to_owned(),
                    name: "replicator".to_owned(),
                    expires,
                    permissions: Permissions {
                        pub_allow: vec![">".to_owned()],
                        sub_allow: vec![">".to_owned()],
                        ..Permissions::default()
                    },
                    ..UserJwt::default()
                };
                encode_user(&user, &asked.user_nkey, &keys.account, now()).unwrap()
            };
            let verdict = judge(&asked, org).map(user);
            let answer = encode_response(
                verdict.as_deref().map_err(String::as_str),
                &asked.user_nkey,
                &asked.server_id.id,
                &keys.account,
                now(),
            );
            let reply = request.reply.unwrap();
            self.client
                .publish(reply, answer.unwrap().into())
                .await
                .unwrap();
        }
    }
}

/// When the token that was shown expires.
fn judge(asked: &CalloutRequest, org: &Organisation) -> Result<Option<i64>, String> {
    let shown = &asked.connect_opts;
    let claims = Unverified::<ClientClaims>::decode(shown.auth_token.expose())
        .map_err(|error| error.to_string())?
        .verify(&org.issuers(), now())
        .map_err(|error| error.to_string())?
        .into_claims()
        .standard;
    let key = claims.public_key.parse().map_err(|_| "no key")?;
    verify_nonce(&key, &asked.client_info.nonce, &shown.sig).map_err(|e| e.to_string())?;
    Ok(claims.expires_at())
}

fn token(org: &Organisation, seconds: u64) -> Minted {
    org.client(ClientToken {
        validity: Duration::from_secs(seconds),
        ..ClientToken::new("replicator=lon")
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn sr_case_52_a_renewed_choria_token_is_shown_at_the_next_login() {
    let (keys, authority) = (CalloutKeys::new(), Authority::new());
    let org = Organisation::new();
    let broker = Broker::builder()
        .tls(&authority.server("broker", &[]))
        .jetstream()
        .max_control_line(65_536)
        .config(keys.config_unsealed())
        .start();
    let service = LoginService::start(broker.port(), &keys, &authority).await;
    let test = async {
        let dir = tempfile::tempdir().unwrap();
        let (token_file, seed_file) = token(&org, 4).write(dir.path(), "cell");
        let mut endpoint = endpoint(
            &format!("tls://127.0.0.1:{}", broker.port()),
            Login::Choria {
                token_file: token_file.clone(),
                seed_file,
                collective: "mine".parse().unwrap(),
            },
        );
        endpoint.tls.ca_file = Some(authority.ca_file());
        let cx = Context::new().unwrap();
        let links = Links::new(&cx);
        let opening = links.open("test", &endpoint, &cx.shutdown);
        let Ok(link) = tokio::time::timeout(LIMIT, opening).await else {
            panic!("{}: {}", told(&cx), broker.log());
        };
        let link = link.unwrap();
        let uid = overlay_tokens::claims::unique_id("replicator=lon");
        let inbox = link.client.new_inbox();
        assert!(inbox.starts_with(&format!("mine.reply.{uid}.")), "{inbox}");

        eventually(LIMIT, PERIOD, || async { !link.is_up() }).await;
        until_told(&cx, &token_file.display().to_string()).await;
        until_told(&cx, "token has expired").await;
        // Another's token has another inbox: it is not taken.
        let other = org.client(ClientToken::new("replicator=other"));
        other.write(dir.path(), "cell");
        until_told(&cx, "is now of `replicator=other`").await;
        token(&org, 3600).write(dir.path(), "cell");
        eventually(LIMIT, PERIOD, || async { link.is_up() }).await;
        until_told(&cx, "up").await;
    };
    tokio::select! {
        () = test => {}
        () = service.serve(&keys, &org) => panic!("the login service ended"),
    }
}

#[tokio::test]
async fn files_that_come_late_are_waited_for() {
    let broker = Broker::plain();
    let dir = tempfile::tempdir().unwrap();
    let password_file = dir.path().join("password");
    let login = Login::Password {
        user: "me".to_owned(),
        password_file: password_file.clone(),
    };
    let endpoint = endpoint(&broker.url(), login);
    let cx = Context::new().unwrap();
    let links = Links::new(&cx);
    let late = async {
        until_told(&cx, &password_file.display().to_string()).await;
        write(dir.path(), "password", "secret\n");
    };
    let (link, ()) = tokio::join!(links.open("test", &endpoint, &cx.shutdown), late);
    assert!(link.unwrap().is_up());
}

#[tokio::test]
async fn a_stop_ends_the_attempts() {
    let mut broker = Broker::plain();
    let url = broker.url();
    broker.stop();
    let cx = Context::new().unwrap();
    let links = Links::new(&cx);
    let (stop, nowhere) = (CancellationToken::new(), endpoint(&url, Login::None));
    let stopping = async {
        until_told(&cx, "refused").await;
        stop.cancel();
    };
    let (link, ()) = tokio::join!(links.open("test", &nowhere, &stop), stopping);
    assert!(matches!(link, Err(LinkError::Stopped)));
}

#[tokio::test]
async fn a_certificate_of_nobody_is_believed_only_by_name() {
    let authority = Authority::new();
    let files = authority.server("broker", &[]);
    let own = authority.client("replicator");
    let tls = format!(
        "tls {{ cert_file: {:?}, key_file: {:?}, ca_file: {:?}, verify: true }}",
        files.cert, files.key, files.ca
    );
    let broker = Broker::builder().config(tls).start();
    let cx = Context::new().unwrap();
    let links = Links::new(&cx);
    let url = format!("tls://127.0.0.1:{}", broker.port());
    let mut endpoint = endpoint(&url, Login::None);
    endpoint.tls.own = Some((own.cert, own.key));
    {
        let opening = links.open("test", &endpoint, &cx.shutdown);
        tokio::select! {
            _link = opening => panic!("a broker that nobody vouches for is believed"),
            () = until_told(&cx, "certificate") => {}
        }
    }
    let insecure = Endpoint {
        tls: Tls {
            insecure: true,
            ..endpoint.tls.clone()
        },
        ..endpoint.clone()
    };
    let link = links.open("test", &insecure, &cx.shutdown).await.unwrap();
    assert!(link.is_up());
    endpoint.tls.ca_file = Some(authority.ca_file());
    let link = links.open("test", &endpoint, &cx.shutdown).await.unwrap();
    assert!(link.is_up());
}

#[tokio::test]
async fn a_user_in_the_address_logs_in_and_tls_that_is_wanted_is_not_done_without() {
    let broker = Broker::builder()
        .config("authorization { user: me, password: \"s@cret\" }")
        .start();
    let cx = Context::new().unwrap();
    let links = Links::new(&cx);
    let url = format!("nats://me:s%40cret@127.0.0.1:{}", broker.port());
    let mut endpoint = endpoint(&url, Login::None);
    let link = links.open("test", &endpoint, &cx.shutdown).await.unwrap();
    assert!(link.is_up());
    link.close().await;
    // Who names authorities wants TLS, which this broker does not speak.
    endpoint.tls.ca_file = Some(Authority::new().ca_file());
    let opening = links.open("test", &endpoint, &cx.shutdown);
    tokio::select! {
        _link = opening => panic!("the password went in clear"),
        () = async {
            let others = ["up", "nothing", "not up yet", "connection to the broker closed"];
            eventually(LIMIT, PERIOD, || async { !others.contains(&told(&cx).as_str()) }).await;
        } => {}
    }
}
