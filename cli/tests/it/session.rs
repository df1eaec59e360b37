//! `overlay login`, `whoami` and `logout`, and requests that a signer signs.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use overlay_protocol::signing::login::password_text;
use overlay_testkit::mint::{self, Chain, Organisation};
use overlay_testkit::{Broker, Pty};
use overlay_tokens::claims::ClientPermissions;
use overlay_tokens::issue::ClientToken;
use overlay_tokens::{Key, PublicKey};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::desk::{self, Run, assert_shown};
use crate::fleet::{self, node};
use crate::signer_host::{Habit, Signatory, SignerHost};
use crate::web::{Asked, Does, Service};

const PAGE: &str = "/choria/v1/login";
const LIMIT: Duration = Duration::from_secs(30);

/// A user's machine, and a login service that knows bob.
struct Home {
    dir: TempDir,
    service: Service,
}

/// Makes tokens for those who prove their key and know the password.
pub(crate) fn log_in(chain: &Chain, asked: &Asked, validity: Duration, word: &str) -> Value {
    let (user, password) = (asked.text("username"), asked.text("password"));
    let key: PublicKey = asked.text("public_key").parse().unwrap();
    let proof = password_text(&asked.text("timestamp"), &user, &password);
    let signature = hex::decode(asked.text("signature")).unwrap();
    assert!(key.verify(proof.as_bytes(), &signature));
    if password != word {
        return json!({"error": "Login failed"});
    }
    let token = chain.client(ClientToken {
        public_key: Some(key),
        validity,
        agents: vec!["rpcutil.ping".to_owned()],
        tenant: Some("payments".parse().unwrap()),
        permissions: Some(ClientPermissions {
            signed_fleet_management: true,
            audit_viewer: true,
            ..ClientPermissions::default()
        }),
        ..ClientToken::new(format!("up={user}"))
    });
    json!({"token": token.token})
}

impl Home {
    fn new() -> Self {
        Self::with(Duration::from_secs(3600))
    }

    fn with(validity: Duration) -> Self {
        let organisation = Organisation::new();
        let chain = Arc::new(organisation.chain(ClientToken::new("chain")));
        let service =
            Service::start(
                move |asked| match (asked.method.as_str(), asked.path.as_str()) {
                    ("POST", PAGE) => {
                        Does::Answer(200, log_in(&chain, asked, validity, "secret").to_string())
                    }
                    _ => Does::Answer(404, String::new()),
                },
            );
        let dir = tempfile::tempdir().unwrap();
        let issuer = organisation.public();
        let url = service.url(PAGE);
        let text = format!(
            "token_file = \"keys/client.jwt\"\nseed_file = \"keys/client.seed\"\nidentity = \"desk\"\n\
             [broker]\nservers = [\"nats://127.0.0.1:1\"]\nconnect_timeout = \"100ms\"\n[login]\nurl = \"{url}\"\n[issuers]\nchoria = \"{issuer}\"\n"
        );
        fs::write(dir.path().join("client.toml"), text).unwrap();
        Self { dir, service }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn run(&self, args: &[&str]) -> Run {
        desk::run(self.path(), args, None)
    }

    fn log_in(&self, password: &str) -> Run {
        let args = ["login", "--user", "bob", "--password-stdin"];
        desk::run(self.path(), &args, Some(&format!("{password}\n")))
    }

    fn at_terminal(&self, args: &[&str]) -> Pty {
        let mut command = desk::command(self.path());
        command.args(args).env("USER", "bob").env("TERM", "dumb");
        Pty::start(command)
    }

    fn files(&self) -> Vec<(String, String)> {
        let Ok(entries) = fs::read_dir(self.path().join("keys")) else {
            return Vec::new();
        };
        let mut files: Vec<(String, String)> = entries
            .map(|entry| {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                (name, fs::read_to_string(path).unwrap())
            })
            .collect();
        files.sort();
        files
    }
}

#[test]
fn aaa_case_19_a_login_saves_token_and_seed_for_their_owner_and_says_where() {
    let home = Home::new();
    let run = home.log_in("secret").ok();
    let token_file = home.path().join("keys/client.jwt");
    let line = format!("Token saved to {}\n", token_file.display());
    assert_eq!(run.stdout, line);
    assert!(run.stderr.contains("Logged in as up=bob until"), "{run:?}");
    let names: Vec<String> = home.files().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["client.jwt", "client.seed"]);
    for name in ["keys/client.jwt", "keys/client.seed"] {
        let mode = fs::metadata(home.path().join(name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let asked = &home.service.asked_for(PAGE)[0];
    let seed = fs::read(home.path().join("keys/client.seed")).unwrap();
    let key = Key::from_seed_text(&seed).unwrap().public();
    assert_eq!(asked.text("public_key"), key.to_string());
}

#[test]
fn a_login_that_is_refused_says_so_and_changes_nothing() {
    let home = Home::new();
    home.log_in("secret").ok();
    let before = home.files();
    let run = home.log_in("wrong");
    assert_eq!(run.stdout, "");
    let run = run.fails(1, "error: Login failed");
    assert_shown!("session_login_failed", run.stderr);
    assert_eq!(home.files(), before);
}

#[test]
fn a_login_tells_programs_what_it_did() {
    let home = Home::new();
    let args = ["login", "-u", "bob", "--password-stdin", "--json"];
    let run = desk::run(home.path(), &args, Some("secret")).ok();
    let told = run.json();
    assert_eq!(told["caller"], "up=bob");
    assert_eq!(told["method"], "userlist");
    let left = told["expires_in"].as_i64().unwrap();
    assert!((3590..=3600).contains(&left), "{told}");
    assert_eq!(run.stderr, "");
}

#[test]
fn name_and_password_are_asked_for_at_a_terminal_and_the_password_is_not_shown() {
    let home = Home::new();
    let mut pty = home.at_terminal(&["login"]);
    pty.expect("Username [bob]: ", LIMIT);
    pty.send("");
    pty.expect("Password: ", LIMIT);
    pty.send("secret");
    pty.expect("Token saved to", LIMIT);
    let (status, shown) = pty.wait(LIMIT);
    assert!(status.success(), "{shown}");
    assert!(!shown.contains("secret"), "{shown}");
    assert_eq!(home.service.asked_for(PAGE)[0].text("username"), "bob");
    assert_eq!(home.files().len(), 2);
}

#[test]
fn a_name_given_at_the_terminal_wins_over_the_users_own() {
    let home = Home::new();
    let mut pty = home.at_terminal(&["login"]);
    pty.expect("Username [bob]: ", LIMIT);
    pty.send("rip");
    pty.expect("Password: ", LIMIT);
    pty.send("wrong");
    pty.expect("Login failed", LIMIT);
    let (status, _) = pty.wait(LIMIT);
    assert_eq!(status.code(), Some(1));
    assert_eq!(home.service.asked_for(PAGE)[0].text("username"), "rip");
}

#[test]
fn a_login_that_is_interrupted_at_the_prompt_asks_nobody_and_changes_nothing() {
    let home = Home::new();
    home.log_in("secret").ok();
    let before = home.files();
    let mut pty = home.at_terminal(&["login", "--user", "bob"]);
    pty.expect("Password: ", LIMIT);
    let pid = i32::try_from(pty.id())
        .ok()
        .and_then(Pid::from_raw)
        .unwrap();
    kill_process(pid, Signal::INT).unwrap();
    pty.expect("interrupted", LIMIT);
    let (status, shown) = pty.wait(LIMIT);
    assert_eq!(status.code(), Some(1));
    assert!(!shown.contains("without a terminal"), "{shown}");
    assert_eq!(home.files(), before);
    assert_eq!(home.service.asked_for(PAGE).len(), 1);
}

#[test]
fn without_a_terminal_nobody_is_asked() {
    let home = Home::new();
    for args in [["login"].as_slice(), &["login", "--user", "bob"]] {
        let run = home.run(args).fails(2, "there is no terminal to ask on");
        assert!(run.stderr.contains("--password-stdin"), "{run:?}");
    }
    let nobody = desk::run(
        home.path(),
        &["login", "--password-stdin"],
        Some("secret\n"),
    );
    nobody.fails(2, "no user name given");
    let empty = home.log_in("");
    empty.fails(1, "no password given");
    assert_eq!(home.service.asked_for(PAGE).len(), 0);
}

#[test]
fn methods_that_the_service_has_not_got_are_told_with_those_it_has() {
    let home = Home::new();
    for args in [
        ["login", "--device"],
        ["login", "--browser"],
        ["login", "--method=ldap"],
    ] {
        let run = home
            .run(&args)
            .fails(1, "does not log anybody in like that");
        assert!(
            run.stderr.contains("it offers: userlist (password)"),
            "{run:?}"
        );
    }
    home.run(&["login", "--over", "broker", "-u", "bob"])
        .fails(1, "no login over the broker");
    home.run(&["login", "--url", "http://aaa.example.net"])
        .fails(2, "is not encrypted");
}

#[test]
fn whoami_shows_the_session_and_fails_when_it_is_of_no_use() {
    let home = Home::new();
    let run = home.run(&["whoami"]).fails(1, "cannot read");
    assert!(run.stderr.contains("overlay login"), "{run:?}");
    home.log_in("secret").ok();
    let told = home.run(&["whoami", "--json"]).ok().json();
    for (member, value) in [
        ("caller", json!("up=bob")),
        ("organisation", json!("choria")),
        ("tenant", json!("payments")),
        ("actions", json!(["rpcutil.ping"])),
        ("state", json!("good")),
        ("verified", json!(true)),
        ("seed_fits", json!(true)),
    ] {
        assert_eq!(told[member], value, "{member}: {told}");
    }
    assert_eq!(told["permissions"].as_array().unwrap().len(), 2, "{told}");
    assert!(
        told["chain"].as_str().unwrap().contains("chain issuer"),
        "{told}"
    );
    let text = home.run(&["whoami"]).ok().stdout;
    for part in [
        "verified: signed by",
        "up=bob",
        "payments",
        "rpcutil.ping",
        "for another",
        "keys/client.jwt",
        "keys/client.seed",
        "client.toml",
        "read the audit of logins and signatures",
    ] {
        assert!(text.contains(part), "`{part}` is not in {text}");
    }

    let seed = home.path().join("keys/client.seed");
    let own = fs::read(&seed).unwrap();
    fs::write(&seed, "11".repeat(32)).unwrap();
    home.run(&["whoami"])
        .fails(1, "the token is for another key");
    fs::remove_file(&seed).unwrap();
    home.run(&["whoami"])
        .fails(1, "the key of the token cannot be read");
    fs::write(&seed, own).unwrap();
    let foreign = Organisation::new().client(ClientToken::new("up=bob"));
    foreign.write(&home.path().join("keys"), "client");
    home.run(&["whoami"]).fails(1, "cannot be believed");
}

#[test]
fn whoami_of_a_session_that_is_over_fails() {
    let home = Home::new();
    let hours_ago = overlay_tokens::UnixTime {
        secs: mint::now().secs - 7200,
        nanos: 0,
    };
    let old = Organisation::new().client_at(ClientToken::new("up=bob"), hours_ago);
    fs::create_dir(home.path().join("keys")).unwrap();
    old.write(&home.path().join("keys"), "client");
    let run = home.run(&["whoami"]).fails(1, "the session has expired");
    assert!(run.stdout.contains("EXPIRED"), "{run:?}");
    let run = home.run(&["whoami", "--json"]);
    assert_eq!(
        (run.code, run.json()["state"].clone()),
        (1, json!("expired"))
    );
    // What needs a session says what to do.
    let run = home.run(&["ping"]).fails(1, "token has expired");
    assert!(run.stderr.contains("overlay login"), "{run:?}");
}

#[test]
fn a_logout_removes_both_files_and_says_what_becomes_of_the_token() {
    let home = Home::new();
    home.log_in("secret").ok();
    let run = home.run(&["logout"]).ok();
    assert_eq!(run.stdout, "up=bob is logged out: token and seed removed\n");
    // This service is of Choria's kind.
    assert!(run.stderr.contains("the token is not revoked"), "{run:?}");
    assert!(run.stderr.contains("is good until"), "{run:?}");
    assert_eq!(home.files(), []);
    assert_eq!(home.run(&["logout"]).ok().stdout, "Nobody was logged in\n");

    home.log_in("secret").ok();
    let told = home.run(&["logout", "--local", "--json"]).ok().json();
    assert_eq!(told["revoked"], false);
    assert_eq!(told["token_removed"], true);
    assert_eq!(told["seed_removed"], true);
}

/// A home at a service of ours.
fn at_our_service() -> (Home, Service) {
    let organisation = Organisation::new();
    let chain = Arc::new(organisation.chain(ClientToken::new("chain")));
    let service = Service::start(move |asked| match asked.path.as_str() {
        "/overlay/v1/login" => {
            let methods = json!({"methods": [{"name": "userlist", "kind": "password"}]});
            Does::Answer(200, methods.to_string())
        }
        "/overlay/v1/login/password" => Does::Answer(
            200,
            log_in(&chain, asked, Duration::from_secs(60), "secret").to_string(),
        ),
        "/overlay/v1/login/logout" => Does::Answer(200, "{}".to_owned()),
        _ => Does::Answer(404, String::new()),
    });
    let home = Home::new();
    let url = service.url("");
    let config = home.path().join("client.toml");
    let text = fs::read_to_string(&config).unwrap();
    let (before, _) = text.split_once("[login]").unwrap();
    let text = format!(
        "{before}[login]\nurl = \"{url}\"\n[issuers]\nchoria = \"{}\"\n",
        organisation.public()
    );
    fs::write(&config, text).unwrap();
    (home, service)
}

#[test]
fn a_logout_revokes_the_token_where_the_service_can() {
    let (home, service) = at_our_service();
    home.log_in("secret").ok();
    let run = home.run(&["logout"]).ok();
    assert!(run.stderr.contains("The token is revoked at"), "{run:?}");
    assert_eq!(service.asked_for("/overlay/v1/login/logout").len(), 1);
    assert_eq!(home.files(), []);
}

#[test]
fn the_code_of_a_second_factor_is_asked_for_when_wanted() {
    let (home, service) = at_our_service();
    let mut pty = home.at_terminal(&["login", "--otp"]);
    pty.expect("Username [bob]: ", LIMIT);
    pty.send("");
    pty.expect("Password: ", LIMIT);
    pty.send("secret");
    pty.expect("One-time code: ", LIMIT);
    pty.send(" 123456 ");
    pty.expect("Token saved to", LIMIT);
    assert!(pty.wait(LIMIT).0.success());
    let asked = service.asked_for("/overlay/v1/login/password");
    assert_eq!(asked[0].text("otp"), "123456");
    // Choria's service would not look at it.
    let args = ["login", "-u", "bob", "--password-stdin", "--otp", "123456"];
    desk::run(Home::new().path(), &args, Some("secret")).fails(1, "takes no one-time codes");
}

#[test]
fn a_token_that_no_login_made_is_not_thrown_away() {
    let home = Home::new();
    fs::create_dir(home.path().join("keys")).unwrap();
    let made = Organisation::new().client(ClientToken::new("up=operator"));
    made.write(&home.path().join("keys"), "client");
    let run = home
        .run(&["logout"])
        .fails(1, "was not made by a login service");
    assert!(run.stderr.contains("--force"), "{run:?}");
    assert_eq!(home.files().len(), 2);
    home.run(&["logout", "--force"]).ok();
    assert_eq!(home.files(), []);
}

#[test]
fn a_program_of_choria_logs_in_instead_of_ours() {
    let home = Home::new();
    fs::create_dir(home.path().join("bin")).unwrap();
    let program = home.path().join("bin/choria-login");
    fs::write(&program, "#!/bin/sh\necho \"external $*\"\nexit $CODE\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let text = "plugin.security.provider = choria\nplugin.choria.middleware_hosts = x:1\n\
                plugin.security.choria.token_file = /t\nplugin.security.choria.seed_file = /s\n";
    let config = home.path().join("client.conf");
    fs::write(&config, text).unwrap();
    for (code, expected) in [("0", 0), ("3", 1)] {
        let mut command = desk::command(home.path());
        let path = format!("{}:/usr/bin:/bin", home.path().join("bin").display());
        command.env("PATH", path).env("CODE", code);
        command.env("OVERLAY_CONFIG", &config);
        let output = command.args(["login", "--user", "x"]).output().unwrap();
        assert_eq!(output.status.code(), Some(expected), "{output:?}");
        assert_eq!(output.stdout, b"external login --user x\n");
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(stderr.contains("exit status 3"), expected == 1, "{stderr}");
    }
}

/// A broker with a node, a signer, and bob, who must be signed for.
fn signed_desk(
    habit: Option<Habit>,
    validity: u64,
) -> (TempDir, fleet::Fleet, Option<SignerHost>, Broker) {
    let broker = Broker::plain();
    let key = mint::key();
    let organisation = Organisation::with_key(key.clone());
    let dir = tempfile::tempdir().unwrap();
    desk::configure(dir.path(), &broker.url(), &organisation);
    let bob = organisation.client(ClientToken {
        permissions: Some(ClientPermissions {
            signed_fleet_management: true,
            ..ClientPermissions::default()
        }),
        agents: vec!["puppet.*".to_owned()],
        validity: Duration::from_secs(validity),
        ..ClientToken::new("up=bob")
    });
    bob.write(dir.path(), "client");
    let config = dir.path().join("client.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(
        &config,
        format!("{text}[signer]\nservice = true\ntimeout = \"3s\"\n"),
    )
    .unwrap();
    let nodes = fleet::Fleet::start(&broker.url(), Organisation::with_key(key), vec![node("n1")]);
    let host =
        habit.map(|habit| SignerHost::start(&broker.url(), Signatory::new(&organisation, habit)));
    (dir, nodes, host, broker)
}

#[test]
fn aaa_case_45_requests_are_signed_by_the_signer_that_is_configured() {
    let (dir, _nodes, host, _broker) = signed_desk(Some(Habit::Signs), 3600);
    let run = desk::run(dir.path(), &["req", "rpcutil", "ping", "--senders"], None).ok();
    assert_eq!(run.stdout, "n1\n");
    assert_eq!(run.stderr, "");
    desk::run(dir.path(), &["ping"], None).ok();
    desk::run(dir.path(), &["facts", "site"], None).ok();
    // Discovery and request, ping, and once more discovery and request.
    let agents: Vec<String> = host
        .unwrap()
        .orders()
        .iter()
        .map(|order| order.request.agent.clone())
        .collect();
    assert_eq!(
        agents,
        ["discovery", "rpcutil", "discovery", "discovery", "rpcutil"]
    );
}

#[test]
fn a_denial_says_what_was_denied_and_what_to_look_at() {
    let (dir, _nodes, _host, _broker) = signed_desk(Some(Habit::Denies), 3600);
    let args = ["req", "rpcutil", "ping", "-I", "n1"];
    let run = desk::run(dir.path(), &args, None);
    assert_eq!(run.stdout, "");
    let run = run.fails(
        1,
        "the signer aaa.example.net does not sign rpcutil ping: Request Denied",
    );
    assert_shown!("session_denied", run.stderr);
    let run = desk::run(dir.path(), &["ping"], None);
    run.fails(1, "does not sign discovery: Request Denied");
}

#[test]
fn a_session_that_ends_soon_is_told_beforehand() {
    let (dir, _nodes, _host, _broker) = signed_desk(Some(Habit::Signs), 300);
    let run = desk::run(dir.path(), &["ping"], None).ok();
    assert!(
        run.stderr.contains(
            "warning: the session of up=bob ends in 4 minutes; `overlay login` begins a new one"
        ) || run.stderr.contains("ends in 5 minutes"),
        "{run:?}"
    );
}
