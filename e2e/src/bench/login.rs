//! `bench login`: logins a second beside what their password hashes cost by themselves.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use argon2::Argon2;
use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use clap::{Args, ValueEnum};
use overlay_protocol::SecretText;
use overlay_protocol::signing::login::password_text;
use overlay_protocol::signing::{LoginRequest, LoginResponse};
use overlay_testkit::mint::now;
use overlay_tokens::Key;
use serde_json::json;

use super::load::{self, Caller, Seen, Span};
use super::report::{Report, at, median, say};
use super::sign::{Audit, Policy, Poster, Reach, Setup, World, hex};

const PASSWORD: &str = "correct horse battery staple";

/// Users before the one who logs in.
const OTHERS: usize = 200;

/// Flags of `bench login`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// Password hashes
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["bcrypt5", "bcrypt10", "argon2id"])]
    hash: Vec<Hash>,
    /// Clients at once
    #[arg(short = 'c', long, value_delimiter = ',', default_values = ["1", "2", "8"])]
    clients: Vec<usize>,
    /// Seconds that are measured, after one that is not
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Runs; figures are medians
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Another program with the original's login and its `aaasvc.json`
    #[arg(long, value_name = "PROGRAM")]
    peer: Option<PathBuf>,
}

/// How a password is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Hash {
    /// bcrypt of cost 5, which the original makes
    Bcrypt5,
    /// bcrypt of cost 10
    Bcrypt10,
    /// argon2id with its usual parameters
    Argon2id,
}

impl Hash {
    fn make(self) -> Result<String> {
        match self {
            Self::Bcrypt5 => bcrypt_of(5),
            Self::Bcrypt10 => bcrypt_of(10),
            Self::Argon2id => {
                let salt =
                    SaltString::encode_b64(b"sixteen bytes...").map_err(anyhow::Error::msg)?;
                let hash = Argon2::default().hash_password(PASSWORD.as_bytes(), &salt);
                Ok(hash.map_err(anyhow::Error::msg)?.to_string())
            }
        }
    }

    fn verify(self, hash: &str) -> Result<bool> {
        match self {
            Self::Bcrypt5 | Self::Bcrypt10 => {
                bcrypt::verify(PASSWORD, hash).context("check a hash")
            }
            Self::Argon2id => {
                let hash = PasswordHash::new(hash).map_err(anyhow::Error::msg)?;
                Ok(Argon2::default()
                    .verify_password(PASSWORD.as_bytes(), &hash)
                    .is_ok())
            }
        }
    }
}

fn bcrypt_of(cost: u32) -> Result<String> {
    let hash = bcrypt::hash_with_salt(PASSWORD, cost, *b"sixteen bytes...");
    Ok(hash
        .context("make a hash")?
        .format_for_version(bcrypt::Version::TwoB))
}

/// Measures.
///
/// # Errors
///
/// When the cell or the service can't be started, or when a login was refused.
pub(crate) fn run(options: &Options) -> Result<Report> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("start a runtime")?;
    let world = World::start()?;
    let mut report = Report::new("login");
    for hash in &options.hash {
        let name = format!("{hash:?}").to_lowercase();
        let text = hash.make()?;
        let users = world.scratch().join(format!("users-{name}.json"));
        fs::write(&users, list(&text)).with_context(|| format!("write {}", users.display()))?;
        restrict(&users)?;
        let setup = Setup {
            audit: Audit::File,
            policy: Policy::ActionList,
            tls: false,
            users: Some(users),
            peer: options.peer.clone(),
        };
        let service = world.service(&setup, &format!("login-{name}"))?;
        for clients in &options.clients {
            let (mut runs, mut bare) = (Vec::new(), Vec::new());
            for _ in 0..options.runs.max(1) {
                // In turns, so that a slow minute is slow for both.
                bare.push(alone(*hash, &text)?);
                let reach = Reach {
                    address: service.http,
                    tls: None,
                    keep: false,
                };
                let callers = (0..*clients)
                    .map(|_| LoginCaller {
                        poster: Poster::new(reach.clone()),
                    })
                    .collect();
                let span = Span {
                    warm: Duration::from_secs(1),
                    measured: Duration::from_secs(options.seconds),
                    patience: Duration::from_secs(30),
                };
                let seen = runtime.block_on(load::run(callers, span, &[service.running.pid()]))?;
                let mut row = seen.row();
                row["name"] = json!(name);
                row["clients"] = json!(clients);
                report.row(row);
                if seen.lost > 0 {
                    bail!("{} logins failed: {:?}", seen.lost, seen.first_error);
                }
                runs.push(seen);
            }
            summarise(
                &mut report,
                &format!("{name}, {clients} clients"),
                &runs,
                &mut bare,
            );
        }
    }
    Ok(report)
}

fn summarise(report: &mut Report, name: &str, runs: &[Seen], bare: &mut [f64]) {
    let middle =
        |value: &dyn Fn(&Seen) -> f64| median(&mut runs.iter().map(value).collect::<Vec<_>>());
    let rate = middle(&Seen::per_second);
    let each = middle(&|seen| seen.per_thousand(0)) / 1000.0;
    let bare = median(bare);
    let beside = (each - bare) / bare * 100.0;
    let p99 = middle(&|seen| at(&seen.took_ms, 990));
    say(&format!(
        "{name}: {rate:.1}/s, p99 {p99:.1} ms, CPU of a login {:.3} ms, of its hash {:.3} ms: {beside:.1} % more",
        each * 1000.0,
        bare * 1000.0
    ));
    report.figure(format!("{name}: rate"), rate, "1/s");
    report.figure(format!("{name}: p99"), p99, "ms");
    report.figure(format!("{name}: CPU of a login"), each * 1000.0, "ms");
    report.figure(
        format!("{name}: CPU of the hash alone"),
        bare * 1000.0,
        "ms",
    );
    report.figure(format!("{name}: overhead"), beside, "%");
}

/// Seconds of one comparison, for at least a second.
#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn alone(hash: Hash, text: &str) -> Result<f64> {
    let began = Instant::now();
    let spent = super::process::cpu_seconds(std::process::id())?;
    let mut count = 0_u32;
    while began.elapsed() < Duration::from_secs(1) {
        ensure!(hash.verify(text)?, "the password fits");
        count += 1;
    }
    let spent = super::process::cpu_seconds(std::process::id())? - spent;
    Ok(spent / f64::from(count))
}

fn list(hash: &str) -> String {
    let user = |name: String| json!({ "username": name, "password": hash, "acls": ["rpcutil.*"] });
    let mut users: Vec<_> = (0..OTHERS)
        .map(|number| user(format!("u{number}")))
        .collect();
    users.push(user("bob".to_owned()));
    json!(users).to_string()
}

fn restrict(path: &std::path::Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).context("restrict the users file")
}

/// Somebody who logs in again and again, each time with a new key, as `choria login` does.
struct LoginCaller {
    poster: Poster,
}

impl Caller for LoginCaller {
    async fn once(&mut self) -> Result<()> {
        let key = Key::generate().context("make a key")?;
        let timestamp = now().secs.to_string();
        let signature = key.sign(password_text(&timestamp, "bob", PASSWORD).as_bytes());
        let login = LoginRequest {
            username: "bob".to_owned(),
            password: SecretText::from(PASSWORD),
            timestamp,
            public_key: key.public().to_string(),
            signature: hex(&signature),
        };
        let body = serde_json::to_vec(&login).context("write the body")?;
        let answer = self.poster.post("/choria/v1/login", &body).await?;
        let answer: LoginResponse = serde_json::from_slice(answer).context("read the answer")?;
        ensure!(!answer.token.is_empty(), "refused: {}", answer.error);
        Ok(())
    }
}
