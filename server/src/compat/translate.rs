//! From Choria's keys to ours.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{Notice, Pairs};
use crate::config::{RawAuthorization, RawConfig, RawMode};

/// Names looked up for brokers when no hosts are configured.
const FALLBACK_BROKER: &str = "puppet:4222";

/// Where Puppet leaves the classes of a node.
const DEFAULT_CLASSES: &str = "/opt/puppetlabs/puppet/cache/state/classes.txt";

/// Keys that Choria servers know and that mean nothing to this node, by their beginnings.
const WITHOUT_MEANING: [&str; 21] = [
    "color",
    "daemonize",
    "direct_addressing",
    "discovery_timeout",
    "libdir",
    "logger_type",
    "plugin.choria.agent_provider.",
    "plugin.choria.discovery.",
    "plugin.choria.executor.",
    "plugin.choria.machine.",
    "plugin.choria.network.",
    "plugin.choria.puppet",
    "plugin.choria.services.",
    "plugin.choria.stats_",
    "plugin.choria.submission.",
    "plugin.machines.",
    "plugin.scout.",
    "rpclimitmethod",
    "securityprovider",
    "soft_shutdown_timeout",
    "ttl",
];

/// Turns Choria's keys into ours.
pub fn translate(mut pairs: Pairs) -> (RawConfig, Vec<Notice>) {
    let mut from = Source {
        pairs: &mut pairs,
        notices: Vec::new(),
    };
    let mut raw = RawConfig {
        identity: from.text("identity"),
        collectives: from.list("collectives"),
        main_collective: from.text("main_collective"),
        token_file: from.path("plugin.security.choria.token_file"),
        seed_file: from.path("plugin.security.choria.seed_file"),
        trusted_signers: from.list("plugin.security.choria.trusted_signers"),
        ..RawConfig::default()
    };
    provider(&mut from);
    issuers(&mut from, &mut raw);
    broker(&mut from, &mut raw);
    node_data(&mut from, &mut raw);
    rpc(&mut from, &mut raw);
    process(&mut from, &mut raw);
    from.leftovers();
    let notices = from.notices;
    (raw, notices)
}

struct Source<'a> {
    pairs: &'a mut Pairs,
    notices: Vec<Notice>,
}

impl Source<'_> {
    fn text(&mut self, key: &str) -> Option<String> {
        self.pairs.remove(key)
    }

    fn list(&mut self, key: &str) -> Option<Vec<String>> {
        self.text(key).map(|text| {
            text.split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty())
                .map(str::to_owned)
                .collect()
        })
    }

    fn path(&mut self, key: &str) -> Option<PathBuf> {
        let text = self.text(key)?;
        if text.starts_with('~') {
            self.notice(key, "`~` is not expanded, give the whole path");
        }
        Some(PathBuf::from(text))
    }

    fn flag(&mut self, key: &str) -> Option<bool> {
        let text = self.text(key)?;
        match text.to_lowercase().as_str() {
            "1" | "yes" | "true" | "y" | "t" => Some(true),
            "0" | "no" | "false" | "n" | "f" => Some(false),
            other => {
                self.notice(
                    key,
                    &format!("`{other}` is neither true nor false: the default holds"),
                );
                None
            }
        }
    }

    fn number(&mut self, key: &str) -> Option<u64> {
        let text = self.text(key)?;
        let number = text.parse().ok();
        if number.is_none() {
            self.notice(key, &format!("`{text}` is no number: the default holds"));
        }
        number
    }

    fn notice(&mut self, key: &str, text: &str) {
        self.notices.push(Notice {
            key: key.to_owned(),
            text: text.to_owned(),
        });
    }

    fn leftovers(&mut self) {
        for key in std::mem::take(self.pairs).into_keys() {
            let text = if WITHOUT_MEANING.iter().any(|start| key.starts_with(start)) {
                "has no meaning for this node"
            } else {
                "is not known to this node and ignored"
            };
            self.notice(&key, text);
        }
    }
}

fn provider(from: &mut Source<'_>) {
    let key = "plugin.security.provider";
    match from.text(key).as_deref() {
        Some("choria") => {}
        Some(other) => {
            let text =
                format!("`{other}` is not supported: this node speaks protocol v2 only (`choria`)");
            from.notice(key, &text);
        }
        None => from.notice(key, "is not set; this node always uses `choria`"),
    }
}

fn issuers(from: &mut Source<'_>, raw: &mut RawConfig) {
    let Some(names) = from.list("plugin.security.issuer.names") else {
        return;
    };
    let mut issuers = BTreeMap::new();
    for name in names {
        let key = format!("plugin.security.issuer.{name}.public");
        match from.text(&key) {
            Some(public) => {
                issuers.insert(name, public);
            }
            None => from.notice(&key, "is missing: tokens of that issuer are refused"),
        }
    }
    raw.issuers = Some(issuers);
}

fn broker(from: &mut Source<'_>, raw: &mut RawConfig) {
    let hosts = from.list("plugin.choria.middleware_hosts");
    let use_srv = from.flag("plugin.choria.use_srv").unwrap_or(true);
    let domain = from.text("plugin.choria.srv_domain");
    let broker = &mut raw.broker;
    broker.use_srv = Some(use_srv && hosts.is_none());
    broker.srv_domain = domain;
    broker.fallback_servers = hosts.is_none().then(|| vec![FALLBACK_BROKER.to_owned()]);
    broker.servers = hosts;
    broker.connect_timeout = from.text("plugin.choria.network.connect_timeout");
    broker.user = from.text("plugin.nats.user");
    broker.password = from.text("plugin.nats.pass");
    broker.certificate_file = from.path("plugin.security.choria.certificate");
    broker.key_file = from.path("plugin.security.choria.key");
    let key = "plugin.security.choria.ca";
    // A file that is named and missing is a fault: Choria does without the check then, and who named it wanted it.
    broker.ca_file = from.path(key);
    if broker.ca_file.is_none() {
        from.notice(
            key,
            "is not set: without `broker.ca_file` the broker's certificate is NOT verified",
        );
    }
}

fn node_data(from: &mut Source<'_>, raw: &mut RawConfig) {
    let source = from.text("factsource");
    if let Some(source) = source.filter(|source| source != "yaml") {
        from.notice(
            "factsource",
            &format!("`{source}` is not known, files are read"),
        );
    }
    raw.facts.files = from.text("plugin.yaml").map(|files| {
        files
            .split(':')
            .filter(|file| !file.is_empty())
            .map(PathBuf::from)
            .collect()
    });
    raw.facts.classes_file = from
        .path("classesfile")
        .or_else(|| Some(PathBuf::from(DEFAULT_CLASSES)));
}

fn rpc(from: &mut Source<'_>, raw: &mut RawConfig) {
    raw.rpc.sign_replies = from.flag("plugin.security.choria.sign_replies");
    let wanted = from.flag("rpcauthorization").unwrap_or(true);
    let provider = from
        .text("rpcauthprovider")
        .map_or_else(|| "action_policy".to_owned(), |text| text.to_lowercase());
    let mode = match (wanted, provider.as_str()) {
        (false, _) => RawMode::None,
        (true, "aaasvc" | "aaasvc_policy") => RawMode::CallerToken,
        (true, "rego_policy") => RawMode::RegoPolicy,
        (true, _) => RawMode::ActionPolicy,
    };
    let has_default = from
        .flag("plugin.actionpolicy.enable_default")
        .unwrap_or(false);
    let default = from
        .text("plugin.actionpolicy.default_name")
        .unwrap_or_else(|| "default".to_owned());
    raw.authorization = RawAuthorization {
        mode: Some(mode),
        directory: None,
        allow_unconfigured: from.flag("plugin.actionpolicy.allow_unconfigured"),
        default_policy: has_default.then_some(default),
    };
    let audited = from.flag("rpcaudit").unwrap_or(false);
    let file = from.path("plugin.rpcaudit.logfile");
    if audited && file.is_none() {
        from.notice(
            "rpcaudit",
            "is on without `plugin.rpcaudit.logfile`: nothing is audited",
        );
    }
    raw.audit.file = file.filter(|_| audited);
    for key in [
        "plugin.rpcaudit.logfile.group",
        "plugin.rpcaudit.logfile.mode",
    ] {
        if from.text(key).is_some() {
            from.notice(
                key,
                "is ignored: the audit file has mode 0600 and the process's group",
            );
        }
    }
}

fn process(from: &mut Source<'_>, raw: &mut RawConfig) {
    raw.status.file = from.path("plugin.choria.status_file_path");
    raw.status.interval = from
        .number("plugin.choria.status_update_interval")
        .map(|seconds| format!("{seconds}s"));
    for key in [
        "registration",
        "registration_collective",
        "registerinterval",
        "registration_splay",
    ] {
        if from.text(key).is_some() {
            from.notice(
                key,
                "is ignored: this node does not send registration data yet",
            );
        }
    }
    raw.lifecycle.plain_events = from.flag("plugin.choria.legacy_lifecycle_format");
    raw.provisioning.enabled = from.flag("plugin.choria.server.provision");
    // Read by `read_table`; the form of the log is the runtime's.
    let _level = from.text("loglevel");
    if let Some(file) = from.text("logfile")
        && file != "stdout"
        && file != "stderr"
    {
        from.notice(
            "logfile",
            "is ignored: the log goes to standard error, for the service manager to keep",
        );
    }
}
