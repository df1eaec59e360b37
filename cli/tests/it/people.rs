//! Logins at a real OpenID provider: a terminal, the service, the provider's pages and a browser.
#![allow(clippy::unwrap_used, reason = "helper of tests")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use overlay_testkit::mint::{Authority, Organisation};
use overlay_testkit::{
    OpenidProvider, Process, Pty, eventually_blocking, free_port, http_get, skip,
};
use overlay_tokens::claims::ClientPermissions;
use overlay_tokens::issue::ClientToken;
use serde_json::json;
use tempfile::TempDir;

use crate::desk;

const LIMIT: Duration = Duration::from_secs(40);
const PERIOD: Duration = Duration::from_millis(50);

/// A user's machine, the login service of a company, and the company's provider.
struct Company {
    dir: TempDir,
    provider: OpenidProvider,
    _service: Process,
    _authority: Authority,
}

impl Company {
    /// `None` where this machine lacks something; the test is then skipped by name.
    fn start(test: &str) -> Option<Self> {
        let package = match OpenidProvider::locate() {
            Ok(package) => package,
            Err(why) => {
                skip(test, &why, OpenidProvider::INSTALL);
                return None;
            }
        };
        let program = match Process::locate("overlay-aaa-signer") {
            Ok(program) => program,
            Err(why) => {
                skip(test, &why, "cargo build --bin overlay-aaa-signer");
                return None;
            }
        };
        let (authority, organisation) = (Authority::new(), Organisation::new());
        let people = json!({
            "id-1": { "preferred_username": "bob", "groups": ["ops"] },
            "id-2": { "preferred_username": "alice", "groups": [] },
        });
        let provider = OpenidProvider::start(&package, &authority, &people, &json!({}));
        let dir = tempfile::tempdir().unwrap();
        organisation
            .chain(ClientToken::new("logins"))
            .login
            .write(dir.path(), "login");
        let signer = ClientToken {
            permissions: Some(ClientPermissions {
                authentication_delegator: true,
                ..ClientPermissions::default()
            }),
            ..ClientToken::new("signer")
        };
        organisation.client(signer).write(dir.path(), "signer");
        let (admin, http) = (free_port(), free_port());
        let at = |name: &str| format!("{:?}", dir.path().join(name).display().to_string());
        let text = format!(
            r#"site = "test"
[issuers]
choria = "{organisation}"
[admin]
listen = "127.0.0.1:{admin}"
[http]
listen = "127.0.0.1:{http}"
insecure = true
[audit]
name = "aaa-1"
[audit.file]
path = {audit}
[signer]
token_file = {signer_token}
seed_file = {signer_seed}
[login]
token_file = {login_token}
seed_file = {login_seed}
[login.oidc]
issuer = "{issuer}"
client_id = "public"
ca_file = {ca:?}
scopes = ["profile"]
name_claim = "preferred_username"
[[login.oidc.rules]]
group = "ops"
agents = ["*"]
permissions = ["fleet_management", "signed_fleet_management"]
"#,
            organisation = organisation.public(),
            audit = at("audit.jsonl"),
            signer_token = at("signer.jwt"),
            signer_seed = at("signer.seed"),
            login_token = at("login.jwt"),
            login_seed = at("login.seed"),
            issuer = provider.issuer(),
            ca = authority.ca_file().display().to_string(),
        );
        let config = dir.path().join("aaa-signer.toml");
        fs::write(&config, text).unwrap();
        let service = Process::builder(program)
            .arg("--config")
            .arg(&config)
            .start();
        eventually_blocking(LIMIT, PERIOD, || match http_get(admin, "/ready") {
            Ok((200, _)) => Ok(()),
            Ok((status, body)) => Err(format!("{status}: {body}\n{}", service.stderr())),
            Err(error) => Err(format!("{error}\n{}", service.stderr())),
        });
        let text = format!(
            "token_file = \"keys/client.jwt\"\nseed_file = \"keys/client.seed\"\nidentity = \"desk\"\n\
             [broker]\nservers = [\"nats://127.0.0.1:1\"]\nconnect_timeout = \"100ms\"\n\
             [login]\nurl = \"http://127.0.0.1:{http}/choria/v1/login\"\n[issuers]\nchoria = \"{}\"\n",
            organisation.public()
        );
        fs::write(dir.path().join("client.toml"), text).unwrap();
        Some(Self {
            dir,
            provider,
            _service: service,
            _authority: authority,
        })
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn at_terminal(&self, args: &[&str]) -> Pty {
        let mut command = desk::command(self.path());
        let opened = self.path().join("opened");
        let browser = self.path().join("browser");
        let script = format!(
            "#!/bin/sh\necho \"$1\" > {0}.new && /bin/mv {0}.new {0}\n",
            opened.display()
        );
        fs::write(&browser, script).unwrap();
        fs::set_permissions(&browser, fs::Permissions::from_mode(0o700)).unwrap();
        command
            .args(args)
            .env("TERM", "dumb")
            .env("BROWSER", browser);
        Pty::start(command)
    }

    /// The page that `overlay` has opened in the user's browser.
    fn opened(&self) -> String {
        let path = self.path().join("opened");
        let page = eventually_blocking(LIMIT, PERIOD, || fs::read_to_string(&path));
        page.trim().to_owned()
    }

    fn has_session(&self) -> bool {
        self.path().join("keys/client.jwt").exists()
    }
}

/// Brings what the browser was sent back with to the program that waits for it.
fn come_back(address: &str) -> (u16, String) {
    let rest = address.strip_prefix("http://127.0.0.1:").unwrap();
    let (port, page) = rest.split_once('/').unwrap();
    http_get(port.parse().unwrap(), &format!("/{page}")).unwrap()
}

#[test]
fn a_code_shown_at_the_terminal_is_confirmed_elsewhere() {
    let Some(company) = Company::start("login on another device") else {
        return;
    };
    let mut pty = company.at_terminal(&["login", "--device"]);
    pty.expect(" and type the code ", LIMIT);
    pty.expect("or open ", LIMIT);
    pty.expect(" and compare the code", LIMIT);
    let shown = pty.shown();
    let page = shown.split("or open ").nth(1).unwrap();
    let page = page.split(' ').next().unwrap();
    assert!(page.starts_with(company.provider.issuer()), "{shown}");
    let mut browser = company.provider.browser();
    let page = browser.open(page);
    browser.log_in(page, "id-1");
    pty.expect("Logged in as oidc=bob", LIMIT);
    let (status, shown) = pty.wait(LIMIT);
    assert!(status.success(), "{shown}");
    let whoami = desk::run(company.path(), &["whoami", "--json"], None)
        .ok()
        .json();
    assert_eq!(whoami["caller"], "oidc=bob");
}

#[test]
fn a_browser_comes_back_to_the_terminal_that_opened_it() {
    let Some(company) = Company::start("login in a browser") else {
        return;
    };
    let mut pty = company.at_terminal(&["login", "--browser"]);
    pty.expect("Log in at ", LIMIT);
    let opened = company.opened();
    let mut browser = company.provider.browser();
    let page = browser.open(&opened);
    let end = browser.log_in(page, "id-1").address;
    // Whoever knocks without the state of this login is sent away, and does no harm.
    let (stranger, _) = end.split_once('?').unwrap();
    assert_eq!(come_back(&format!("{stranger}?code=x&state=y")).0, 404);
    let (status, text) = come_back(&end);
    assert_eq!(status, 200);
    assert!(text.contains("go back to your terminal"), "{text}");
    pty.expect("Logged in as oidc=bob", LIMIT);
    assert!(pty.wait(LIMIT).0.success());
    assert!(company.has_session());
}

#[test]
fn who_is_refused_has_no_session() {
    let Some(company) = Company::start("refused by rules and by the page") else {
        return;
    };
    let mut pty = company.at_terminal(&["login", "--browser"]);
    let opened = company.opened();
    let mut browser = company.provider.browser();
    let page = browser.open(&opened);
    come_back(&browser.log_in(page, "id-2").address);
    pty.expect("Login failed", LIMIT);
    assert_eq!(pty.wait(LIMIT).0.code(), Some(1));

    fs::remove_file(company.path().join("opened")).unwrap();
    let mut pty = company.at_terminal(&["login", "--browser"]);
    let opened = company.opened();
    let mut browser = company.provider.browser();
    let page = browser.open(&opened);
    let abort = format!("{}/abort", page.address);
    come_back(&browser.open(&abort).address);
    pty.expect("login refused: access_denied", LIMIT);
    assert_eq!(pty.wait(LIMIT).0.code(), Some(1));
    assert!(!company.has_session());
}
