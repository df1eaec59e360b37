//! Recorded logins of the original's client, given to ours.
//!
//! What the service answered is read from the outcome. Where ours differs is decided by rules over the case:
//! see docs/conformance/cli.md.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use overlay_protocol::signing::login::password_text;
use overlay_testkit::mint::{Authority, Chain, Organisation};
use overlay_testkit::vectors::{self, Loader, Outcome};
use overlay_tokens::claims::ClientClaims;
use overlay_tokens::issue::ClientToken;
use overlay_tokens::{PublicKey, Unverified};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::session::log_in;
use crate::web::{self, Asked, Does, Service};

const ROOT: &str = "/etc/aaasvc-test";
const URL_KEY: &str = "plugin.login.aaasvc.login.url";
const CA_KEY: &str = "plugin.security.choria.ca";

pub(crate) fn replay(file: &Value, _loader: &Loader) -> Outcome {
    vectors::for_cases(file, |case| Play::new(case)?.check())
}

/// How the original ended, without what its logger puts before.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Ending {
    /// A token was saved.
    Saved,
    /// The service answered with another status.
    Status(u16, String),
    /// An object without a token.
    NoToken,
    /// A member of the answer was no text.
    NoText,
    /// The answer was no JSON.
    NoJson,
    /// The connection was closed without an answer.
    HungUp,
    /// Nobody listened.
    Unreachable,
    /// The certificate was not trusted.
    Untrusted,
    /// Another program took over and failed.
    Helper,
    /// The configuration was refused, for these reasons.
    Config(Vec<String>),
    /// The service refused with this text.
    Refused(String),
}

fn ending(case: &Value) -> Result<Ending, String> {
    let line = case["expect"]["last_line"].as_str().ok_or("no last line")?;
    if line.starts_with("Token saved to ") {
        return Ok(Ending::Saved);
    }
    let text = line
        .split_once("Could not run Choria: ")
        .or_else(|| line.split_once("Could not configure Choria: "))
        .map_or(line, |(_, text)| text);
    if let Some(rest) = text.strip_prefix("invalid response code ") {
        let (status, body) = rest.split_once(": ").ok_or("no status")?;
        let status = status.parse().map_err(|_| "no status")?;
        return Ok(Ending::Status(status, body.to_owned()));
    }
    let was_asked = case["expect"]["requests"].as_u64().unwrap_or(0) > 0;
    Ok(match text {
        "no token received" => Ending::NoToken,
        _ if text.starts_with("exit status ") => Ending::Helper,
        _ if text.contains("cannot unmarshal") => Ending::NoText,
        _ if text.starts_with("invalid character") || text.contains("unexpected end of JSON") => {
            Ending::NoJson
        }
        _ if text.contains("failed to verify certificate") => Ending::Untrusted,
        _ if text.ends_with("EOF") => Ending::HungUp,
        _ if text.contains("dial tcp") => Ending::Unreachable,
        _ if was_asked => Ending::Refused(text.to_owned()),
        _ => Ending::Config(reasons(text)),
    })
}

/// The innermost reasons of a chain.
fn reasons(text: &str) -> Vec<String> {
    match text.split_once("errors encountered: ") {
        Some((_, list)) => list.split(", ").map(str::to_owned).collect(),
        None => vec![text.rsplit(": ").next().unwrap_or(text).to_owned()],
    }
}

/// One case, set up.
struct Play<'a> {
    case: &'a Value,
    ending: Ending,
    root: TempDir,
    home: PathBuf,
    service: Service,
    /// Certificates that the service's does not lead to.
    _other: Authority,
}

impl<'a> Play<'a> {
    fn new(case: &'a Value) -> Result<Self, String> {
        let ending = ending(case)?;
        let root = tempfile::tempdir().map_err(text)?;
        let home = root.path().join("run/home");
        fs::create_dir_all(&home).map_err(text)?;
        fs::create_dir_all(root.path().join("pki")).map_err(text)?;
        let config = case["config"].as_str().ok_or("no configuration")?;
        let is_tls = value(config, URL_KEY).is_some_and(|url| url.contains("https://"));
        let chain = Organisation::new().chain(ClientToken::new("chain"));
        let act = answers(&ending, case, chain);
        let (own, other) = (Authority::new(), Authority::new());
        let service = if is_tls {
            Service::start_tls(web::tls(&own.server("aaa", &[])), act)
        } else {
            Service::start(act)
        };
        if let Some(path) = value(config, CA_KEY) {
            let trusted = if ending == Ending::Untrusted {
                &other
            } else {
                &own
            };
            let path = moved(path, root.path());
            fs::copy(trusted.ca_file(), path).map_err(text)?;
        }
        let port = if ending == Ending::Unreachable {
            1
        } else {
            service.port
        };
        let config = with_port(&moved(config, root.path()), port);
        fs::write(home.join("client.conf"), config).map_err(text)?;
        let play = Self {
            case,
            ending,
            home,
            service,
            root,
            _other: other,
        };
        play.write_files()?;
        Ok(play)
    }

    fn write_files(&self) -> Result<(), String> {
        let files = self.case["files_before"].as_object().ok_or("no files")?;
        for (name, file) in files {
            let path = self.home.join(name);
            match file["content"].as_str() {
                Some(content) => fs::write(&path, content).map_err(text)?,
                None => fs::create_dir_all(&path).map_err(text)?,
            }
            let mode = file["mode"]
                .as_str()
                .unwrap_or("0o600")
                .trim_start_matches("0o");
            let mode = u32::from_str_radix(mode, 8).map_err(text)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).map_err(text)?;
        }
        Ok(())
    }

    fn check(&self) -> Result<(), String> {
        let before = self.files();
        let user = self.case["username"].as_str().unwrap_or_default();
        let mut child = Command::new(env!("CARGO_BIN_EXE_overlay"))
            .env_clear()
            .env("HOME", &self.home)
            .env(
                "PATH",
                format!("{}:/usr/bin:/bin", self.home.join("bin").display()),
            )
            .current_dir(&self.home)
            .args([
                "--config",
                "client.conf",
                "login",
                "--user",
                user,
                "--password-stdin",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(text)?;
        if let Some(mut stdin) = child.stdin.take() {
            let password = self.case["password"].as_str().unwrap_or_default();
            std::io::Write::write_all(&mut stdin, password.as_bytes()).ok();
        }
        let output = child.wait_with_output().map_err(text)?;
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        let shown = format!("{stdout}{stderr}");
        self.check_request()?;
        let succeeds = self.succeeds();
        if output.status.code() != Some(i32::from(!succeeds)) {
            return Err(format!("ended with {:?}: {shown}", output.status.code()));
        }
        if succeeds {
            return self.check_saved(&stdout);
        }
        for words in self.words() {
            if !stderr.contains(&words) {
                return Err(format!("`{words}` is not in: {shown}"));
            }
        }
        // The original has replaced the seed by now, or made directories.
        if self.files() == before {
            Ok(())
        } else {
            Err(format!(
                "files changed although nothing was saved: {:?}",
                self.files()
            ))
        }
    }

    /// The original saves what it gets, ours a token for its own key from a service that it can verify.
    fn succeeds(&self) -> bool {
        self.ending == Ending::Saved && is_token(self.case) && !self.is_unverified()
    }

    fn is_unverified(&self) -> bool {
        let config = self.case["config"].as_str().unwrap_or_default();
        value(config, URL_KEY).is_some_and(|url| url.contains("https://"))
            && value(config, CA_KEY).is_none()
    }

    /// What the user reads, as far as the original's users know it.
    fn words(&self) -> Vec<String> {
        let one = |text: &str| vec![text.to_owned()];
        match &self.ending {
            Ending::Saved if self.is_unverified() => one("is not trusted"),
            Ending::Saved => one("what the login service sent is no token"),
            Ending::Status(status, body) => vec![format!("invalid response code {status}: {body}")],
            Ending::NoToken => one("no token received"),
            Ending::NoText | Ending::NoJson => one("is not understood"),
            Ending::HungUp | Ending::Unreachable => one("cannot be asked"),
            Ending::Untrusted => one("is not trusted"),
            Ending::Helper => {
                let line = self.case["expect"]["last_line"]
                    .as_str()
                    .unwrap_or_default();
                let at = line.find("exit status").unwrap_or_default();
                one(&line[at..])
            }
            Ending::Config(reasons) => reasons.clone(),
            Ending::Refused(text) => one(text),
        }
    }

    /// What was asked: the recorded proof is the one that ours makes and that a service checks.
    fn check_request(&self) -> Result<(), String> {
        let Some(recorded) = self.recorded()? else {
            return Ok(());
        };
        let key: PublicKey = recorded.text("public_key").parse().map_err(text)?;
        let proof = password_text(
            &recorded.text("timestamp"),
            &recorded.text("username"),
            &recorded.text("password"),
        );
        let signature = hex::decode(recorded.text("signature")).map_err(text)?;
        if !key.verify(proof.as_bytes(), &signature) {
            return Err("the recorded proof is not what ours signs".to_owned());
        }
        let asked = self.service.asked();
        let asked: Vec<&Asked> = asked
            .iter()
            .filter(|asked| asked.method == "POST")
            .collect();
        if self.is_unverified() {
            return if asked.is_empty() {
                Ok(())
            } else {
                Err("a password went to somebody unknown".to_owned())
            };
        }
        let Some(ours) = asked.iter().find(|ours| ours.path == recorded.path) else {
            return Err(format!("{} was not asked: {asked:?}", recorded.path));
        };
        let members = |asked: &Asked| -> Vec<String> {
            let json = asked.json();
            let mut members: Vec<String> = json
                .as_object()
                .into_iter()
                .flat_map(|members| members.keys().cloned())
                .collect();
            members.sort();
            members
        };
        let same = members(ours) == members(&recorded)
            && ours.content_type == recorded.content_type
            && ours.text("username") == recorded.text("username")
            && ours.text("password") == recorded.text("password");
        if same {
            Ok(())
        } else {
            Err(format!("asked {ours:?} instead of {recorded:?}"))
        }
    }

    /// The request of the original, if one was made and could be read.
    fn recorded(&self) -> Result<Option<Asked>, String> {
        let Some(encoded) = self.case["expect"]["request_b64"].as_str() else {
            return Ok(None);
        };
        let bytes = STANDARD.decode(encoded).map_err(text)?;
        Ok(web::read(&mut std::io::Cursor::new(bytes)))
    }

    fn check_saved(&self, stdout: &str) -> Result<(), String> {
        let line = self.case["expect"]["last_line"]
            .as_str()
            .unwrap_or_default();
        let line = moved(line, self.root.path());
        if stdout.lines().last() != Some(line.as_str()) {
            return Err(format!("the last line is not `{line}`: {stdout}"));
        }
        let expected = self.case["expect"]["files_after"]
            .as_object()
            .ok_or("no files")?;
        let found = self.files();
        for (name, file) in expected {
            let Some((mode, content)) = found.get(name) else {
                return Err(format!("{name} is not there"));
            };
            let is_file = file["kind"] == "file";
            let is_new = self.case["files_before"].get(name).is_none();
            // Files of a session are always new ones, for their owner alone; directories stay as they are.
            let due = match file["mode"].as_str() {
                Some(recorded) if !is_file || is_new => {
                    recorded.trim_start_matches("0o").to_owned()
                }
                _ => "600".to_owned(),
            };
            if format!("{mode:o}") != due {
                return Err(format!("{name} has mode {mode:o}, not {due}"));
            }
            let length = file["length"].as_u64();
            if is_file && name.ends_with(".key") && length != Some(content.len() as u64) {
                return Err(format!("{name} has {} bytes", content.len()));
            }
        }
        Ok(())
    }

    /// Everything below the home directory: mode and content by name.
    fn files(&self) -> BTreeMap<String, (u32, String)> {
        let mut found = BTreeMap::new();
        collect(&self.home, &self.home, &mut found);
        found
    }
}

fn collect(root: &Path, dir: &Path, found: &mut BTreeMap<String, (u32, String)>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        let name = path
            .strip_prefix(root)
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        let content = if path.is_dir() {
            collect(root, &path, found);
            String::new()
        } else {
            fs::read_to_string(&path).unwrap()
        };
        found.insert(name, (mode, content));
    }
}

/// What the service must have said for the original to end like that.
fn answers(
    ending: &Ending,
    case: &Value,
    chain: Chain,
) -> impl Fn(&Asked) -> Does + Send + 'static {
    let (ending, saved) = (ending.clone(), saved_token(case));
    let is_token = is_token(case);
    let password = case["password"].as_str().unwrap_or_default().to_owned();
    move |asked| {
        if asked.method != "POST" {
            return Does::Answer(
                404,
                r#"{"code":404,"message":"path was not found"}"#.to_owned(),
            );
        }
        let said = |json: Value| Does::Answer(200, json.to_string());
        match &ending {
            Ending::Saved if is_token => {
                said(log_in(&chain, asked, Duration::from_secs(3600), &password))
            }
            Ending::Saved => said(json!({"token": saved, "more": "text", "nothing": null})),
            Ending::Status(status, body) => Does::Answer(*status, body.clone()),
            Ending::NoToken => said(json!({})),
            Ending::NoText => said(json!({"token": 5})),
            Ending::NoJson => Does::Answer(200, "<html>".to_owned()),
            Ending::HungUp => Does::HangUp,
            Ending::Refused(text) => said(json!({"error": text, "token": "a.b.c"})),
            Ending::Unreachable | Ending::Untrusted | Ending::Helper | Ending::Config(_) => {
                Does::HangUp
            }
        }
    }
}

/// The content of the token file afterwards.
fn saved_token(case: &Value) -> Option<String> {
    let files = case["expect"]["files_after"].as_object()?;
    let line = case["expect"]["last_line"].as_str()?;
    let (_, file) = files
        .iter()
        .find(|(name, _)| line.ends_with(name.as_str()))?;
    file["content"].as_str().map(str::to_owned)
}

/// Whether the original saved a client's token for the key that it had sent.
fn is_token(case: &Value) -> bool {
    let encoded = case["expect"]["request_b64"].as_str().unwrap_or_default();
    let bytes = STANDARD.decode(encoded).unwrap_or_default();
    let Some(asked) = web::read(&mut std::io::Cursor::new(bytes)) else {
        return false;
    };
    saved_token(case)
        .and_then(|token| Unverified::<ClientClaims>::decode(&token).ok())
        .is_some_and(|token| {
            token.claims_unverified().standard.public_key == asked.text("public_key")
        })
}

/// The value of a key of a configuration.
fn value<'a>(config: &'a str, key: &str) -> Option<&'a str> {
    let line = config
        .lines()
        .find(|line| line.split('=').next().map(str::trim) == Some(key))?;
    line.split_once('=').map(|(_, value)| value.trim())
}

/// Paths of the recording, here.
fn moved(text: &str, root: &Path) -> String {
    text.replace(ROOT, &root.display().to_string())
}

/// The addresses of the login service, here.
fn with_port(config: &str, port: u16) -> String {
    let lines = config.lines().map(|line| {
        if line.split('=').next().map(str::trim) != Some(URL_KEY) {
            return line.to_owned();
        }
        let parts: Vec<String> = line
            .split("127.0.0.1:")
            .enumerate()
            .map(|(number, part)| match number {
                0 => part.to_owned(),
                _ => format!(
                    "{port}{}",
                    part.trim_start_matches(|c: char| c.is_ascii_digit())
                ),
            })
            .collect();
        parts.join("127.0.0.1:")
    });
    lines.map(|line| format!("{line}\n")).collect()
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
