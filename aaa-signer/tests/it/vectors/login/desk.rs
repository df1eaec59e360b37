//! A login service in this process, with the files that the vectors name and a clock that is set.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use overlay_aaa_signer::Config;
use overlay_protocol::signing::login::password_text;
use overlay_runtime::config::load_text;
use overlay_runtime::{Clock, Context};
use overlay_testkit::vectors::Loader;
use overlay_testkit::{eventually, free_port, mint};
use overlay_tokens::issue::{ClientToken, OrgIssuer};
use overlay_tokens::{Key, PublicKey, UnixTime};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::super::keys::text;

/// The directory that the vectors' paths begin with.
pub(super) const THEIRS: &str = "/etc/aaasvc-test";

/// When our own issuer begins, before any vector, and how long it is good.
const LONG_AGO: i64 = 1_700_000_000;
const LONG: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// What a service is made of: files by their path below its directory, and its configuration.
#[derive(Clone)]
pub(super) struct Setup {
    pub(super) files: BTreeMap<String, String>,
    pub(super) organisation: PublicKey,
    users: Value,
    /// Tables `[login]` and below, but for limits.
    pub(super) login: String,
    locking: bool,
}

/// A service that runs until dropped.
pub(super) struct Desk {
    runtime: Runtime,
    clock: Clock,
    now: AtomicI64,
    shutdown: overlay_runtime::CancellationToken,
    registry: prometheus::Registry,
    port: u16,
    dir: tempfile::TempDir,
}

/// A login that is signed when it is sent.
pub(super) struct Login {
    pub(super) body: Value,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Value,
}

impl Setup {
    /// What the file names: keys, tokens, users.
    pub(super) fn load(file: &Value, loader: &Loader) -> Result<Self, String> {
        let load = |name: &str| loader.load(name).map_err(|error| error.to_string());
        let users = load(text(file, "user_list")?)?;
        let keys = load(text(file, "keys")?)?;
        let case = users["cases"].get(0).ok_or("no users")?;
        let mut setup = Self::of_users(case)?;
        for case in keys["cases"].as_array().into_iter().flatten() {
            let name = text(case, "name")?;
            let (seed, public) = (text(case, "seed_hex")?, text(case, "public_hex")?);
            setup.file(&format!("tok/{name}.seed"), seed);
            setup.file(&format!("tok/{name}.public"), public);
            if name == "org" {
                setup.organisation = public.parse().map_err(|_| "no organisation")?;
            }
        }
        for (name, token) in keys["tokens"].as_object().into_iter().flatten() {
            setup.file(&format!("tok/{name}"), text(token, "token")?);
        }
        setup.login = login("tok/chain", "200000h", "users.json");
        Ok(setup)
    }

    /// The users of a case of `userlist.json`, with an issuer of our own.
    pub(super) fn of_users(case: &Value) -> Result<Self, String> {
        let mut setup = Self::of_list(&case["file_json"]);
        for (path, content) in case["files"].as_object().into_iter().flatten() {
            let path = path.strip_prefix(THEIRS).ok_or("a path elsewhere")?;
            if let Some(content) = content.as_str() {
                setup.file(path.trim_start_matches('/'), content);
            }
        }
        Ok(setup)
    }

    /// These users, with an issuer of our own.
    pub(super) fn of_list(users: &Value) -> Self {
        let (organisation, key) = (OrgIssuer::new(mint::key()), mint::key());
        let claims = ClientToken {
            validity: LONG,
            public_key: Some(key.public()),
            ..ClientToken::new("login")
        }
        .claims(UnixTime::from_secs(LONG_AGO))
        .unwrap();
        let mut setup = Self {
            files: BTreeMap::new(),
            organisation: organisation.public(),
            users: users.clone(),
            login: login("tok/own", "1h", "users.json"),
            locking: false,
        };
        setup.file("tok/own.seed", &key.seed_text());
        setup.file(
            "tok/own.jwt",
            &organisation.issue_chain_issuer(claims).unwrap(),
        );
        setup.file("etc/users.json", &users.to_string());
        setup
    }

    /// The same with the usual limits of wrong passwords.
    pub(super) fn locking(&self) -> Self {
        Self {
            locking: true,
            ..self.clone()
        }
    }

    pub(super) fn file(&mut self, path: &str, content: &str) {
        self.files.insert(path.to_owned(), content.to_owned());
    }

    /// The first record of a user.
    pub(super) fn record(&self, name: &str) -> Option<&Value> {
        let users = self.users.as_array()?;
        users.iter().find(|user| user["username"] == name)
    }

    pub(super) fn names(&self) -> Vec<String> {
        let users = self.users.as_array().into_iter().flatten();
        users
            .filter_map(|user| user["username"].as_str())
            .map(str::to_owned)
            .collect()
    }

    fn config(&self, dir: &Path, port: u16) -> String {
        let dir = dir.display();
        let limits = if self.locking {
            "per_source = 0\nper_name = 0"
        } else {
            "per_source = 0\nper_name = 0\nfree_failures = 1000000"
        };
        format!(
            r#"
site = "vectors"
[issuers]
choria = "{organisation}"
{login}
[login.limits]
{limits}
[audit]
name = "aaa-vectors"
[audit.file]
path = "{dir}/audit.jsonl"
[http]
listen = "127.0.0.1:{port}"
insecure = true
[http.limits]
connections_per_peer = 64
"#,
            organisation = self.organisation,
            login = self.login.replace("DIR", &dir.to_string()),
        )
    }
}

/// The tables of a login; `DIR` is replaced by the directory.
pub(super) fn login(issuer: &str, validity: &str, users: &str) -> String {
    format!(
        r#"
[login]
token_file = "DIR/{issuer}.jwt"
seed_file = "DIR/{issuer}.seed"
validity = "{validity}"
[login.userlist]
choria = true
file = "DIR/etc/{users}"
"#
    )
}

impl Desk {
    /// Starts a service at a time.
    pub(super) fn start(setup: &Setup, now: i64) -> Result<Self, String> {
        let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
        for (path, content) in &setup.files {
            write(dir.path(), path, content)?;
        }
        let port = free_port();
        let text = setup.config(dir.path(), port);
        let config = load_text::<Config>(&text)
            .map_err(|faults| format!("configuration: {faults:?}"))?
            .config;
        let runtime = Runtime::new().map_err(|error| error.to_string())?;
        let seconds = u64::try_from(now).map_err(|error| error.to_string())?;
        let mut cx = Context::new().map_err(|error| error.to_string())?;
        cx.clock = Clock::manual(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        let (clock, shutdown, registry) =
            (cx.clock.clone(), cx.shutdown.clone(), cx.registry.clone());
        let readiness = cx.readiness.clone();
        let started = runtime.block_on(async {
            Box::pin(overlay_aaa_signer::run(config, cx))
                .await
                .map_err(|error| format!("start: {error:#}"))?;
            eventually(
                Duration::from_secs(20),
                Duration::from_millis(5),
                || async { readiness.is_ready() },
            )
            .await;
            Ok::<_, String>(())
        });
        let desk = Self {
            runtime,
            clock,
            now: AtomicI64::new(now),
            shutdown,
            registry,
            port,
            dir,
        };
        started.map(|()| desk)
    }

    /// Sends raw bytes over a connection of their own, and reads the answer.
    pub(super) fn send(&self, raw: &[u8]) -> Result<Answer, String> {
        let failed = |error: std::io::Error| error.to_string();
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).map_err(failed)?;
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .map_err(failed)?;
        stream.write_all(raw).map_err(failed)?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).map_err(failed)?;
        Answer::read(&bytes)
    }

    pub(super) fn log_in(&self, login: &Login) -> Result<Answer, String> {
        let body = login.body.to_string();
        let raw = format!(
            "POST /choria/v1/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        self.send(raw.as_bytes())
    }

    /// Moves the clock on; returns the time.
    pub(super) fn advance(&self, by: Duration) -> i64 {
        self.clock.advance(by);
        let by = i64::try_from(by.as_secs()).unwrap_or_default();
        self.now.fetch_add(by, Ordering::Relaxed) + by
    }

    /// The value of a counter, rounded; 0 when there is none.
    pub(super) fn metric(&self, series: &str) -> u64 {
        let text = overlay_runtime::metrics::text(&self.registry).unwrap_or_default();
        text.lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
            .unwrap_or_default()
    }

    /// How many logins are recorded.
    pub(super) fn records(&self) -> u64 {
        let text = std::fs::read_to_string(self.path("audit.jsonl")).unwrap_or_default();
        let logins = text
            .lines()
            .filter(|line| line.contains("io.overlay.aaa.v1.login"));
        u64::try_from(logins.count()).unwrap_or(u64::MAX)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file below the directory, its mention of the vectors' paths made ours.
    pub(super) fn write(&self, path: &str, content: &str) -> Result<(), String> {
        write(self.dir.path(), path, content)
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.shutdown.cancel();
        // What is still open is of no interest; the runtime ends with it.
        let runtime = std::mem::replace(&mut self.runtime, Runtime::new().unwrap());
        runtime.shutdown_background();
    }
}

impl Login {
    /// With a new key.
    pub(super) fn new(user: &str, password: &str, now: i64) -> Self {
        Self::with_key(&mint::key(), user, password, now)
    }

    pub(super) fn with_key(key: &Key, user: &str, password: &str, now: i64) -> Self {
        let timestamp = now.to_string();
        let signed = password_text(&timestamp, user, password);
        Self {
            body: json!({
                "username": user,
                "password": password,
                "timestamp": timestamp,
                "public_key": key.public().to_string(),
                "signature": hex::encode(key.sign(signed.as_bytes())),
            }),
        }
    }
}

impl Answer {
    fn read(bytes: &[u8]) -> Result<Self, String> {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n").ok_or("no answer")?;
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .ok_or("no status")?;
        let body = if body.is_empty() {
            Value::Null
        } else {
            serde_json::from_str(body).map_err(|error| format!("{error} in {body:?}"))?
        };
        Ok(Self { status, body })
    }

    pub(super) fn token(&self) -> Option<&str> {
        self.body["token"].as_str().filter(|_| self.status == 200)
    }

    pub(super) fn is(&self, status: u64, body: &Value) -> Result<(), String> {
        if u64::from(self.status) == status && self.body == *body {
            Ok(())
        } else {
            Err(format!("{self:?}, not {status} {body}"))
        }
    }
}

fn write(dir: &Path, path: &str, content: &str) -> Result<(), String> {
    use std::os::unix::fs::PermissionsExt as _;
    let failed = |error: std::io::Error| format!("{path}: {error}");
    let whole = dir.join(path);
    if let Some(parent) = whole.parent() {
        std::fs::create_dir_all(parent).map_err(failed)?;
    }
    let content = content.replace(THEIRS, &dir.display().to_string());
    std::fs::write(&whole, content).map_err(failed)?;
    std::fs::set_permissions(&whole, std::fs::Permissions::from_mode(0o600)).map_err(failed)
}
