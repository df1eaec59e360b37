//! Files of the original's configuration: does the service start on them, and what do a login and requests then get.

mod ask;

use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use overlay_testkit::mint::Authority;
use overlay_testkit::vectors::{Loader, Outcome, for_cases};
use overlay_testkit::{Process, eventually_blocking, free_port};
use serde_json::{Value, json};

use super::keys::Keys;
use crate::cell::{OFTEN, SOON};

/// Where the recorded files were.
const ROOT: &str = "/etc/aaasvc-test";
/// Ports of the recorded service.
const PORTS: [u16; 2] = [14440, 14441];

pub(super) fn files(file: &Value, loader: &Loader) -> Outcome {
    let prepared = Keys::load(file, loader).and_then(|keys| {
        let users = loader
            .load("userlist.json")
            .map_err(|error| error.to_string())?;
        Ok((keys, users))
    });
    match prepared {
        Ok((keys, users)) => for_cases(file, |case| check(case, &keys, &users)),
        Err(error) => {
            let mut outcome = Outcome::default();
            outcome.record("keys", Err(error));
            outcome
        }
    }
}

fn check(case: &Value, keys: &Keys, users: &Value) -> Result<(), String> {
    let place = Place::new(case, keys, users)?;
    let expected = case["expect"]["running_after_start"]
        .as_bool()
        .ok_or("no expectation")?;
    let (code, text) = place.check();
    let starts = code == Some(0);
    if !starts && code != Some(78) {
        return Err(format!("exit {code:?}: {text}"));
    }
    match (starts, expected) {
        (true, true) => place.ask(case, keys, users),
        (false, false) => Ok(()),
        (false, true) => refused_by_rule(&case["config"], place.insecure)
            .ok_or_else(|| format!("refused, and no rule says so: {text}")),
        (true, false) => started_by_rule(case).ok_or_else(|| "starts".to_owned()),
    }
}

/// Rules: what the original starts with and fails at later, or does without, is refused at the start.
fn refused_by_rule(config: &Value, insecure: bool) -> Option<()> {
    let signer = &config["basicjwt_signer"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let known = ["logfile", "jetstream"].map(Value::from);
    let auditors = config["auditors"].as_array().cloned().unwrap_or_default();
    let is_signer = !text(&config["signer"]).is_empty();
    let certificate = text(&signer["signing_certificate"]);
    let verifies = certificate.ends_with("/org.public") || certificate.ends_with("/org_nl.public");
    let missing = |path: &str| path.is_empty() || path.contains("/none");
    let is_served = signer["choria_service"] == true;
    let refused = auditors.iter().any(|auditor| !known.contains(auditor))
        || (is_signer && auditors.is_empty())
        // The record over the broker needs the account of the record.
        || auditors.contains(&known[1])
        || (auditors.contains(&known[0]) && text(&config["logfile_auditor"]["logfile"]).is_empty())
        || (is_signer && text(&config["authorizer"]).is_empty())
        || (is_signer && missing(&text(&signer["signing_seed"])))
        || (is_signer && missing(&text(&signer["signing_token"])))
        || text(&signer["signing_token"]).contains("noauth")
        // The one key must be that of the organisation, which has signed the service's own tokens.
        || (is_signer && !verifies)
        // Nothing in clear, unless it is asked for.
        || (!insecure && missing(&text(&config["tls_certificate"])))
        || text(&config["choria_config"]).contains("badid")
        // Nothing would be served.
        || (config["port"].is_null() && !is_served)
        // Only the signer's table says whose tokens are good: without it, [issuers] of a second file must.
        || !is_signer;
    refused.then_some(())
}

/// Rules: a port may be a text, the log goes to standard error, no environment and no pid file is needed.
fn started_by_rule(case: &Value) -> Option<()> {
    let config = &case["config"];
    let arguments = case["arguments"].as_array().cloned().unwrap_or_default();
    let started = config["port"].is_string()
        || config["monitor_port"].is_string()
        || config["logfile"].as_str().is_some_and(|path| path.contains("/none/"))
        || !case["environment"].is_null()
        || arguments.contains(&json!("--pid"))
        // Found when it is opened, which the check leaves alone: the service then is not ready.
        || config["logfile_auditor"]["logfile"].as_str().is_some_and(|path| path.contains("/none/"))
        // Another process has the port: found when it is bound.
        || case["expect"]["http_listening"] == true;
    started.then_some(())
}

/// The files of a case.
struct Place {
    dir: tempfile::TempDir,
    ports: [u16; 2],
    insecure: bool,
    _authority: Authority,
}

impl Place {
    fn new(case: &Value, keys: &Keys, users: &Value) -> Result<Self, String> {
        let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
        let root = dir.path().to_owned();
        for name in ["tok", "etc", "conf", "log", "run", "pki"] {
            std::fs::create_dir(root.join(name)).map_err(|error| error.to_string())?;
        }
        for (name, token) in keys.token_files() {
            write(&root.join("tok").join(name), token)?;
        }
        for (name, key) in keys.keys() {
            write(&root.join(format!("tok/{name}.seed")), &key.seed_text())?;
            write(
                &root.join(format!("tok/{name}.public")),
                &key.public().to_string(),
            )?;
        }
        let org = keys.key("org")?.public();
        write(&root.join("tok/org_nl.public"), &format!("{org}\n"))?;
        for (name, token, key, identity) in [
            ("aaa-choria", "rpc.jwt", "rpc", "aaa.example.net"),
            ("aaa-badid", "rpc.jwt", "rpc", "other.example.net"),
            ("aaa-client", "audit.jwt", "carol", "carol"),
        ] {
            let text = format!(
                "identity = {identity}\nplugin.security.provider = choria\n\
                 plugin.security.choria.token_file = {ROOT}/tok/{token}\n\
                 plugin.security.choria.seed_file = {ROOT}/tok/{key}.seed\n\
                 plugin.choria.middleware_hosts = nats://127.0.0.1:1\n"
            );
            write(
                &root.join(format!("conf/{name}.conf")),
                &moved(&text, &root),
            )?;
        }
        let list = &users["cases"][0]["file_json"];
        write(
            &root.join("etc/users.json"),
            &moved(&list.to_string(), &root),
        )?;
        for (name, text) in users["cases"][0]["files"].as_object().into_iter().flatten() {
            if let Some(text) = text.as_str() {
                write(Path::new(&moved(name, &root)), text)?;
            }
        }
        let authority = Authority::new();
        let tls = authority.server("broker", &[]);
        for (from, to) in [
            (&tls.cert, "cert.pem"),
            (&tls.key, "key.pem"),
            (&tls.cert, "rsa-auth.pem"),
        ] {
            let text = std::fs::read_to_string(from).map_err(|error| error.to_string())?;
            write(&root.join("pki").join(to), &text)?;
        }
        let ports = [free_port(), free_port()];
        let text = match case["config_text"].as_str() {
            Some(text) => text.to_owned(),
            None => case["config"].to_string(),
        };
        let mut text = moved(&text, &root);
        for (recorded, port) in PORTS.into_iter().zip(ports) {
            text = text.replace(&recorded.to_string(), &port.to_string());
        }
        // Only the check is run on it: nothing is created beside the device.
        let text = text.replace("/dev/full", &root.join("log/full").display().to_string());
        write(&root.join("etc/K.json"), &text)?;
        let arguments = case["arguments"].as_array().cloned().unwrap_or_default();
        Ok(Self {
            dir,
            ports,
            insecure: arguments.contains(&json!("--disable-tls")),
            _authority: authority,
        })
    }

    fn path(&self) -> std::path::PathBuf {
        self.dir.path().join("etc/K.json")
    }

    fn environment(&self) -> Option<(&'static str, &'static str)> {
        // What the original's hidden switch says.
        self.insecure
            .then_some(("OVERLAY_AAA_SIGNER__HTTP__INSECURE", "true"))
    }

    /// Has the file checked: exit code and what was said.
    fn check(&self) -> (Option<i32>, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_overlay-aaa-signer"));
        command.arg("--check").arg("--config").arg(self.path());
        command.envs(self.environment());
        let output = command.output().expect("the program runs");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), text)
    }

    /// Runs the service, and compares what it serves and answers.
    fn ask(&self, case: &Value, keys: &Keys, users: &Value) -> Result<(), String> {
        if case["expect"]["http_listening"] != true {
            return Ok(());
        }
        let mut builder = Process::builder(env!("CARGO_BIN_EXE_overlay-aaa-signer"));
        if let Some((name, value)) = self.environment() {
            builder = builder.env(name, value);
        }
        let mut process = builder.arg("--config").arg(self.path()).start();
        let [port, monitor] = self.ports;
        eventually_blocking(SOON, OFTEN, || listens(port));
        if case["expect"]["monitor_listening"] == true {
            eventually_blocking(SOON, OFTEN, || listens(monitor));
        }
        let asked = ask::login(case, keys, users, port)
            .and_then(|()| ask::signatures(case, keys, port))
            .map_err(|error| format!("{error}: {}", process.stderr()));
        let status = process.stop(Duration::from_secs(20));
        if status.code() != Some(0) {
            return Err(format!("ended with {status}: {}", process.stderr()));
        }
        asked
    }
}

fn listens(port: u16) -> Result<(), String> {
    TcpStream::connect(("127.0.0.1", port))
        .map(drop)
        .map_err(|error| error.to_string())
}

fn moved(text: &str, root: &Path) -> String {
    text.replace(ROOT, &root.display().to_string())
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    use std::os::unix::fs::PermissionsExt as _;
    let done = std::fs::write(path, text)
        .and_then(|()| std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)));
    done.map_err(|error| format!("{}: {error}", path.display()))
}
