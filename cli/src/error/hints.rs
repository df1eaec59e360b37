//! What to do next, by kind of error.

use overlay_client::config::ConfigError;
use overlay_client::connection::BrokerError;
use overlay_client::ddl::DdlError;
use overlay_client::nodes::NodesError;
use overlay_client::{CallError, ConnectError, CredentialsError};

/// The hints that an error carries by its type.
pub(super) fn of(error: &anyhow::Error) -> Vec<String> {
    let mut hints = Vec::new();
    for cause in error.chain() {
        if let Some(error) = cause.downcast_ref::<ConfigError>() {
            config(error, &mut hints);
        } else if let Some(error) = cause.downcast_ref::<ConnectError>() {
            connect(error, &mut hints);
        } else if let Some(error) = cause.downcast_ref::<CallError>() {
            call(error, &mut hints);
        } else if let Some(error) = cause.downcast_ref::<BrokerError>() {
            broker(error, &mut hints);
        } else if let Some(error) = cause.downcast_ref::<DdlError>() {
            ddl(error, &mut hints);
        } else if let Some(NodesError::OnlyNames) = cause.downcast_ref::<NodesError>() {
            hints.push("filter by name with -I, or find the nodes with --dm mc".to_owned());
        }
    }
    hints
}

fn config(error: &ConfigError, hints: &mut Vec<String>) {
    match error {
        ConfigError::NotFound { searched } => {
            let places: Vec<String> = searched.iter().map(|p| p.display().to_string()).collect();
            hints.push(format!("looked for {}", places.join(", ")));
            hints.push(
                "give --config FILE or set OVERLAY_CONFIG; a cell has one in DIR/operator/client.toml"
                    .to_owned(),
            );
        }
        ConfigError::Read { path, .. } => {
            hints.push(format!(
                "see whether {} is there and may be read",
                path.display()
            ));
        }
        ConfigError::Syntax { .. } => {
            hints.push("a file ending in .toml is read as ours, any other as Choria's".to_owned());
        }
        ConfigError::Invalid { .. } => {
            hints.push("a complete example is DIR/operator/client.toml of any cell (`overlay cell init`); client/README.md lists all settings".to_owned());
        }
    }
}

fn connect(error: &ConnectError, hints: &mut Vec<String>) {
    match error {
        ConnectError::Credentials(error) => credentials(error, hints),
        ConnectError::Refused { .. } => {
            hints.push(
                "look at the token with `overlay jwt view FILE`: who issued it, and until when"
                    .to_owned(),
            );
            hints.push(
                "the reason is in broker-auth's log and in `overlay events --type refused`"
                    .to_owned(),
            );
        }
        ConnectError::NotANonce { .. } => {
            hints.push(
                "nothing was signed and no token shown: see whether the address is that of a broker of a cell"
                    .to_owned(),
            );
        }
        ConnectError::Untrusted { .. } => {
            hints.push("set broker.ca_file (Choria: plugin.security.choria.ca) to the certificate that signed the broker's".to_owned());
            hints.push(
                "to try things out only: OVERLAY_BROKER__VERIFY=false takes any certificate"
                    .to_owned(),
            );
        }
        ConnectError::Undecided { .. } => {
            hints.push(
                "the broker is up, but broker-auth does not answer: see whether it runs".to_owned(),
            );
        }
        ConnectError::Unreachable { .. } => {
            hints.push("see whether the broker runs and the address is right (`overlay cell status` on its host)".to_owned());
        }
        ConnectError::Url(_) => {
            hints.push("write it as nats://HOST:PORT or wss://HOST:PORT".to_owned())
        }
        ConnectError::Tls(_) => {
            hints.push("see broker.certificate_file and broker.key_file".to_owned())
        }
    }
}

fn credentials(error: &CredentialsError, hints: &mut Vec<String>) {
    match error {
        CredentialsError::ReadToken { .. } | CredentialsError::Token { .. } => {
            hints.push(
                "get a new token from whoever issues them (`overlay jwt client` makes one)"
                    .to_owned(),
            );
        }
        CredentialsError::ReadSeed { .. } => {
            hints.push(
                "the key lies beside the token it was made for (`overlay jwt keys` makes one)"
                    .to_owned(),
            );
        }
        CredentialsError::OtherKey { .. } => {
            hints.push(
                "use the key that the token was issued for, or have a token issued for this key"
                    .to_owned(),
            );
        }
    }
}

fn call(error: &CallError, hints: &mut Vec<String>) {
    match error {
        CallError::NeedsSigner(_) => hints.push(
            "the token says `signed_fleet_management`; one with `fleet_management` alone signs for itself".to_owned(),
        ),
        CallError::NeedsFilter => {
            hints.push("choose nodes with -F, -C, -A, -I, -W or -S; `require_filter` is set".to_owned());
        }
        CallError::ReplyTo(_) => hints.push("for example choria.reply.jobs.1".to_owned()),
        CallError::Broker(_)
        | CallError::Limit(_)
        | CallError::Agent(_)
        | CallError::Random => {}
    }
}

fn broker(error: &BrokerError, hints: &mut Vec<String>) {
    match error {
        BrokerError::NotAllowed(_) => {
            hints.push(
                "the token's permissions decide; see them with `overlay jwt view FILE`".to_owned(),
            );
        }
        BrokerError::TooLarge { .. } => {
            hints.push("send less, or raise max_payload on the broker".to_owned());
        }
        BrokerError::Closed | BrokerError::NotTaken => {
            hints.push("the broker went away; try again".to_owned());
        }
    }
}

fn ddl(error: &DdlError, hints: &mut Vec<String>) {
    match error {
        DdlError::Unknown { .. } => {
            hints.push("`overlay plugin list` shows what is known; descriptions are looked for in library_dirs".to_owned());
        }
        DdlError::Read { .. } | DdlError::Decode { .. } | DdlError::OtherAgent { .. } => {}
    }
}
