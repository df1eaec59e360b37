//! From the password or the page of somebody else's house to a signature: a real OpenID provider and a real directory.

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use overlay_protocol::envelope::Limits;
use overlay_protocol::envelope::v2::SecureRequest;
use overlay_protocol::signing::login::{
    Begin, Begun, Continue, Continued, LoginRequest, LoginResponse, MethodKind, Methods,
    begin_text, continue_text, password_text,
};
use overlay_protocol::signing::{HttpSignRequest, HttpSignResponse};
use overlay_testkit::{Browser, OpenidProvider, Slapd, mint, skip};
use overlay_tokens::claims::ClientClaims;
use overlay_tokens::{Key, Unverified};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::caller::request;
use crate::cell::{Parts, Service};

const REDIRECT: &str = "http://127.0.0.1:18998/callback";

/// Somebody with a key and an HTTP client.
struct Visitor {
    key: Key,
    agent: ureq::Agent,
    base: String,
}

impl Visitor {
    fn new(service: &Service) -> Self {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(30)))
            .proxy(None)
            .build();
        Self {
            key: mint::key(),
            agent: agent.into(),
            base: format!("http://127.0.0.1:{}", service.http),
        }
    }

    fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> T {
        let (status, text) = self.send(path, body);
        assert_eq!(status, 200, "{path}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    fn send(&self, path: &str, body: &impl Serialize) -> (u16, String) {
        let mut response = self
            .agent
            .post(format!("{}{path}", self.base))
            .header("content-type", "application/json")
            .send(serde_json::to_vec(body).unwrap())
            .unwrap();
        let text = response.body_mut().read_to_string().unwrap();
        (response.status().as_u16(), text)
    }

    fn methods(&self) -> Methods {
        let address = format!("{}/overlay/v1/login", self.base);
        let mut response = self.agent.get(address).call().unwrap();
        serde_json::from_str(&response.body_mut().read_to_string().unwrap()).unwrap()
    }

    fn sign(&self, text: &str) -> String {
        hex::encode(self.key.sign(text.as_bytes()))
    }

    fn begin(&self, kind: MethodKind, redirect_uri: &str) -> Begun {
        let timestamp = mint::now().secs.to_string();
        let proof = begin_text(&timestamp, "oidc", kind.as_str(), redirect_uri);
        let begin = Begin {
            method: "oidc".to_owned(),
            kind: kind.as_str().to_owned(),
            public_key: self.key.public().to_string(),
            timestamp,
            redirect_uri: redirect_uri.to_owned(),
            signature: self.sign(&proof),
        };
        self.post("/overlay/v1/login/begin", &begin)
    }

    fn go_on(&self, flow: &str, code: &str, state: &str) -> Continued {
        let timestamp = mint::now().secs.to_string();
        let proof = continue_text(&timestamp, flow, code, state);
        let step = Continue {
            flow: flow.to_owned(),
            code: (!code.is_empty()).then(|| code.into()),
            state: (!state.is_empty()).then(|| state.to_owned()),
            public_key: self.key.public().to_string(),
            timestamp,
            signature: self.sign(&proof),
        };
        self.post("/overlay/v1/login/continue", &step)
    }

    fn password(&self, username: &str, password: &str) -> (u16, LoginResponse) {
        let timestamp = mint::now().secs.to_string();
        let proof = password_text(&timestamp, username, password);
        let (status, text) = self.send(
            "/choria/v1/login",
            &LoginRequest {
                username: username.to_owned(),
                password: password.into(),
                timestamp,
                public_key: self.key.public().to_string(),
                signature: self.sign(&proof),
            },
        );
        (status, serde_json::from_str(&text).unwrap_or_default())
    }

    /// Has a request signed; yields the caller that the signed request names.
    fn signed(&self, token: &str, agent: &str, action: &str) -> Option<String> {
        let request = request("up=somebody-else", agent, action).encode();
        let answer: HttpSignResponse = self.post(
            "/choria/v1/sign",
            &HttpSignRequest {
                token: token.into(),
                request: STANDARD.encode(&request),
                signature: hex::encode(self.key.sign(&request)),
            },
        );
        let signed = answer.secure_request;
        if signed.is_empty() {
            assert_eq!(answer.error, "Request denied");
            return None;
        }
        let signed = STANDARD.decode(signed).unwrap();
        let signed = SecureRequest::decode(&signed, &Limits::default()).unwrap();
        let request: Value = serde_json::from_slice(&signed.request).unwrap();
        let caller = request
            .pointer("/envelope/caller")
            .or(request.get("caller"));
        Some(caller.unwrap().as_str().unwrap().to_owned())
    }
}

fn login_table(parts: &Parts, more: &str) -> String {
    let quoted = |name: &str| format!("{:?}", parts.path(name).display().to_string());
    format!(
        "{signer}[login]\ntoken_file = {token}\nseed_file = {seed}\nvalidity = \"1h\"\n{more}\n",
        signer = parts.signer(""),
        token = quoted("login.jwt"),
        seed = quoted("login.seed"),
    )
}

fn claims(parts: &Parts, token: &str) -> ClientClaims {
    let verified = Unverified::<ClientClaims>::decode(token)
        .unwrap()
        .verify(&parts.organisation.issuers(), mint::now())
        .unwrap();
    ClientClaims::clone(&verified)
}

fn secret_file(path: PathBuf, secret: &str) -> String {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(&path, secret).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    format!("{:?}", path.display().to_string())
}

/// The records of the service, oldest first.
fn records(parts: &Parts) -> Vec<Value> {
    let text = std::fs::read_to_string(parts.path("audit.jsonl")).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Whether a record of this type has these members of `data`, all others aside.
fn is_recorded(parts: &Parts, kind: &str, wanted: &[(&str, Value)]) -> bool {
    records(parts).iter().any(|record| {
        let is_kind = record["type"]
            .as_str()
            .is_some_and(|name| name.ends_with(kind));
        is_kind
            && wanted
                .iter()
                .all(|(at, value)| record.pointer(at) == Some(value))
    })
}

fn agree(mut browser: Browser, page: &str, name: &str) -> String {
    let page = browser.open(page);
    browser.log_in(page, name).address
}

#[test]
fn people_of_a_provider_log_in_by_both_flows_and_have_requests_signed() {
    let package = match OpenidProvider::locate() {
        Ok(package) => package,
        Err(why) => return skip("provider to signature", &why, OpenidProvider::INSTALL),
    };
    let parts = Parts::new();
    let people = json!({
        "id-1": { "preferred_username": "bob", "groups": ["ops"] },
        "id-2": { "preferred_username": "alice", "groups": ["sales"] },
    });
    let provider = OpenidProvider::start(&package, &parts.authority, &people, &json!({}));
    let service = parts.start_alone(&login_table(
        &parts,
        &format!(
            r#"[login.oidc]
issuer = "{issuer}"
client_id = "overlay"
client_secret_file = {secret}
ca_file = {ca:?}
scopes = ["profile"]
name_claim = "preferred_username"
[[login.oidc.rules]]
group = "ops"
agents = ["rpcutil.ping"]
permissions = ["fleet_management", "signed_fleet_management"]
validity = "10m"
"#,
            issuer = provider.issuer(),
            secret = secret_file(parts.path("oidc.secret"), OpenidProvider::SECRET),
            ca = parts.authority.ca_file().display().to_string(),
        ),
    ));
    let visitor = Visitor::new(&service);
    let offered = visitor.methods().methods;
    let kinds: Vec<MethodKind> = offered.iter().map(|method| method.kind).collect();
    assert_eq!(kinds, [MethodKind::Device, MethodKind::Code]);

    let begun = visitor.begin(MethodKind::Device, "");
    assert_eq!(begun.error, None);
    let waits = visitor.go_on(&begun.flow, "", "");
    assert_eq!((waits.pending, waits.token), (Some(5), None));
    let page = begun.verification_uri_complete.unwrap();
    agree(provider.browser(), &page, "id-1");
    // Another key does not get this login's token.
    let stranger = Visitor::new(&service).go_on(&begun.flow, "", "");
    assert!(
        stranger.token.is_none() && stranger.error.is_some(),
        "{stranger:?}"
    );
    let token = visitor.go_on(&begun.flow, "", "").token.unwrap();
    let told = claims(&parts, &token);
    assert_eq!(told.callerid, "oidc=bob");
    assert_eq!(told.standard.public_key, visitor.key.public().to_string());
    let life = told.standard.exp.unwrap() - told.standard.iat.unwrap();
    assert_eq!(life, 600);

    assert_eq!(
        visitor.signed(&token, "rpcutil", "ping").as_deref(),
        Some("oidc=bob")
    );
    assert_eq!(visitor.signed(&token, "package", "install"), None);

    let begun = visitor.begin(MethodKind::Code, REDIRECT);
    let end = agree(provider.browser(), &begun.authorize_url.unwrap(), "id-2");
    assert!(end.starts_with(REDIRECT), "{end}");
    let of = |name: &str| {
        let (_, query) = end.split_once('?').unwrap();
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| *key == name).unwrap().1.to_owned()
    };
    let refused = visitor.go_on(&begun.flow, &of("code"), &of("state"));
    assert_eq!(
        refused.error.as_deref(),
        Some("Login failed"),
        "alice is in no group of a rule"
    );
    let elsewhere = visitor.begin(MethodKind::Code, "http://192.0.2.1:18998/callback");
    assert_eq!(elsewhere.error.as_deref(), Some("Login failed"));

    assert!(is_recorded(
        &parts,
        "login",
        &[
            ("/data/callerid", json!("oidc=bob")),
            ("/data/action", json!("allow"))
        ]
    ));
    assert!(is_recorded(
        &parts,
        "login",
        &[
            ("/data/action", json!("deny")),
            ("/data/decision/reason", json!("not_allowed"))
        ]
    ));
    assert!(is_recorded(
        &parts,
        "signature",
        &[
            ("/data/callerid", json!("oidc=bob")),
            ("/data/action", json!("allow"))
        ]
    ));
}

#[test]
fn people_of_a_directory_log_in_as_with_choria_and_an_outage_is_told_apart_in_the_record_only() {
    let program = match Slapd::locate() {
        Ok(program) => program,
        Err(why) => return skip("directory to signature", &why, Slapd::INSTALL),
    };
    let parts = Parts::new();
    let ldif = "dn: uid=bob,dc=example,dc=net\nobjectClass: inetOrgPerson\nuid: bob\ncn: Bob\nsn: Smith\nou: ops\nuserPassword: of bob\n";
    let mut slapd = Slapd::start(&program, &parts.authority, ldif);
    let service = parts.start_alone(&login_table(
        &parts,
        &format!(
            r#"[login.ldap]
url = "{url}"
start_tls = true
ca_file = {ca:?}
base = "dc=example,dc=net"
bind_dn = "cn=service,dc=example,dc=net"
bind_password_file = {secret}
[[login.ldap.rules]]
attribute = "ou"
value = "ops"
agents = ["rpcutil.*"]
permissions = ["signed_fleet_management"]
"#,
            url = slapd.url(),
            secret = secret_file(parts.path("ldap.secret"), "of the service"),
            ca = parts.authority.ca_file().display().to_string(),
        ),
    ));
    let visitor = Visitor::new(&service);
    let (status, answer) = visitor.password("bob", "of bob");
    assert_eq!(status, 200);
    let told = claims(&parts, &answer.token);
    assert_eq!(told.callerid, "ldap=bob");
    assert_eq!(
        visitor.signed(&answer.token, "rpcutil", "ping").as_deref(),
        Some("ldap=bob")
    );
    assert_eq!(visitor.signed(&answer.token, "package", "install"), None);
    for (name, password) in [
        ("bob", "wrong"),
        ("nobody", "wrong"),
        ("*", "of bob"),
        ("bob", ""),
    ] {
        let (status, answer) = visitor.password(name, password);
        assert_eq!(
            (status, answer.error.as_str()),
            (200, "Login failed"),
            "{name}"
        );
    }
    slapd.process().kill();
    let (_, answer) = visitor.password("bob", "of bob");
    assert!(answer.token.is_empty());
    let deny = |reason: &str| {
        let wanted = [
            ("/data/action", json!("deny")),
            ("/data/decision/reason", json!(reason)),
        ];
        is_recorded(&parts, "login", &wanted)
    };
    assert!(deny("password") && deny("unknown_user") && deny("unavailable"));
    slapd.start_again();
    let (_, answer) = visitor.password("bob", "of bob");
    assert!(
        !answer.token.is_empty(),
        "nobody has to help it back: {answer:?}"
    );
}
