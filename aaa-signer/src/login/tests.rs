use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::SystemTime;

use overlay_protocol::audit::{Decision, Record};
use overlay_protocol::id::Ksuid;
use overlay_protocol::signing::login::{logout_text, password_text};
use overlay_runtime::config::load_text;
use overlay_testkit::mint::{self, Chain, Organisation};
use overlay_testkit::{Logs, eventually};
use overlay_tokens::claims::ClientClaims;
use overlay_tokens::issue::ClientToken;
use overlay_tokens::{Key, UnixTime, Unverified, Verified};
use serde_json::{Value, json};

use super::*;
use crate::audit;
use crate::config::Config;

/// Cost 5, `secret`.
const BOB: &str = "$2a$05$m0tNKxBQy5gIkElYrL1xG.hXAXqXWa7HrH9N9HnqaSTMxoBldTcGC";
const TOTP: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

const OPEN: &str = "per_source = 0\nper_name = 0\n";

struct Desk {
    dir: tempfile::TempDir,
    organisation: Organisation,
    chain: Chain,
    service: LoginService,
    cx: Context,
    /// Makes each request another one, although a manual clock stands still.
    turn: AtomicI64,
}

impl Desk {
    async fn new(limits: &str) -> Self {
        Self::with(limits, &json!([bob()]), "audit.jsonl").await
    }

    async fn with(limits: &str, users: &Value, audit_path: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let organisation = Organisation::new();
        let chain = organisation.chain(ClientToken {
            validity: Duration::from_secs(1800),
            ..ClientToken::new("login")
        });
        chain.login.write(dir.path(), "login");
        std::fs::write(dir.path().join("users.json"), users.to_string()).unwrap();
        let at = dir.path().display();
        let text = format!(
            r#"
site = "paris"
[issuers]
choria = "{organisation}"
[login]
token_file = "{at}/login.jwt"
seed_file = "{at}/login.seed"
validity = "1h"
[login.limits]
{limits}
[login.userlist]
file = "{at}/users.json"
[audit]
to = ["file"]
name = "aaa-1.example"
limit = "2s"
[audit.file]
path = "{at}/{audit_path}"
"#,
            organisation = organisation.public(),
        );
        let config = load_text::<Config>(&text).unwrap().config;
        let mut cx = Context::new().unwrap();
        cx.clock = Clock::manual(SystemTime::UNIX_EPOCH + Duration::from_secs(now_secs()));
        let audit = Audit::start(
            audit::Parts {
                settings: config.audit.clone(),
                chain: config.audit.name.clone().unwrap(),
                seals: Arc::new(|| None),
                issuers: config.issuers.clone(),
                site: config.site.clone(),
                client: None,
                clock: cx.clock.clone(),
                part: cx.readiness.part("audit"),
            },
            &cx.registry,
            &cx.tasks,
            &cx.shutdown,
        )
        .unwrap();
        let memory = Memory::open(None, 1, cx.clock.clone(), &cx.registry)
            .await
            .unwrap();
        let revocations = Revocations::start(&memory, &cx.tasks, cx.shutdown.clone());
        let setup = Setup {
            config: config.login.as_ref().unwrap(),
            site: &config.site,
            issuers: &config.issuers,
            audit,
            memory,
            revocations,
            client: None,
        };
        let service = LoginService::start(setup, &cx).await.unwrap();
        Self {
            dir,
            organisation,
            chain,
            service,
            cx,
            turn: AtomicI64::new(0),
        }
    }

    fn now(&self) -> i64 {
        self.service.inner.now().secs
    }

    fn request(&self, user: &str, password: &str) -> LoginRequest {
        // A second of the last half minute, another one each time.
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % 30;
        request(&mint::key(), user, password, self.now() - turn)
    }

    async fn log_in(&self, user: &str, password: &str) -> LoginAnswer {
        self.send(self.request(user, password), None).await
    }

    async fn send(&self, request: LoginRequest, otp: Option<&str>) -> LoginAnswer {
        let otp = otp.map(SecretText::from);
        self.service.password(request, otp, from("192.0.2.7")).await
    }

    fn records(&self) -> Vec<Record> {
        let text = std::fs::read_to_string(self.audit_path()).unwrap_or_default();
        text.lines()
            .map(|line| Record::decode(line.as_bytes()).unwrap())
            .filter(|record| !record.kind.is_sealed() && record.data.decision.is_some())
            .collect()
    }

    fn reasons(&self) -> Vec<String> {
        let reason = |record: Record| record.data.decision.unwrap().reason;
        self.records().into_iter().map(reason).collect()
    }

    fn audit_path(&self) -> PathBuf {
        self.dir.path().join("audit.jsonl")
    }

    fn metric(&self, line: &str) -> f64 {
        let text = overlay_runtime::metrics::text(&self.cx.registry).unwrap();
        text.lines()
            .find_map(|found| found.strip_prefix(line)?.trim().parse().ok())
            .unwrap_or_default()
    }

    fn verify(&self, token: &str) -> Verified<ClientClaims> {
        Unverified::<ClientClaims>::decode(token)
            .unwrap()
            .verify(
                &self.organisation.issuers(),
                UnixTime::from_secs(self.now()),
            )
            .unwrap()
    }
}

fn now_secs() -> u64 {
    u64::try_from(mint::now().secs).unwrap()
}

fn bob() -> Value {
    json!({"username": "bob", "password": BOB, "acls": ["rpcutil.*"], "properties": {"group": "admins"},
        "broker_permissions": {"signed_fleet_management": true}})
}

fn from(peer: &str) -> From {
    From {
        via: Via::Http,
        peer: peer.to_owned(),
    }
}

fn request(key: &Key, user: &str, password: &str, timestamp: i64) -> LoginRequest {
    let timestamp = timestamp.to_string();
    let text = password_text(&timestamp, user, password);
    LoginRequest {
        username: user.to_owned(),
        password: password.into(),
        public_key: key.public().to_string(),
        signature: hex::encode(key.sign(text.as_bytes())),
        timestamp,
    }
}

fn token(answer: LoginAnswer) -> String {
    match answer {
        LoginAnswer::Token(token) => token,
        other @ (LoginAnswer::Failed | LoginAnswer::CannotSign | LoginAnswer::Busy) => {
            panic!("no token: {other:?}")
        }
    }
}

macro_rules! assert_answer {
    ($answer:expr, $expected:pat) => {
        let answer = $answer;
        assert!(matches!(answer, $expected), "{answer:?}");
    };
}

mod guesses;
mod questions;

#[tokio::test]
async fn aaa_case_1_and_15_a_login_gives_a_token_of_the_chain() {
    let desk = Desk::new(OPEN).await;
    let key = mint::key();
    let answer = desk
        .send(request(&key, "bob", "secret", desk.now()), None)
        .await;
    let claims = desk.verify(&token(answer));
    assert_eq!(claims.callerid, "up=bob");
    assert_eq!(claims.agents, ["rpcutil.*"]);
    assert_eq!(claims.ou.as_deref(), Some("choria"), "aaa case 11");
    assert_eq!(claims.user_properties["group"], "admins");
    assert!(claims.granted().signed_fleet_management);
    let standard = &claims.standard;
    assert_eq!(standard.public_key, key.public().to_string());
    assert_eq!(
        (standard.iat, standard.nbf),
        (Some(desk.now()), Some(desk.now()))
    );
    let issuer = Unverified::<ClientClaims>::decode(&desk.chain.login.token).unwrap();
    let issuer = &issuer.claims_unverified().standard;
    let expected = format!("C-{}.{}", issuer.jti, issuer.public_key);
    assert_eq!(standard.iss, expected);
    let (of_the_issuer, own) = standard.tcs.split_once('.').unwrap();
    assert_eq!((of_the_issuer, own.len()), (issuer.tcs.as_str(), 128));
    let id: Ksuid = standard.jti.parse().unwrap();
    assert_eq!(i64::try_from(id.unix_seconds()).ok(), standard.iat);
    let record = desk.records().remove(0);
    assert_eq!(record.data.action, Some(Decision::Allow));
    assert_eq!(record.data.callerid, "up=bob");
    let facts = record.data.token.unwrap();
    assert_eq!(
        (facts.jti, facts.expires),
        (standard.jti.clone(), claims.expires_at())
    );
    let login = record.data.login.unwrap();
    assert_eq!(
        (login.method.as_str(), login.user.as_str()),
        ("userlist", "bob")
    );
    assert_eq!(record.data.peer, "192.0.2.7");
}

#[tokio::test]
async fn aaa_case_16_a_token_lives_no_longer_than_its_issuer() {
    let desk = Desk::new(OPEN).await;
    let claims = desk.verify(&token(desk.log_in("bob", "secret").await));
    let issuer = Unverified::<ClientClaims>::decode(&desk.chain.login.token).unwrap();
    let expires = issuer.claims_unverified().standard.exp;
    assert_eq!(
        (claims.standard.exp, claims.standard.issexp),
        (expires, expires)
    );
}

#[tokio::test]
async fn one_signed_request_is_one_login() {
    let desk = Desk::new(OPEN).await;
    let request = desk.request("bob", "secret");
    token(desk.send(request.clone(), None).await);
    assert_answer!(desk.send(request, None).await, LoginAnswer::Failed);
    assert_eq!(desk.reasons(), ["authenticated", "replayed"]);
}

#[tokio::test]
async fn without_a_durable_record_there_is_no_token() {
    let desk = Desk::with(OPEN, &json!([bob()]), "no-such-directory/\\u0000").await;
    assert_answer!(desk.log_in("bob", "secret").await, LoginAnswer::Busy);
    assert_answer!(desk.log_in("bob", "wrong").await, LoginAnswer::Failed);
    let audit = r#"overlay_aaa_logins_total{outcome="audit",via="http"}"#;
    assert_eq!(desk.metric(audit), 1.0);
}

#[tokio::test]
async fn neither_record_nor_log_has_a_password() {
    let (logs, _guard) = Logs::capture();
    let desk = Desk::new(OPEN).await;
    desk.log_in("bob", "secret").await;
    desk.log_in("bob", "a-wrong-password").await;
    desk.log_in("mallory\nfake line", "another-wrong-one").await;
    let record = std::fs::read_to_string(desk.audit_path()).unwrap();
    for word in ["a-wrong-password", "another-wrong-one", "\"secret\"", BOB] {
        assert!(!record.contains(word), "{word}");
        assert!(!logs.contain(word), "{word}");
    }
    let lines = logs.lines();
    assert!(
        !lines.iter().any(|line| line.starts_with("fake line")),
        "{lines:?}"
    );
    assert_eq!(
        desk.reasons(),
        ["authenticated", "password", "unknown_user"]
    );
}

#[tokio::test]
async fn who_hangs_up_is_counted_and_recorded_all_the_same() {
    let desk = Desk::new(OPEN).await;
    for _ in 0..7 {
        let request = desk.request("bob", "wrong");
        let service = desk.service.clone();
        let mut asking = Box::pin(service.password(request, None, from("192.0.2.7")));
        // Begun, and left alone.
        assert!(futures_util::poll!(&mut asking).is_pending());
        drop(asking);
        let before = desk.reasons().len();
        eventually(
            Duration::from_secs(10),
            Duration::from_millis(5),
            || async { desk.reasons().len() > before },
        )
        .await;
    }
    assert_eq!(desk.reasons().last().unwrap(), "locked");
}

#[tokio::test]
async fn what_is_longer_than_any_is_refused_and_never_cut() {
    let desk = Desk::new(OPEN).await;
    let long = "x".repeat(2000);
    for (user, password) in [("bob", long.as_str()), (long.as_str(), "secret")] {
        assert_answer!(desk.log_in(user, password).await, LoginAnswer::Failed);
    }
    let otp = desk.send(desk.request("bob", "secret"), Some(&long)).await;
    assert_answer!(otp, LoginAnswer::Failed);
    assert_eq!(desk.reasons(), ["too_long"; 3]);
    let cut = format!("secret{}", "x".repeat(70));
    assert_answer!(desk.log_in("bob", &cut).await, LoginAnswer::Failed);
    assert_eq!(desk.reasons()[3], "password_over_72_bytes");
}

#[tokio::test]
async fn tenant_validity_and_second_factor_are_the_users_own() {
    let user = json!([{"username": "bob", "password": BOB, "tenant": "blue", "validity": "5m", "totp": TOTP}]);
    let desk = Desk::with(OPEN, &user, "audit.jsonl").await;
    let totp = crate::authenticate::totp::Totp::parse(TOTP).unwrap();
    let code = totp.code_at(desk.now());
    assert_answer!(desk.log_in("bob", "secret").await, LoginAnswer::Failed);
    let key = mint::key();
    let good = request(&key, "bob", "secret", desk.now());
    let answer = desk.send(good, Some(&code)).await;
    let token = token(answer);
    let claims = desk.verify(&token);
    assert_eq!(claims.standard.exp, Some(desk.now() + 300));
    assert_eq!(claims.tenant.as_deref(), Some("blue"));
    let again = desk.log_in("bob", &format!("secret{code}")).await;
    assert_answer!(again, LoginAnswer::Failed);
    let timestamp = desk.now().to_string();
    let text = logout_text(&timestamp, &claims.standard.jti);
    let logout = Logout {
        token: token.into(),
        signature: hex::encode(key.sign(text.as_bytes())),
        timestamp,
    };
    assert_answer!(
        desk.service.logout(logout, from("x")).await,
        LogoutAnswer::Done
    );
    let records = desk.records();
    assert_eq!(
        records[1].data.login.as_ref().unwrap().factor.as_deref(),
        Some("totp")
    );
    assert_eq!(
        records[2].data.decision.as_ref().unwrap().reason,
        "second_factor_reused"
    );
    // Whoever was refused has not proved to be of a tenant.
    let tenants: Vec<_> = records
        .iter()
        .map(|record| record.data.decision.as_ref()?.tenant.as_deref())
        .collect();
    assert_eq!(tenants, [None, Some("blue"), None, Some("blue")]);
}

#[tokio::test]
async fn aaa_case_17_an_issuer_that_cannot_sign_says_so_and_a_new_one_is_taken_up() {
    let desk = Desk::new(OPEN).await;
    desk.cx.clock.advance(Duration::from_secs(1801));
    assert_answer!(desk.log_in("bob", "secret").await, LoginAnswer::CannotSign);
    // What is bad is not taken: the token of somebody who issues nothing.
    let nobody = desk.organisation.client(ClientToken::new("nobody"));
    nobody.write(desk.dir.path(), "login");
    let inner = &desk.service.inner;
    inner.keeper.look(&inner.metrics);
    assert_answer!(desk.log_in("bob", "secret").await, LoginAnswer::CannotSign);
    let next = desk.organisation.chain(ClientToken {
        validity: Duration::from_secs(7200),
        ..ClientToken::new("login")
    });
    next.login.write(desk.dir.path(), "login");
    inner.keeper.look(&inner.metrics);
    token(desk.log_in("bob", "secret").await);
    assert_eq!(desk.reasons(), ["issue", "issue", "authenticated"]);
}

#[tokio::test]
async fn the_holder_of_a_token_ends_its_session_and_nobody_else_does() {
    let desk = Desk::new(OPEN).await;
    let (key, other) = (mint::key(), mint::key());
    let answer = desk
        .send(request(&key, "bob", "secret", desk.now()), None)
        .await;
    let token = token(answer);
    let jti = desk.verify(&token).standard.jti.clone();
    let logout = |key: &Key, token: &str, timestamp: i64| {
        let timestamp = timestamp.to_string();
        let signature = key.sign(logout_text(&timestamp, &jti).as_bytes());
        Logout {
            token: token.into(),
            signature: hex::encode(signature),
            timestamp,
        }
    };
    let foreign = Organisation::new().client(ClientToken::new("up=bob"));
    let revocations = &desk.service.inner.revocations;
    for bad in [
        logout(&other, &token, desk.now()),
        logout(&key, &token, desk.now() - 61),
        logout(&key, "rubbish", desk.now()),
        logout(&foreign.key, &foreign.token, desk.now()),
    ] {
        assert_answer!(
            desk.service.logout(bad, from("x")).await,
            LogoutAnswer::Failed
        );
        assert!(!revocations.is_revoked(&jti));
    }
    for _ in 0..2 {
        let good = logout(&key, &token, desk.now());
        assert_answer!(
            desk.service.logout(good, from("x")).await,
            LogoutAnswer::Done
        );
        assert!(revocations.is_revoked(&jti));
    }
    assert!(!revocations.is_revoked("another"));
    let last = desk.records().pop().unwrap();
    assert_eq!(last.kind, overlay_protocol::audit::Kind::Logout);
    assert_eq!(last.data.callerid, "up=bob");
}

#[tokio::test]
async fn what_is_offered_is_told_and_the_original_s_counters_count() {
    let desk = Desk::new(OPEN).await;
    let methods = desk.service.methods();
    assert_eq!(
        serde_json::to_value(&methods).unwrap(),
        json!({"methods": [{"name": "userlist", "kind": "password"}], "organisation": "choria", "site": "paris"})
    );
    desk.log_in("bob", "wrong").await;
    desk.log_in("bob", "secret").await;
    let labels = r#"{authenticator="userlist",site="paris"}"#;
    assert_eq!(
        desk.metric(&format!("choria_aaa_authenticator_errors{labels}")),
        1.0,
        "aaa case 63"
    );
    assert_eq!(
        desk.metric(&format!("choria_aaa_authenticator_time_count{labels}")),
        2.0
    );
    let begun = desk
        .service
        .begin(Begin::default(), from("x"))
        .await
        .unwrap();
    assert_eq!(begun.error.as_deref(), Some("Login failed"));
}

#[tokio::test]
async fn a_broken_users_file_shows_in_readiness() {
    let desk = Desk::new(OPEN).await;
    let is = |up: bool| {
        let readiness = &desk.cx.readiness;
        move || async move {
            let status = readiness.report().parts.get("userlist").cloned();
            status.is_some_and(|status| (status == overlay_runtime::Status::Up) == up)
        }
    };
    let (limit, period) = (Duration::from_secs(10), Duration::from_millis(20));
    eventually(limit, period, is(true)).await;
    std::fs::write(desk.dir.path().join("users.json"), "[{").unwrap();
    eventually(limit, period, is(false)).await;
    token(desk.log_in("bob", "secret").await);
    assert_eq!(desk.metric("overlay_aaa_userlist_broken "), 1.0);
    std::fs::write(
        desk.dir.path().join("users.json"),
        json!([bob()]).to_string(),
    )
    .unwrap();
    eventually(limit, period, is(true)).await;
    assert_eq!(desk.metric("overlay_aaa_userlist_broken "), 0.0);
}
