//! Choria's client configuration, read so that people can move over.
//!
//! Syntax: `key = value`, one per line, `#` at the start of a line; no quoting, no inline comments.
//! After the file come `plugin.d/*.cfg|*.conf` beside it (not when it is the user's own), then every
//! `choria.conf` from the root down to the current directory; the last one to set a key wins.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::raw::{Raw, RawBroker, RawDiscovery, Span, parse_span};
use super::services::{RawLogin, RawSigner, Urls};
use super::{ConfigError, Environment, search};

/// Reads a Choria configuration and what belongs to it.
pub(super) fn read(path: &Path, environment: &Environment) -> Result<Raw, ConfigError> {
    let mut keys = Keys::default();
    keys.add(&search::read(path)?, "");
    let is_personal = environment
        .home()
        .is_some_and(|home| path.starts_with(home));
    if !is_personal {
        for extra in plugin_files(path) {
            let name = extra
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            keys.add(&search::read(&extra)?, &format!("plugin.{name}."));
        }
    }
    for project in project_files(environment) {
        if project != path {
            keys.add(&search::read(&project)?, "");
        }
    }
    keys.into_raw(environment)
        .map_err(|faults| ConfigError::Invalid {
            source_file: Some(path.to_owned()),
            faults,
        })
}

/// Settings by name; later ones replace earlier ones.
#[derive(Debug, Default)]
struct Keys(BTreeMap<String, String>);

impl Keys {
    fn add(&mut self, text: &str, prefix: &str) {
        for line in text.lines() {
            if line.trim_start().starts_with('#') {
                continue;
            }
            if let Some((key, value)) = line.split_once('=') {
                self.0
                    .insert(format!("{prefix}{}", key.trim()), value.trim().to_owned());
            }
        }
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.0
            .get(key)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    fn owned(&self, key: &str) -> Option<String> {
        self.text(key).map(str::to_owned)
    }

    fn list(&self, key: &str, separator: char) -> Vec<String> {
        let items = self.text(key).unwrap_or_default().split(separator);
        items
            .map(|item| item.trim().to_owned())
            .filter(|item| !item.is_empty())
            .collect()
    }

    fn is_true(&self, key: &str) -> bool {
        let value = self.text(key).unwrap_or_default().to_ascii_lowercase();
        matches!(value.as_str(), "1" | "yes" | "true" | "y" | "t")
    }

    /// As [`Keys::text`], but an environment variable wins when the key is present at all.
    fn or_variable(&self, key: &str, name: &str, environment: &Environment) -> Option<String> {
        self.0.get(key)?;
        environment
            .variable(name)
            .map(str::to_owned)
            .or_else(|| self.owned(key))
    }

    fn into_raw(self, environment: &Environment) -> Result<Raw, Vec<String>> {
        let mut faults = Vec::new();
        match self.text("plugin.security.provider") {
            Some("choria") => {}
            other => faults.push(format!(
                "`plugin.security.provider` is {}, but only `choria` (tokens) is spoken here, not x509",
                other.unwrap_or("not set, which means puppet")
            )),
        }
        let mut seconds = |key: &str| {
            let text = self.text(key)?;
            let Ok(value) = text.parse::<u64>() else {
                faults.push(format!("`{key}`: `{text}` is not a number of seconds"));
                return None;
            };
            Some(Span(Duration::from_secs(value)))
        };
        let discovery_timeout = seconds("discovery_timeout");
        let ttl = seconds("ttl");
        let path = |key: &str| self.owned(key).map(PathBuf::from);
        let collectives = self.list("collectives", ',');
        // A broker that is slow to answer is given more than one try within the limit.
        let per_try = self
            .text("plugin.choria.network.connect_timeout")
            .and_then(parse_span);
        let (tls, verify) = protection(environment);
        let broker = RawBroker {
            servers: servers(&self.list("plugin.choria.middleware_hosts", ',')),
            tls,
            verify,
            ca_file: path("plugin.security.choria.ca"),
            certificate_file: path("plugin.security.choria.certificate"),
            key_file: path("plugin.security.choria.key"),
            connect_timeout: per_try.map(|limit| Span(limit * 5)),
            user: self.or_variable("plugin.nats.user", "MCOLLECTIVE_NATS_USERNAME", environment),
            password_file: None,
            password: self.or_variable(
                "plugin.nats.pass",
                "MCOLLECTIVE_NATS_PASSWORD",
                environment,
            ),
        };
        let mut raw = Raw {
            collective: self
                .owned("main_collective")
                .or_else(|| collectives.first().cloned()),
            identity: self.owned("identity"),
            token_file: path("plugin.security.choria.token_file"),
            seed_file: path("plugin.security.choria.seed_file"),
            ttl,
            library_dirs: library_dirs(&self),
            require_filter: self.is_true("plugin.choria.require_client_filter"),
            limit_method: self.owned("rpclimitmethod"),
            broker,
            discovery: RawDiscovery {
                method: self.owned("default_discovery_method"),
                timeout: discovery_timeout,
                full: false,
                inventory_file: path("plugin.choria.discovery.inventory.source"),
            },
            issuers: self.issuers(&mut faults),
            signer: self.signer(verify, &mut faults),
            login: RawLogin {
                url: Urls(self.list("plugin.login.aaasvc.login.url", ',')),
                over: None,
                user: None,
                helper: login_helper(environment),
                ca_file: path("plugin.security.choria.ca"),
                verify,
                timeout: None,
            },
            is_choria: true,
        };
        if raw.broker.servers.is_empty() {
            faults.push(
                "`plugin.choria.middleware_hosts` is missing, and brokers are not looked up in DNS here"
                    .to_owned(),
            );
        }
        raw.resolve_paths(&environment.current_dir, environment);
        if faults.is_empty() {
            Ok(raw)
        } else {
            Err(faults)
        }
    }

    fn signer(&self, verify: Option<bool>, faults: &mut Vec<String>) -> RawSigner {
        for key in ["token_file", "seed_file"] {
            let key = format!("plugin.choria.security.request_signer.{key}");
            if self.text(&key).is_some() {
                faults.push(format!(
                    "{key} can not be used when the choria security provider is used"
                ));
            }
        }
        let service = self.is_true("plugin.choria.security.request_signer.service");
        // One address in the original, whatever it holds.
        let url = Urls(self.list("plugin.choria.security.request_signer.url", ','));
        if self.is_true("plugin.security.client_anon_tls") {
            faults.push(
                if service || !url.0.is_empty() {
                    "plugin.security.client_anon_tls can not be used when the choria security provider is used"
                } else {
                    "anonymous TLS can only be enabled when a remote signer is configured"
                }
                .to_owned(),
            );
        }
        RawSigner {
            service: Some(service),
            url,
            ca_file: self.owned("plugin.security.choria.ca").map(PathBuf::from),
            verify,
            timeout: None,
        }
    }

    fn issuers(&self, faults: &mut Vec<String>) -> BTreeMap<String, String> {
        let mut issuers = BTreeMap::new();
        for name in self.list("plugin.security.issuer.names", ',') {
            let key = format!("plugin.security.issuer.{name}.public");
            match self.owned(&key) {
                Some(public) => drop(issuers.insert(name, public)),
                None => faults.push(format!("`{key}` is missing")),
            }
        }
        issuers
    }
}

/// Hosts may be given without a scheme.
fn servers(hosts: &[String]) -> Vec<String> {
    let url = |host: &String| {
        if host.contains("://") {
            host.clone()
        } else {
            format!("nats://{host}")
        }
    };
    hosts.iter().map(url).collect()
}

/// The program that takes the place of Choria's login command when it is in the path.
fn login_helper(environment: &Environment) -> Option<PathBuf> {
    let path = environment.variable("PATH")?;
    std::env::split_paths(path)
        .filter(|dir| dir.is_absolute())
        .map(|dir| dir.join("choria-login"))
        .find(|program| is_program(program))
}

fn is_program(path: &Path) -> bool {
    std::fs::metadata(path)
        .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

fn library_dirs(keys: &Keys) -> Vec<PathBuf> {
    let mut dirs = keys.list("plugin.choria.agent_provider.mcorpc.libdir", ':');
    dirs.extend(keys.list("libdir", ':'));
    dirs.into_iter().map(PathBuf::from).collect()
}

/// Choria's switches for trying things out: whether to use TLS, and whether to verify it.
fn protection(environment: &Environment) -> (Option<bool>, Option<bool>) {
    let is_on = |name| environment.variable(name) == Some("true");
    let without = is_on("INSECURE_DISABLE_TLS") || is_on("INSECURE_YES_REALLY");
    (
        without.then_some(false),
        is_on("INSECURE_ANON_TLS").then_some(false),
    )
}

fn plugin_files(path: &Path) -> Vec<PathBuf> {
    let dir = path.parent().unwrap_or(Path::new("/")).join("plugin.d");
    let Ok(entries) = std::fs::read_dir(dir) else {
        return Vec::new();
    };
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.extension()
                .is_some_and(|ext| ext == "cfg" || ext == "conf")
        })
        .collect();
    files.sort();
    files
}

/// Every `choria.conf` from the root down to the current directory.
fn project_files(environment: &Environment) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = environment
        .current_dir
        .ancestors()
        .map(|dir| dir.join("choria.conf"))
        .filter(|path| path.is_file())
        .collect();
    files.reverse();
    files
}
