//! The reference: every key with its meaning and default, as a file that passes the check.

use overlay_runtime::config::{RawLog, RawProcess};

pub(super) fn text() -> String {
    format!(
        "{OWN}\n{}\n{}",
        RawLog::REFERENCE,
        RawProcess::REFERENCE.replace("Default: one per processor.", "Default: 0.",)
    )
}

const OWN: &str = r#"# A fleet node. Spans of time are written "500ms", "5s", "30m", "12h" or "7d".
# A configuration file of a Choria server (name ending in .cfg or .conf) may be given instead of this file, or before it.

# The node's name; its token must carry the same. Default: the host's name.
identity = "n1.example.net"
# The collectives the node belongs to, and the one of its inbox. Default of the latter: the first.
collectives = ["choria"]
# main_collective = "choria"
# The node's token and the seed of its key. Both are read at every connection: a renewed token needs no restart. Where
# systemd hands them over (LoadCredential=, as the shipped unit does) they are copies made at the start, and it does.
# The seed must be readable by its owner alone, or be such a credential.
# Default of the seed: the token's path ending in .key.
token_file = "/etc/overlay/server.jwt"
seed_file = "/etc/overlay/server.seed"
# Keys (64 hex digits) whose tokens are trusted whatever their organisation; excludes [issuers].
# trusted_signers = []

# The public key of each organisation whose tokens may make requests.
[issuers]
choria = "03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8"

[broker]
# Brokers: nats://, tls:// or wss://HOST:PORT, tried in random order. Brokers that these announce are not used.
servers = ["nats://broker1.example.net:4222", "wss://broker2.example.net:443"]
# Without servers: the domain whose SRV records _mcollective-server._tcp and _x-puppet-mcollective._tcp name them.
# With use_srv = true and no domain, that of the identity. Looked up anew at each reconnect.
# srv_domain = "example.net"
# use_srv = false
# Name servers to ask instead of the system's, as ADDRESS or ADDRESS:PORT.
# name_servers = []
# Used when the look-up names none.
# fallback_servers = []
# PEM file of the authorities that sign brokers' certificates, or "system" for those of the system.
ca_file = "/etc/overlay/ca.pem"
# Whether a broker's certificate is checked. Without the check anybody in between may pose as the broker.
# Beside a file of Choria's that names no authority, and with no ca_file here, the default is false, as with Choria.
verify = true
# Whether connections are encrypted; only brokers on this machine may do without.
tls = true
# A certificate and key to show.
# certificate_file = "/etc/overlay/node.pem"
# key_file = "/etc/overlay/node.key"
# A user name, and the file of its password, to send beside the token.
# user = "..."
# password_file = "/etc/overlay/broker.password"
# The longest a try to connect takes.
connect_timeout = "5s"

[facts]
# JSON or YAML (.yaml, .yml) objects; of equal top-level names the last file's counts. `file` is one more.
files = []
# file = "/etc/overlay/facts.json"
# One class a line.
# classes_file = "/etc/overlay/classes.txt"
# How often, at most, the files are looked at for changes.
refresh = "1s"

[rpc]
# Actions that run at once, and requests that wait for their turn; one more is dropped, logged and counted.
workers = 8
queue = 128
# The largest message taken, in bytes.
max_request_bytes = 1048576
# The longest time to live a request may give itself. Choria has no such limit.
max_ttl = "5h"
# Requests remembered so that none is done twice; 0 = no check.
replay_entries = 4096
# Whether replies carry the node's signature and token.
sign_replies = true
# Ends actions whose agent allows itself longer.
max_action_time = "1h"

[authorization]
# none: whoever may make requests may call any action.
# caller_token: the list `agents` or the Rego policy in the caller's token decides.
# action_policy: Choria's policy files decide, read for every call: <agent>.policy and `groups` in `directory`.
# rego_policy: Choria's Rego files, which this node cannot judge: every call is denied.
mode = "none"
# directory = "/etc/overlay/policies"
# What holds for an agent without policy, and for calls that no line fits.
# allow_unconfigured = false
# The policy of agents without one of their own: <name>.policy.
# default_policy = "default"

[audit]
# One JSON line for each call that was allowed, mode 0600.
# file = "/var/log/overlay/audit.log"

[status]
# Health of the node as JSON, as `choria tool status` reads it, and how often it is written.
# file = "/run/overlay/status.json"
interval = "30s"

[lifecycle]
# How often the node says that it is alive; the first time at random within the span.
alive_interval = "30m"
# Events in the form from before CloudEvents.
plain_events = false

# A node without a configuration is enrolled by a provisioner, if it has a provisioning token. What the provisioner
# delivers is written as NAME.conf beside this NAME.toml, in the form of Choria's files, and read after it from then on.
[provisioning]
# The provisioning token. Default: the first there is of provisioning.jwt beside the configuration,
# /etc/overlay/provisioning.jwt and /etc/choria/provisioning.jwt.
# token_file = "/etc/overlay/provisioning.jwt"
# true: the node is to be enrolled, whatever it is now. false: it is not, unless its token or key are of no use.
# Default: a node with a good token and key is a member; without, the provisioning token decides (`chpd`).
# enabled = false
# Whether a member that has a provisioning token fetches a new token before its own ends, without leaving the fleet.
renew = true
# How long before the end. Default: the last third of the token's life.
# renew_before = "30d"
# The ed25519 public key (64 hex digits) by which every version that replaces this program must be signed. Without one
# the SHA-256 sum that the repository names is all that is checked.
# release_key = "..."
"#;
