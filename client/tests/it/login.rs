//! Logging in, at web services and over the broker, and what is on disk before and after.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use overlay_client::login::{self, LoginClient, LoginError, Session, SessionError};
use overlay_client::{Config, Credentials};
use overlay_protocol::SecretText;
use overlay_protocol::signing::login::{
    Method, MethodKind, begin_text, continue_text, logout_text, password_text,
};
use overlay_testkit::mint::{self, Authority, Chain, Organisation};
use overlay_testkit::{Broker, TlsFiles};
use overlay_tokens::issue::ClientToken;
use overlay_tokens::{Key, PublicKey, UnixTime, Unverified};
use serde_json::json;

use crate::cell::{load, load_text};
use crate::web::{self, Asked, Does, Service};

const PAGE: &str = "/choria/v1/login";

/// An organisation with a login service.
struct Office {
    organisation: Organisation,
    chain: Arc<Chain>,
}

impl Office {
    fn new() -> Self {
        let organisation = Organisation::new();
        let chain = Arc::new(organisation.chain(ClientToken::new("chain")));
        Self {
            organisation,
            chain,
        }
    }

    fn token(&self, key: &PublicKey) -> String {
        token(&self.chain, key, ClientToken::new("up=bob"))
    }

    /// Logs bob in with the password `secret`, on the pages of Choria's service.
    fn choria(&self) -> impl Fn(&Asked) -> Does + Send + 'static {
        let chain = Arc::clone(&self.chain);
        move |asked| match (asked.method.as_str(), asked.path.as_str()) {
            ("POST", PAGE) => Does::Answer(200, log_in(&chain, asked)),
            _ => Does::Answer(
                404,
                r#"{"code":404,"message":"path was not found"}"#.to_owned(),
            ),
        }
    }

    fn config(&self, dir: &Path, login: &str) -> Config {
        let issuer = self.organisation.public();
        let text = format!("[login]\n{login}\n[issuers]\nchoria = \"{issuer}\"\n");
        load(dir, "nats://127.0.0.1:1", &text)
    }
}

fn token(chain: &Chain, key: &PublicKey, token: ClientToken) -> String {
    chain
        .client(ClientToken {
            public_key: Some(*key),
            ..token
        })
        .token
}

fn verified(asked: &Asked, text: &str) -> PublicKey {
    let key: PublicKey = asked.text("public_key").parse().unwrap();
    assert!(key.verify(text.as_bytes(), &bytes(&asked.text("signature"))));
    key
}

fn bytes(hex: &str) -> Vec<u8> {
    let pairs = hex.as_bytes().chunks(2);
    pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// What the service does with name, password and proof.
fn log_in(chain: &Chain, asked: &Asked) -> String {
    let (user, password) = (asked.text("username"), asked.text("password"));
    let key = verified(
        asked,
        &password_text(&asked.text("timestamp"), &user, &password),
    );
    if (user.as_str(), password.as_str()) == ("bob", "secret") {
        json!({"token": token(chain, &key, ClientToken::new("up=bob"))}).to_string()
    } else {
        json!({"error": "Login failed"}).to_string()
    }
}

fn urls(services: &[&Service]) -> String {
    let urls: Vec<String> = services.iter().map(|service| service.url(PAGE)).collect();
    format!("urls = {urls:?}\ntimeout = \"3s\"")
}

async fn attempt(config: &Config, password: &str) -> Result<Session, LoginError> {
    let mut client = LoginClient::new(config, None).await?;
    client.methods().await?;
    let token = client.password("bob", &password.into(), None).await?;
    Ok(client.accept(&token, config.issuers.as_ref()).unwrap())
}

/// A token and a seed from before.
fn old_session(dir: &Path) -> (String, String) {
    let old = Organisation::new().client(ClientToken::new("up=old"));
    old.write(dir, "client");
    fs::set_permissions(dir.join("client.jwt"), fs::Permissions::from_mode(0o644)).unwrap();
    on_disk(dir)
}

fn on_disk(dir: &Path) -> (String, String) {
    let read = |name: &str| fs::read_to_string(dir.join(name)).unwrap();
    (read("client.jwt"), read("client.seed"))
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn rpc_case_49_a_login_yields_a_token_for_the_key_that_was_sent_readable_by_its_owner_alone()
{
    let office = Office::new();
    let service = Service::start(office.choria());
    let dir = tempfile::tempdir().unwrap();
    old_session(dir.path());
    let config = office.config(dir.path(), &urls(&[&service]));
    let session = attempt(&config, "secret").await.unwrap();
    assert_eq!(session.caller(), "up=bob");
    assert!(session.expires().unwrap() > mint::now().secs);
    session.store(&config).unwrap();

    let asked = service.asked_for(PAGE);
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].content_type, "application/json");
    let mut members: Vec<String> = asked[0]
        .json()
        .as_object()
        .unwrap()
        .keys()
        .cloned()
        .collect();
    members.sort();
    let known = [
        "password",
        "public_key",
        "signature",
        "timestamp",
        "username",
    ];
    assert_eq!(members, known);
    let (token, seed) = on_disk(dir.path());
    assert_eq!(seed.len(), 64);
    assert_eq!(token.trim(), token);
    let key = Key::from_seed_text(seed.as_bytes()).unwrap().public();
    assert_eq!(key.to_string(), asked[0].text("public_key"));
    for name in ["client.jwt", "client.seed"] {
        assert_eq!(mode(&dir.path().join(name)), 0o600, "{name}");
    }
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().collect();
    assert_eq!(left.len(), 3, "token, seed and configuration: {left:?}");
    Credentials::load(&config, mint::now()).unwrap();
}

#[tokio::test]
async fn a_login_makes_the_directories_of_its_files() {
    let office = Office::new();
    let service = Service::start(office.choria());
    let dir = tempfile::tempdir().unwrap();
    let text = format!(
        "token_file = \"a/b/client.jwt\"\nseed_file = \"c/client.seed\"\n[broker]\nservers = [\"nats://x:1\"]\n[login]\n{}",
        urls(&[&service])
    );
    let config = load_text(dir.path(), &text);
    attempt(&config, "secret")
        .await
        .unwrap()
        .store(&config)
        .unwrap();
    for made in ["a", "a/b", "c"] {
        assert_eq!(mode(&dir.path().join(made)), 0o700, "{made}");
    }
    Credentials::load(&config, mint::now()).unwrap();
}

#[tokio::test]
async fn a_login_that_fails_leaves_the_old_session_as_it_was() {
    type Check = fn(&LoginError) -> bool;
    let answers: [(Does, Check); 9] = [
        (Does::Answer(307, String::new()), |error| {
            matches!(error, LoginError::Status { status: 307, .. })
        }),
        (
            Does::Answer(200, r#"{"error":"Login failed"}"#.to_owned()),
            |error| matches!(error, LoginError::Refused(text) if text == "Login failed"),
        ),
        (
            Does::Answer(200, r#"{"error":"x","token":"a.b.c"}"#.to_owned()),
            |error| matches!(error, LoginError::Refused(_)),
        ),
        (Does::Answer(200, "{}".to_owned()), |error| {
            matches!(error, LoginError::NoToken)
        }),
        (Does::Answer(200, r#"{"token":null}"#.to_owned()), |error| {
            matches!(error, LoginError::NoToken)
        }),
        (Does::Answer(200, r#"{"token":5}"#.to_owned()), |error| {
            matches!(error, LoginError::Answer { .. })
        }),
        (Does::Answer(200, "<html>".to_owned()), |error| {
            matches!(error, LoginError::Answer { .. })
        }),
        (Does::Answer(500, "oops".to_owned()), |error| {
            error.to_string() == "invalid response code 500: oops"
        }),
        (Does::HangUp, |error| matches!(error, LoginError::Web(_))),
    ];
    for (answer, fits) in answers {
        let shown = format!("{answer:?}");
        let service = Service::start(move |asked| match asked.method.as_str() {
            "GET" => Does::Answer(404, String::new()),
            _ => answer.clone(),
        });
        let office = Office::new();
        let dir = tempfile::tempdir().unwrap();
        let before = old_session(dir.path());
        let config = office.config(dir.path(), &urls(&[&service]));
        let error = attempt(&config, "secret").await.unwrap_err();
        assert!(fits(&error), "{shown}: {error:?}");
        assert_eq!(on_disk(dir.path()), before, "{shown}");
    }
}

#[test]
fn a_token_is_checked_before_it_takes_the_place_of_another() {
    let office = Office::new();
    let issuers = office.organisation.issuers();
    let key = mint::key();
    let own = key.public();
    let check = |token: &str| Session::check(token, key.clone(), Some(&issuers), mint::now());
    assert_eq!(check(&office.token(&own)).unwrap().caller(), "up=bob");
    assert_eq!(
        check(&format!(" {}\n", office.token(&own)))
            .unwrap()
            .caller(),
        "up=bob"
    );

    let other_key = office.token(&mint::key().public());
    let foreign = Office::new().token(&own);
    let server = office
        .organisation
        .server(overlay_tokens::issue::ServerToken {
            identity: "n1".to_owned(),
            public_key: Some(own),
            ..Default::default()
        });
    let old = UnixTime {
        secs: mint::now().secs - 7200,
        nanos: 0,
    };
    let expired = office.organisation.client_at(
        ClientToken {
            public_key: Some(own),
            ..ClientToken::new("up=bob")
        },
        old,
    );
    assert!(matches!(check(&other_key), Err(SessionError::Own(_))));
    assert!(matches!(check(&foreign), Err(SessionError::Untrusted(_))));
    assert!(matches!(check(&server.token), Err(SessionError::NoClient)));
    assert!(matches!(check(&expired.token), Err(SessionError::Own(_))));
    assert!(matches!(check("a.b.c"), Err(SessionError::Decode(_))));
    // Where nobody is trusted by name, the token is taken, but not for another key.
    let unknown = |token: &str| Session::check(token, key.clone(), None, mint::now());
    assert!(unknown(&foreign).is_ok());
    assert!(matches!(unknown(&other_key), Err(SessionError::Own(_))));
}

#[test]
fn a_token_of_a_clock_that_is_a_little_ahead_is_taken() {
    let office = Office::new();
    let issuers = office.organisation.issuers();
    let key = mint::key();
    let token = office.token(&key.public());
    let earlier = |seconds: i64| UnixTime {
        secs: mint::now().secs - seconds,
        nanos: 0,
    };
    assert!(Session::check(&token, key.clone(), Some(&issuers), earlier(3)).is_ok());
    let too_early = Session::check(&token, key, Some(&issuers), earlier(60));
    assert!(
        matches!(too_early, Err(SessionError::Own(_))),
        "{too_early:?}"
    );
}

#[test]
fn a_session_is_stored_as_a_whole_or_not_at_all() {
    let office = Office::new();
    let dir = tempfile::tempdir().unwrap();
    let config = office.config(dir.path(), "");
    let key = mint::key();
    let token = office.token(&key.public());
    let session = Session::check(&token, key, None, mint::now()).unwrap();
    fs::write(dir.path().join("client.seed"), "0".repeat(64)).unwrap();
    // A directory in the token's place: nothing can be moved there.
    fs::create_dir_all(dir.path().join("client.jwt/full")).unwrap();
    let error = session.store(&config).unwrap_err();
    assert!(matches!(error, SessionError::Place { .. }), "{error:?}");
    let seed = fs::read_to_string(dir.path().join("client.seed")).unwrap();
    assert_eq!(seed, "0".repeat(64));
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().collect();
    assert_eq!(left.len(), 3, "{left:?}");
}

#[test]
fn a_session_goes_where_a_link_leads() {
    let office = Office::new();
    let dir = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let config = office.config(dir.path(), "");
    for name in ["client.jwt", "client.seed"] {
        fs::write(elsewhere.path().join(name), "old").unwrap();
        std::os::unix::fs::symlink(elsewhere.path().join(name), dir.path().join(name)).unwrap();
    }
    let key = mint::key();
    let token = office.token(&key.public());
    let session = Session::check(&token, key.clone(), None, mint::now()).unwrap();
    session.store(&config).unwrap();
    let (stored, seed) = on_disk(elsewhere.path());
    assert_eq!((stored, seed.as_str()), (token, &**key.seed_text()));
    assert!(dir.path().join("client.seed").is_symlink());
    // A logout removes what the links lead to, and the links.
    let forgotten = login::forget(&config).unwrap();
    assert!(forgotten.token && forgotten.seed);
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
    assert!(!dir.path().join("client.seed").is_symlink());
    let again = login::forget(&config).unwrap();
    assert!(!again.token && !again.seed);
}

#[test]
fn a_seed_is_overwritten_before_it_is_removed() {
    let office = Office::new();
    let dir = tempfile::tempdir().unwrap();
    let config = office.config(dir.path(), "");
    old_session(dir.path());
    // A second name keeps the content in reach.
    let kept = dir.path().join("kept");
    fs::hard_link(dir.path().join("client.seed"), &kept).unwrap();
    login::forget(&config).unwrap();
    assert_eq!(fs::read_to_string(kept).unwrap(), "0".repeat(64));
}

#[tokio::test]
async fn services_are_asked_in_turn_each_with_a_key_of_its_own() {
    let office = Office::new();
    let busy = Service::start(|asked| match asked.method.as_str() {
        "GET" => Does::Answer(404, String::new()),
        _ => Does::Answer(503, "no".to_owned()),
    });
    let good = Service::start(office.choria());
    let dir = tempfile::tempdir().unwrap();
    let config = office.config(
        dir.path(),
        &format!(
            "urls = [\"http://127.0.0.1:1/a\", {:?}, {:?}]",
            busy.url(PAGE),
            good.url(PAGE)
        ),
    );
    attempt(&config, "secret")
        .await
        .unwrap()
        .store(&config)
        .unwrap();
    let key = |service: &Service| service.asked_for(PAGE)[0].text("public_key");
    assert_ne!(key(&busy), key(&good));
    assert_eq!(
        Credentials::load(&config, mint::now()).unwrap().caller(),
        "up=bob"
    );
}

#[tokio::test]
async fn a_refusal_ends_it_and_a_wrong_password_goes_to_one_service_only() {
    let office = Office::new();
    let (first, second) = (
        Service::start(office.choria()),
        Service::start(office.choria()),
    );
    let dir = tempfile::tempdir().unwrap();
    let config = office.config(dir.path(), &urls(&[&first, &second]));
    let error = attempt(&config, "wrong").await.unwrap_err();
    assert_eq!(error.to_string(), "Login failed");
    assert_eq!((first.asked_for(PAGE).len(), second.asked().len()), (1, 0));
}

#[tokio::test]
async fn when_no_service_answers_each_is_named_with_its_reason() {
    let office = Office::new();
    let busy = Service::start(|_| Does::Answer(503, "no".to_owned()));
    let dir = tempfile::tempdir().unwrap();
    let login = format!(
        "urls = [\"http://127.0.0.1:1{PAGE}\", {:?}]",
        busy.url(PAGE)
    );
    let error = attempt(&office.config(dir.path(), &login), "secret")
        .await
        .unwrap_err();
    let text = error.to_string();
    for part in [
        "127.0.0.1:1/",
        "refused",
        &busy.url(PAGE),
        "invalid response code 503: no",
    ] {
        assert!(text.contains(part), "`{part}` is not in {text}");
    }
    let config = office.config(dir.path(), "");
    assert!(matches!(
        attempt(&config, "x").await,
        Err(LoginError::NotConfigured)
    ));
}

#[tokio::test]
async fn our_service_is_asked_for_its_methods_and_on_its_own_pages() {
    let office = Office::new();
    let chain = Arc::clone(&office.chain);
    let service = Service::start(
        move |asked| match (asked.method.as_str(), asked.path.as_str()) {
            ("GET", "/overlay/v1/login") => {
                let methods = json!([
                    {"name": "userlist", "kind": "password"},
                    {"name": "oidc", "kind": "device"},
                    {"name": "sky", "kind": "of tomorrow"},
                ]);
                let answer =
                    json!({"methods": methods, "organisation": "choria", "site": "lhr", "new": 1});
                Does::Answer(200, answer.to_string())
            }
            ("POST", "/overlay/v1/login/password") => Does::Answer(200, log_in(&chain, asked)),
            _ => Does::Answer(404, String::new()),
        },
    );
    let dir = tempfile::tempdir().unwrap();
    let login = format!("url = {:?}", service.url(""));
    let config = office.config(dir.path(), &login);
    let mut client = LoginClient::new(&config, None).await.unwrap();
    let methods = client.methods().await.unwrap();
    let names: Vec<(&str, MethodKind)> = methods
        .methods
        .iter()
        .map(|method| (method.name.as_str(), method.kind))
        .collect();
    assert_eq!(
        names,
        [
            ("userlist", MethodKind::Password),
            ("oidc", MethodKind::Device)
        ]
    );
    assert_eq!(
        (methods.organisation.as_str(), methods.site.as_str()),
        ("choria", "lhr")
    );
    let code = SecretText::from("123456");
    let token = client
        .password("bob", &"secret".into(), Some(&code))
        .await
        .unwrap();
    client.accept(&token, config.issuers.as_ref()).unwrap();
    let asked = service.asked_for("/overlay/v1/login/password");
    assert_eq!(asked[0].text("otp"), "123456");
}

#[tokio::test]
async fn a_code_is_not_sent_to_a_service_that_would_ignore_it() {
    let office = Office::new();
    let service = Service::start(office.choria());
    let dir = tempfile::tempdir().unwrap();
    let config = office.config(dir.path(), &urls(&[&service]));
    let mut client = LoginClient::new(&config, None).await.unwrap();
    client.methods().await.unwrap();
    let code = SecretText::from("123456");
    let error = client
        .password("bob", &"secret".into(), Some(&code))
        .await
        .unwrap_err();
    assert!(matches!(error, LoginError::NoCodes(_)), "{error:?}");
    assert_eq!(service.asked_for(PAGE).len(), 0);
}

#[tokio::test]
async fn a_password_that_no_service_takes_is_not_sent() {
    let office = Office::new();
    let service = Service::start(office.choria());
    let dir = tempfile::tempdir().unwrap();
    let config = office.config(dir.path(), &urls(&[&service]));
    let mut client = LoginClient::new(&config, None).await.unwrap();
    let long = SecretText::from("x".repeat(login::MAX_PASSWORD_BYTES + 1));
    let error = client.password("bob", &long, None).await.unwrap_err();
    assert!(matches!(error, LoginError::PasswordTooLong), "{error:?}");
    assert_eq!(service.asked().len(), 0);
}

#[tokio::test]
async fn each_step_of_a_longer_login_is_signed_by_the_same_key() {
    let office = Office::new();
    let chain = Arc::clone(&office.chain);
    let service = Service::start(move |asked| {
        let time = asked.text("timestamp");
        match asked.path.as_str() {
            "/overlay/v1/login/begin" => {
                let text = begin_text(
                    &time,
                    &asked.text("method"),
                    &asked.text("kind"),
                    "http://127.0.0.1:9/x",
                );
                verified(asked, &text);
                let begun = json!({"flow": "f", "verification_uri": "https://idp/", "user_code": "AB", "interval": 1});
                Does::Answer(200, begun.to_string())
            }
            "/overlay/v1/login/continue" => {
                let (flow, code, state) =
                    (asked.text("flow"), asked.text("code"), asked.text("state"));
                let key = verified(asked, &continue_text(&time, &flow, &code, &state));
                let answer = match (flow.as_str(), code.as_str()) {
                    ("f", "") => json!({"pending": 2}),
                    ("f", "c") => {
                        json!({"token": token(&chain, &key, ClientToken::new("oidc=bob"))})
                    }
                    _ => json!({"error": "Login failed"}),
                };
                Does::Answer(200, answer.to_string())
            }
            _ => Does::Answer(200, json!({"methods": []}).to_string()),
        }
    });
    let dir = tempfile::tempdir().unwrap();
    let config = office.config(dir.path(), &urls(&[&service]));
    let mut client = LoginClient::new(&config, None).await.unwrap();
    let method = Method {
        name: "oidc".to_owned(),
        kind: MethodKind::Code,
    };
    let begun = client.begin(&method, "http://127.0.0.1:9/x").await.unwrap();
    assert_eq!(
        (begun.flow.as_str(), begun.user_code.as_deref()),
        ("f", Some("AB"))
    );
    let waiting = client.continue_flow("f", "", "").await.unwrap();
    assert_eq!((waiting.pending, waiting.token), (Some(2), None));
    let refused = client.continue_flow("g", "", "").await.unwrap_err();
    assert!(matches!(refused, LoginError::Refused(_)), "{refused:?}");
    let done = client.continue_flow("f", "c", "s").await.unwrap();
    let session = client
        .accept(&done.token.unwrap(), config.issuers.as_ref())
        .unwrap();
    assert_eq!(session.caller(), "oidc=bob");
    let keys: Vec<String> = service
        .asked()
        .iter()
        .map(|asked| asked.text("public_key"))
        .collect();
    assert!(keys.windows(2).all(|two| two[0] == two[1]), "{keys:?}");
}

#[tokio::test]
async fn the_end_of_a_session_is_signed_by_its_key() {
    let office = Office::new();
    let service = Service::start(|asked| match asked.path.as_str() {
        "/overlay/v1/login/logout" => {
            let token =
                Unverified::<overlay_tokens::claims::ClientClaims>::decode(&asked.text("token"))
                    .unwrap();
            let claims = token.claims_unverified();
            let key: PublicKey = claims.standard.public_key.parse().unwrap();
            let text = logout_text(&asked.text("timestamp"), &claims.standard.jti);
            assert!(key.verify(text.as_bytes(), &bytes(&asked.text("signature"))));
            Does::Answer(200, "{}".to_owned())
        }
        _ => Does::Answer(404, String::new()),
    });
    let dir = tempfile::tempdir().unwrap();
    old_session(dir.path());
    let config = office.config(dir.path(), &urls(&[&service]));
    let credentials = Credentials::load(&config, mint::now()).unwrap();
    let mut client = LoginClient::new(&config, None).await.unwrap();
    client.logout(&credentials).await.unwrap();
    // Choria's service has no such page.
    let choria = Service::start(office.choria());
    let config = office.config(dir.path(), &urls(&[&choria]));
    let mut client = LoginClient::new(&config, None).await.unwrap();
    let error = client.logout(&credentials).await.unwrap_err();
    assert!(matches!(error, LoginError::NotOffered(_)), "{error:?}");
}

#[tokio::test]
async fn the_certificate_of_a_login_service_is_verified_unless_told_otherwise() {
    let office = Office::new();
    let authority = Authority::new();
    let files: TlsFiles = authority.server("aaa", &[]);
    let service = Service::start_tls(web::tls(&files), office.choria());
    let url = format!("https://localhost:{}{PAGE}", service.port);
    let dir = tempfile::tempdir().unwrap();
    let with = |more: &str| office.config(dir.path(), &format!("url = {url:?}\n{more}"));
    for untrusting in [
        String::new(),
        format!("ca_file = {:?}", Authority::new().ca_file()),
    ] {
        // The other authority is gone by now when its file is looked at: keep one that lasts.
        let other = Authority::new();
        let more = if untrusting.is_empty() {
            untrusting
        } else {
            format!("ca_file = {:?}", other.ca_file())
        };
        let error = attempt(&with(&more), "secret").await.unwrap_err();
        assert!(error.to_string().contains("is not trusted"), "{error}");
        assert_eq!(service.asked().len(), 0);
    }
    for trusting in [
        format!("ca_file = {:?}", authority.ca_file()),
        "verify = false".to_owned(),
    ] {
        attempt(&with(&trusting), "secret").await.unwrap();
    }
}

#[tokio::test]
async fn somebody_without_a_token_logs_in_over_the_broker() {
    let office = Office::new();
    let broker = Broker::plain();
    let dir = tempfile::tempdir().unwrap();
    let issuer = office.organisation.public();
    let text =
        format!("[login]\nover = \"broker\"\ntimeout = \"2s\"\n[issuers]\nchoria = \"{issuer}\"\n");
    let config = load(dir.path(), &broker.url(), &text);
    let mut client = LoginClient::new(&config, None).await.unwrap();
    let error = client.methods().await.unwrap_err();
    assert!(matches!(error, LoginError::Nobody), "{error:?}");

    let service = async_nats::connect(broker.url()).await.unwrap();
    let mut questions = service.subscribe("overlay.login.v1.*").await.unwrap();
    service.flush().await.unwrap();
    let chain = Arc::clone(&office.chain);
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move {
        while let Some(question) = questions.next().await {
            let reply = question.reply.clone().unwrap();
            let asked = Asked {
                method: "POST".to_owned(),
                path: question.subject.to_string(),
                content_type: String::new(),
                body: question.payload.to_vec(),
            };
            let answer = match question.subject.as_str() {
                "overlay.login.v1.methods" => {
                    json!({"methods": [{"name": "userlist", "kind": "password"}]}).to_string()
                }
                "overlay.login.v1.password" => {
                    assert!(reply.starts_with(&format!(
                        "overlay.login.reply.{}.",
                        asked.text("public_key")
                    )));
                    log_in(&chain, &asked)
                }
                _ => {
                    let mut headers = async_nats::HeaderMap::new();
                    headers.insert("Nats-Service-Error-Code", "503");
                    headers.insert("Nats-Service-Error", "busy");
                    service
                        .publish_with_headers(reply, headers, "".into())
                        .await
                        .unwrap();
                    continue;
                }
            };
            service.publish(reply, answer.into()).await.unwrap();
        }
    });
    let mut client = LoginClient::new(&config, None).await.unwrap();
    assert_eq!(client.methods().await.unwrap().methods.len(), 1);
    let token = client
        .password("bob", &"secret".into(), None)
        .await
        .unwrap();
    let method = Method {
        name: "oidc".to_owned(),
        kind: MethodKind::Device,
    };
    let busy = client.begin(&method, "").await.unwrap_err();
    assert!(
        matches!(&busy, LoginError::Status { status: 503, said, .. } if said == "busy"),
        "{busy:?}"
    );
    client
        .accept(&token, config.issuers.as_ref())
        .unwrap()
        .store(&config)
        .unwrap();
    let mut client = LoginClient::new(&config, None).await.unwrap();
    let refused = client
        .password("bob", &"wrong".into(), None)
        .await
        .unwrap_err();
    assert_eq!(refused.to_string(), "Login failed");
    // The connection is that of a key, and of nothing else.
    let connections = broker.monitoring("/connz?auth=1&state=any");
    let users: Vec<&str> = connections["connections"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|connection| connection["name"] == "overlay-login")
        .filter_map(|connection| connection["authorized_user"].as_str())
        .collect();
    assert!(users.iter().all(|user| *user == "login"), "{users:?}");
}

#[tokio::test]
async fn a_broker_that_lets_nobody_in_without_a_token_is_told() {
    let office = Office::new();
    let broker = Broker::builder()
        .config("authorization { user: a, password: b }")
        .start();
    let dir = tempfile::tempdir().unwrap();
    old_session(dir.path());
    let issuer = office.organisation.public();
    let text = format!("[login]\nover = \"broker\"\n[issuers]\nchoria = \"{issuer}\"\n");
    let config = load(dir.path(), &broker.url(), &text);
    let error = LoginClient::new(&config, None).await.unwrap_err();
    let LoginError::Broker(source) = &error else {
        panic!("{error:?}")
    };
    assert!(source.to_string().contains("refused the login"), "{source}");
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_not_waited_for_without_end() {
    let office = Office::new();
    let service = Service::start(|_| Does::Nothing);
    let dir = tempfile::tempdir().unwrap();
    let config = office.config(
        dir.path(),
        &format!("url = {:?}\ntimeout = \"300ms\"", service.url(PAGE)),
    );
    let error = attempt(&config, "secret").await.unwrap_err();
    assert!(
        error.to_string().contains("did not answer within 300ms"),
        "{error}"
    );
    assert!(config.login.timeout == Duration::from_millis(300));
}
