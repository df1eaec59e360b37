//! Replays runs of Choria's `jwt` commands with our own.
//!
//! The vectors hold arguments, exit codes, texts and files. Words are ours, so texts are compared by the
//! facts in them; identifiers, times and keys differ from run to run, so claims are compared without them.
//! Where we differ on purpose, [`Deviation`] says so, by what the arguments are.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use overlay_protocol::id::{Collective, Identity};
use overlay_testkit::vectors::{Loader, Outcome, for_cases};
use overlay_tokens::{Key, PublicKey, Token, file};
use serde_json::{Map, Value};

type Checked = Result<(), String>;

/// Claims that differ from run to run.
const VOLATILE: [&str; 5] = ["exp", "nbf", "iat", "jti", "tcs"];
const POLICY: &str = "package io.choria.aaasvc\n\ndefault allow := false\n";

/// Where our command differs from Choria's on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deviation {
    /// We refuse what Choria accepts.
    Stricter,
    /// We accept what Choria refuses.
    Wider,
    /// Without `--collectives` a node is in `choria`, not in `mcollective`.
    DefaultCollective,
}

/// Positional arguments and flags of one run, read with the knowledge of which flags take a value.
struct Arguments<'a> {
    all: Vec<&'a str>,
    verb: &'a str,
    positional: Vec<&'a str>,
}

const VERBS: [&str; 14] = [
    "keys",
    "k",
    "client",
    "c",
    "server",
    "provisioning",
    "provisioner",
    "provision",
    "prov",
    "p",
    "view",
    "show",
    "v",
    "s",
];

const SWITCHES: [&str; 25] = [
    "--force",
    "-f",
    "--show-public",
    "--stream-admin",
    "--stream-user",
    "--event-viewer",
    "--elections-user",
    "--service",
    "--system",
    "--auth-delegation",
    "--fleet-management",
    "--no-fleet-management",
    "--signed-fleet-management",
    "--org-admin",
    "--issuer",
    "--server-provisioner",
    "--governor",
    "--submission",
    "--insecure",
    "--no-insecure",
    "--default",
    "--protocol-v2",
    "--update",
    "--upgrade",
    "--json",
];

impl<'a> Arguments<'a> {
    fn of(case: &'a Value) -> Option<Self> {
        let all: Vec<&str> = case["args"]
            .as_array()?
            .iter()
            .map(Value::as_str)
            .collect::<Option<_>>()?;
        // Without a verb it is `view`.
        let verb = all.get(1).copied().filter(|verb| VERBS.contains(verb));
        let mut positional = Vec::new();
        let mut rest = all.iter().skip(if verb.is_some() { 2 } else { 1 });
        while let Some(argument) = rest.next() {
            if !argument.starts_with('-') {
                positional.push(*argument);
            } else if !SWITCHES.contains(argument) && !argument.contains('=') {
                rest.next();
            }
        }
        Some(Self {
            all,
            verb: verb.unwrap_or("view"),
            positional,
        })
    }

    fn has(&self, flag: &str) -> bool {
        self.values(flag).next().is_some() || self.all.contains(&flag)
    }

    fn values(&self, flag: &str) -> impl Iterator<Item = &'a str> {
        let flag = flag.to_owned();
        self.all
            .windows(2)
            .filter(move |pair| pair[0] == flag)
            .map(|pair| pair[1])
    }

    fn is_view(&self) -> bool {
        ["view", "show", "v", "s"].contains(&self.verb)
    }

    fn is_provisioning(&self) -> bool {
        ["provisioning", "provisioner", "prov", "provision", "p"].contains(&self.verb)
    }

    /// The rule, if one applies; see `docs/conformance/cli-jwt.md`.
    fn deviation(&self, dir: &Path) -> Option<Deviation> {
        let unusable = |text: &&str| {
            text.parse::<PublicKey>().is_err() && file::read_public(&dir.join(text)).is_err()
        };
        let exists = |text: &&str| dir.join(text).exists();
        if ["keys", "k"].contains(&self.verb) {
            let shows = self.has("--show-public");
            let forced = self.has("--force") || self.has("-f");
            if (shows && !self.positional.first().is_some_and(exists))
                || (!shows && !forced && self.positional.get(1).is_some_and(exists))
            {
                return Some(Deviation::Stricter);
            }
        }
        if ["client", "c"].contains(&self.verb)
            && self.values("--public-key").any(|key| unusable(&key))
        {
            return Some(Deviation::Stricter);
        }
        if self.verb == "server" {
            let identity = self.positional.get(1).copied().unwrap_or_default();
            let bad_collective = self
                .values("--collectives")
                .any(|name| Collective::new(name).is_err());
            if self.positional.get(2).is_some_and(unusable)
                || Identity::new(identity).is_err()
                || bad_collective
            {
                return Some(Deviation::Stricter);
            }
            if !self.has("--collectives") {
                return Some(Deviation::DefaultCollective);
            }
        }
        if self.is_provisioning() {
            let both = self.has("--urls") && self.has("--srv");
            if both || !self.has("--token") {
                return Some(Deviation::Stricter);
            }
        }
        let literal = |text: &&str| PublicKey::looks_like_one(text);
        if self.is_view() && self.positional.get(1).is_some_and(literal) {
            return Some(Deviation::Wider);
        }
        None
    }
}

/// The handler of `tokens/jwt-cli.json`.
pub(crate) fn replay(file: &Value, loader: &Loader) -> Outcome {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let keys = loader
        .load("tokens/keys.json")
        .expect("the keys of the vectors");
    lay_out(dir.path(), &keys);
    let mut made = Made::default();
    for_cases(file, |case| check(case, dir.path(), &mut made))
}

/// Tokens of earlier runs that are not what Choria made, so that looking at them shows something else.
#[derive(Debug, Default)]
struct Made {
    refused: BTreeSet<String>,
    in_default_collective: BTreeSet<String>,
}

impl Made {
    fn remember(&mut self, file: Option<&&str>, deviation: Option<Deviation>) {
        let Some(file) = file.map(|file| (*file).to_owned()) else {
            return;
        };
        self.refused.remove(&file);
        self.in_default_collective.remove(&file);
        match deviation {
            Some(Deviation::Stricter) => self.refused.insert(file),
            Some(Deviation::DefaultCollective) => self.in_default_collective.insert(file),
            Some(Deviation::Wider) | None => false,
        };
    }
}

/// Puts down the files that the runs found.
fn lay_out(dir: &Path, keys: &Value) {
    let write = |name: &str, content: &str| fs::write(dir.join(name), content).expect("write");
    for key in keys["cases"].as_array().into_iter().flatten() {
        if let (Some(name), Some(seed), Some(public)) = (
            key["name"].as_str(),
            key["seed_hex"].as_str(),
            key["public_hex"].as_str(),
        ) {
            write(&format!("{name}.seed"), seed);
            write(&format!("{name}.public"), public);
        }
    }
    let rsa = &keys["common"]["rsa"];
    write(
        "rsa.pem",
        rsa["private_pkcs1_pem"].as_str().unwrap_or_default(),
    );
    write("rsa.pub", rsa["public_pem"].as_str().unwrap_or_default());
    write("nl.seed", &format!("{}\n", "01".repeat(32)));
    write("policy.rego", POLICY);
}

fn check(case: &Value, dir: &Path, made: &mut Made) -> Checked {
    let arguments = Arguments::of(case).ok_or("the case has no arguments")?;
    let expect = &case["expect"];
    let subject = arguments.positional.first().copied().unwrap_or_default();
    let deviation = if arguments.is_view() && made.refused.contains(subject) {
        Some(Deviation::Stricter)
    } else {
        arguments.deviation(dir)
    };
    if !arguments.is_view() {
        made.remember(arguments.positional.first(), deviation);
    }
    let before = contents(dir);
    let output = run(&arguments, dir);
    let accepted = expect["rc"].as_i64().ok_or("the case has no exit code")? == 0;
    let due = match deviation {
        Some(Deviation::Stricter) => false,
        Some(Deviation::Wider) => verifies(&arguments, dir),
        Some(Deviation::DefaultCollective) | None => accepted,
    };
    let said = || {
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        format!(
            "exit code {:?}, said {out:?} and {err:?}",
            output.status.code()
        )
    };
    if output.status.success() != due {
        return Err(said());
    }
    if !due {
        if output.stderr.is_empty() || !output.stdout.is_empty() {
            return Err(format!("a refusal belongs on standard error: {}", said()));
        }
        // Nothing was made, nothing was changed.
        return if contents(dir) == before {
            Ok(())
        } else {
            Err("files were changed".to_owned())
        };
    }
    if deviation == Some(Deviation::Wider) {
        return Ok(());
    }
    for file in expect["files"].as_array().into_iter().flatten() {
        check_file(file, dir, deviation)?;
    }
    let mut stdout = expect["stdout"].as_str().unwrap_or_default().to_owned();
    if arguments.is_view() && made.in_default_collective.contains(subject) {
        stdout = stdout.replace("mcollective", "choria");
    }
    check_text(&arguments, &stdout, &text(&output.stdout), dir)
}

/// Whether a token verifies with the literal key that a run names.
#[expect(
    clippy::disallowed_methods,
    reason = "our command looks at the same clock"
)]
fn verifies(arguments: &Arguments<'_>, dir: &Path) -> bool {
    let token = arguments
        .positional
        .first()
        .map(|file| file::read_token(&dir.join(file)));
    let key = arguments
        .positional
        .get(1)
        .map(|key| key.parse::<PublicKey>());
    let (Some(Ok(token)), Some(Ok(key))) = (token, key) else {
        return false;
    };
    let (key, now) = (key.into(), std::time::SystemTime::now().into());
    match Token::decode(&token) {
        Ok(Token::Client(token)) => token.verify_with_key(&key, now).is_ok(),
        Ok(Token::Server(token)) => token.verify_with_key(&key, now).is_ok(),
        Ok(Token::Provisioning(token)) => token.verify_with_key(&key, now).is_ok(),
        Ok(Token::Unknown(_)) | Err(_) => false,
    }
}

fn run(arguments: &Arguments<'_>, dir: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_overlay"))
        .args(&arguments.all)
        .current_dir(dir)
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .expect("run overlay")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn contents(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    fs::read_dir(dir)
        .expect("read the directory")
        .map(|entry| {
            let entry = entry.expect("an entry");
            let name = entry.file_name().to_string_lossy().into_owned();
            (name, fs::read(entry.path()).expect("read a file"))
        })
        .collect()
}

fn check_file(file: &Value, dir: &Path, deviation: Option<Deviation>) -> Checked {
    let name = file["name"].as_str().ok_or("a file has no name")?;
    let path = dir.join(name);
    if file["missing"] == true {
        return if path.exists() {
            Err(format!("{name} exists"))
        } else {
            Ok(())
        };
    }
    let content = fs::read(&path).map_err(|error| format!("{name}: {error}"))?;
    let mode = fs::metadata(&path)
        .map_err(|error| error.to_string())?
        .permissions()
        .mode();
    let mode = format!("{:04o}", mode & 0o7777);
    if file["mode"].as_str().is_some_and(|due| due != mode) {
        return Err(format!("{name} has mode {mode}"));
    }
    // A token's length depends on how its JSON is spelled, a key's on nothing.
    let size = u64::try_from(content.len()).unwrap_or_default();
    if file.get("claims").is_none() && file["size"].as_u64().is_some_and(|due| due != size) {
        return Err(format!("{name} has {size} bytes"));
    }
    match file.get("claims") {
        Some(due) => check_claims(due, &file["header"], &text(&content), deviation)
            .map_err(|why| format!("{name}: {why}")),
        // Keys: 64 lower-case hexadecimal digits, whatever they are.
        None if content
            .iter()
            .all(|byte| b"0123456789abcdef".contains(byte)) =>
        {
            Ok(())
        }
        None => Err(format!("{name} holds no key")),
    }
}

fn check_claims(due: &Value, header: &Value, token: &str, deviation: Option<Deviation>) -> Checked {
    let parts: Vec<&str> = token.split('.').collect();
    let part = |index: usize| -> Result<Value, String> {
        let part = parts.get(index).ok_or("no token")?;
        let json = URL_SAFE_NO_PAD
            .decode(part)
            .map_err(|error| error.to_string())?;
        serde_json::from_slice(&json).map_err(|error| error.to_string())
    };
    same("header", header, &part(0)?)?;
    let mut due = due.as_object().cloned().ok_or("claims are no object")?;
    if deviation == Some(Deviation::DefaultCollective) {
        due.insert("collectives".to_owned(), serde_json::json!(["choria"]));
    }
    let got = part(1)?
        .as_object()
        .cloned()
        .ok_or("claims are no object")?;
    same_claims(&due, &got)?;
    let number = |claims: &Map<String, Value>, name: &str| claims.get(name).and_then(Value::as_i64);
    let validity = |claims| Some(number(claims, "exp")? - number(claims, "iat")?);
    if validity(&due) != validity(&got) {
        return Err(format!(
            "good for {:?}, due {:?}",
            validity(&got),
            validity(&due)
        ));
    }
    if got.get("nbf") != got.get("iat") {
        return Err("it does not begin when it was issued".to_owned());
    }
    let length = |claims: &Map<String, Value>, name: &str| claims.get(name)?.as_str().map(str::len);
    for name in ["jti", "tcs"] {
        if length(&due, name) != length(&got, name) {
            return Err(format!("{name} has another form"));
        }
    }
    Ok(())
}

fn same_claims(due: &Map<String, Value>, got: &Map<String, Value>) -> Checked {
    let names = |claims: &Map<String, Value>| claims.keys().cloned().collect::<Vec<_>>().join(" ");
    let (mut due_names, mut got_names): (Vec<_>, Vec<_>) =
        (due.keys().collect(), got.keys().collect());
    due_names.sort();
    got_names.sort();
    if due_names != got_names {
        return Err(format!("claims {}, due {}", names(got), names(due)));
    }
    for (name, value) in due {
        if !VOLATILE.contains(&name.as_str()) {
            same(name, value, got.get(name).unwrap_or(&Value::Null))?;
        }
    }
    Ok(())
}

fn same(what: &str, due: &Value, got: &Value) -> Checked {
    if due == got {
        Ok(())
    } else {
        Err(format!("{what} is {got}, due {due}"))
    }
}

fn check_text(arguments: &Arguments<'_>, due: &str, got: &str, dir: &Path) -> Checked {
    match arguments.verb {
        "keys" | "k" => {
            let seed = arguments.positional.first().ok_or("no seed file")?;
            let seed = fs::read(dir.join(seed)).map_err(|error| error.to_string())?;
            let key = Key::from_seed_text(&seed).map_err(|error| error.to_string())?;
            contains(got, &key.public().to_string())
        }
        _ if arguments.is_view() && arguments.has("--json") => {
            let parse = |text: &str| -> Result<Map<String, Value>, String> {
                serde_json::from_str(text).map_err(|error| format!("no JSON: {error}"))
            };
            let mut got = parse(got)?;
            // Ours beside the claims: whether it was verified, and what it means.
            if got.remove("overlay").is_none() {
                return Err("the findings are missing".to_owned());
            }
            same_claims(&parse(due)?, &got)
        }
        _ if arguments.is_view() => same_facts(due, got),
        _ => {
            let file = arguments.positional.first().ok_or("no token file")?;
            contains(got, file)
        }
    }
}

fn contains(text: &str, part: &str) -> Checked {
    if text.contains(part) {
        Ok(())
    } else {
        Err(format!("{part:?} is not in {text:?}"))
    }
}

/// What Choria tells as `Label: value`, ours tells in its own words.
fn same_facts(due: &str, got: &str) -> Checked {
    let verified = !due.starts_with("Unvalidated");
    if got.contains("NOT VERIFIED") == verified {
        return Err(format!("verified or not? {got:?}"));
    }
    let permissions = due
        .lines()
        .filter(|line| line.trim_start().starts_with("Can "))
        .count();
    let ours = got
        .lines()
        .filter(|line| line.starts_with("    - "))
        .count();
    let ours = if got.contains("- nothing besides") {
        0
    } else {
        ours
    };
    if permissions != ours {
        return Err(format!("{ours} permissions, due {permissions}: {got:?}"));
    }
    for line in due.lines() {
        let Some((label, value)) = line.split_once(": ") else {
            continue;
        };
        let label = label.trim();
        // Times and identifiers differ; JSON and truth values have other forms.
        let other = label.starts_with('"')
            || label.ends_with("At")
            || ["true", "false"].contains(&value)
            || value.starts_with('{');
        if other {
            continue;
        }
        if label == "Trust Chain" {
            for word in value
                .split(' ')
                .filter(|word| PublicKey::looks_like_one(word))
            {
                contains(got, word)?;
            }
            continue;
        }
        for part in value.split(", ") {
            contains(got, part)?;
        }
    }
    Ok(())
}
