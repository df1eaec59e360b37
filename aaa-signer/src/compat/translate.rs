//! From the original's keys to ours.

use std::path::Path;

use overlay_runtime::Fault;
use overlay_tokens::PublicKey;
use serde_json::{Map, Value};

use super::service::{BasicSigner, Original};
use super::{duration, host, put};

/// What our own chain of records is called beside the original's file.
const CHAIN: &str = ".chain.jsonl";

/// Turns what the original reads into our keys; `read` reads a file that it names.
pub(super) fn table(
    original: &Original,
    read: &dyn Fn(&Path) -> Result<String, String>,
) -> Result<toml::Table, Vec<Fault>> {
    let mut found = Found {
        table: Map::new(),
        faults: Vec::new(),
        notices: Vec::new(),
    };
    found.edges(original);
    let is_served = found.signer(original, read);
    found.login(original);
    found.auditors(original);
    found.host(original, is_served, read);
    if original.port == 0 && !is_served {
        found
            .fault(
                "port",
                "is missing, and the RPC agent is off: nothing would be served",
            )
            .push("set port, or basicjwt_signer.choria_service");
    }
    for key in &original.unknown {
        found
            .notices
            .push(format!("{key} is not known, and passed over"));
    }
    if !found.notices.is_empty() {
        let notices = std::mem::take(&mut found.notices);
        put(&mut found.table, &["original", "notices"], notices);
    }
    if found.faults.is_empty() {
        toml::Table::try_from(found.table).map_err(|error| vec![Fault::new("", error.to_string())])
    } else {
        Err(found.faults)
    }
}

struct Found {
    table: Map<String, Value>,
    faults: Vec<Fault>,
    notices: Vec<String>,
}

/// A fault that waits for its remedy.
struct Open<'a> {
    faults: &'a mut Vec<Fault>,
    fault: Fault,
}

impl Open<'_> {
    fn push(self, remedy: &str) {
        self.faults.push(self.fault.remedy(remedy));
    }
}

impl Found {
    fn fault(&mut self, key: &str, problem: &str) -> Open<'_> {
        Open {
            faults: &mut self.faults,
            fault: Fault::new(key, problem),
        }
    }

    fn put(&mut self, path: &[&str], value: impl Into<Value>) {
        put(&mut self.table, path, value);
    }

    fn put_text(&mut self, path: &[&str], value: &str) {
        if !value.is_empty() {
            put(&mut self.table, path, value);
        }
    }

    /// Site, log, listeners.
    fn edges(&mut self, original: &Original) {
        self.put_text(&["site"], &original.site);
        self.put(&["log", "level"], log_level(&original.loglevel));
        if !matches!(original.logfile.as_str(), "" | "stderr") {
            self.notices
                .push("logfile is passed over: the log goes to standard error".to_owned());
        }
        if original.monitor_port == 0 {
            self.put(&["admin", "listen"], "off");
        } else {
            let listen = format!("127.0.0.1:{}", original.monitor_port);
            self.put(&["admin", "listen"], listen);
            self.notices.push(
                "monitor_port is served on loopback only; [admin] listen names another address"
                    .to_owned(),
            );
        }
        if original.port == 0 {
            return;
        }
        self.put(&["http", "listen"], format!("[::]:{}", original.port));
        self.put_text(&["http", "certificate_file"], &original.tls_certificate);
        self.put_text(&["http", "key_file"], &original.tls_key);
        self.put_text(&["http", "client_ca_file"], &original.tls_ca);
    }

    /// The signer and its policy; tells whether the RPC agent is served.
    fn signer(
        &mut self,
        original: &Original,
        read: &dyn Fn(&Path) -> Result<String, String>,
    ) -> bool {
        match original.signer.as_str() {
            "" => return false,
            "basicjwt" => {}
            _ => {
                self.fault("signer", "is not known")
                    .push("write \"basicjwt\"");
                return false;
            }
        }
        match original.authorizer.as_str() {
            "actionlist" => self.put(&["policy", "authorizer"], "actionlist"),
            "opa" => self.put(&["policy", "authorizer"], "rego"),
            // The original starts without one, and falls at the first request.
            _ => self
                .fault("authorizer", "is missing, or not known")
                .push("write \"actionlist\" or \"opa\""),
        }
        let Some(signer) = &original.basicjwt_signer else {
            self.fault("basicjwt_signer", "is missing")
                .push("write the table of the signer");
            return false;
        };
        // Without it the original signs as itself, and nodes refuse what it signs.
        for (key, ours, path) in [
            (
                "basicjwt_signer.signing_token",
                "token_file",
                &signer.signing_token,
            ),
            (
                "basicjwt_signer.signing_seed",
                "seed_file",
                &signer.signing_seed,
            ),
        ] {
            if path.is_empty() {
                self.fault(key, "is missing")
                    .push("name the file of the delegator");
            }
            self.put_text(&["signer", ours], path);
        }
        match duration::read(&signer.max_validity) {
            Some(validity) => self.put(&["signer", "max_validity"], duration::write(validity)),
            None => self
                .fault("basicjwt_signer.max_validity", "is no time of Go's")
                .push("write \"24h\""),
        }
        self.put(
            &["signer", "allow_bearer_tokens"],
            signer.allow_bearer_tokens,
        );
        self.put(&["signer", "service"], signer.choria_service);
        self.verifier(signer, read);
        signer.choria_service
    }

    /// The one key that verifies users' tokens.
    fn verifier(&mut self, signer: &BasicSigner, read: &dyn Fn(&Path) -> Result<String, String>) {
        let key = "basicjwt_signer.signing_certificate";
        let text = match read(Path::new(&signer.signing_certificate)) {
            Ok(text) => text,
            Err(error) => {
                self.fault(key, &error)
                    .push("name the file of the organisation issuer's public key");
                return;
            }
        };
        match text.trim().parse::<PublicKey>() {
            Ok(public) => self.put(&["original", "verify_key"], public.to_string()),
            // RSA tokens are those of protocol v1; nodes of protocol v2 take no caller with one.
            Err(_no_key) => self
                .fault(key, "is no ed25519 public key")
                .push("write the 64 hexadecimal digits of the organisation issuer's public key"),
        }
    }

    fn login(&mut self, original: &Original) {
        match original.authenticator.as_str() {
            "" => return,
            "userlist" => {}
            _ => {
                return self.fault("authenticator", "is not known").push(
                    "write \"userlist\"; directories and OpenID are in [login] of a second file",
                );
            }
        }
        let Some(users) = &original.userlist_authenticator else {
            return self
                .fault("userlist_authenticator", "is missing")
                .push("write the table of the users");
        };
        self.put(&["login", "userlist", "choria"], true);
        self.put_text(&["login", "userlist", "file"], &users.users_file);
        if let Some(list) = &users.users {
            self.put(&["login", "userlist", "choria_users"], list.to_string());
        }
        match duration::read(&users.validity) {
            // Its library makes an hour of nothing.
            Some(validity) if validity.is_zero() => self.put(&["login", "validity"], "1h"),
            Some(validity) => self.put(&["login", "validity"], duration::write(validity)),
            None => self
                .fault("userlist_authenticator.validity", "is no time of Go's")
                .push("write \"1h\""),
        }
        if users.signing_token.is_empty() {
            self.put_text(&["login", "key_file"], &users.signing_key);
        } else {
            self.put_text(&["login", "token_file"], &users.signing_token);
            self.put_text(&["login", "seed_file"], &users.signing_key);
        }
    }

    /// Where the record goes: the original's copies, and beside its file our own chain.
    fn auditors(&mut self, original: &Original) {
        for auditor in &original.auditors {
            match auditor.as_str() {
                "logfile" => self.logfile(original),
                "jetstream" => match &original.jetstream_auditor {
                    Some(stream) => {
                        self.put(&["audit", "original", "topic"], stream.topic.as_str())
                    }
                    None => self
                        .fault("jetstream_auditor", "is missing")
                        .push("write the table of the auditor"),
                },
                // The original starts with one that it does not know, and falls at the first request.
                _ => self
                    .fault("auditors", "names one that is not known")
                    .push("write \"logfile\" or \"jetstream\""),
            }
        }
        if original.auditors.is_empty() && !original.signer.is_empty() {
            self.fault(
                "auditors",
                "names none: nothing is signed here without a record",
            )
            .push("write [\"logfile\"]");
        }
    }

    fn logfile(&mut self, original: &Original) {
        let Some(auditor) = &original.logfile_auditor else {
            return self
                .fault("logfile_auditor", "is missing")
                .push("write the table of the auditor");
        };
        if auditor.logfile.is_empty() {
            return self
                .fault(
                    "logfile_auditor.logfile",
                    "is empty: standard output keeps nothing",
                )
                .push("name a file");
        }
        self.put(&["audit", "original", "logfile"], auditor.logfile.as_str());
        let chain = format!("{}{CHAIN}", auditor.logfile);
        self.notices
            .push(format!("the chain of records is kept in {chain}"));
        self.put(&["audit", "file", "path"], chain);
    }

    /// The file of the hosting process.
    fn host(
        &mut self,
        original: &Original,
        is_served: bool,
        read: &dyn Fn(&Path) -> Result<String, String>,
    ) {
        if original.choria_config.is_empty() {
            return self
                .fault("choria_config", "is missing")
                .push("name the file with the service's token and brokers");
        }
        match read(Path::new(&original.choria_config)) {
            Ok(text) => {
                host::add(&text, is_served, &mut self.table, &mut self.faults);
                if let Some(identity) = host::identity(&text) {
                    put(&mut self.table, &["original", "identity"], identity);
                }
            }
            Err(error) => self
                .fault("choria_config", &error)
                .push("name the file with the service's token and brokers"),
        }
    }
}

fn log_level(level: &str) -> &'static str {
    match level {
        "debug" => "debug",
        "info" | "" => "info",
        "error" | "fatal" => "error",
        _ => "warn",
    }
}
