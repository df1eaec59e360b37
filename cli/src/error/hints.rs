//! What to do next, by kind of error.

use overlay_client::config::ConfigError;
use overlay_client::connection::BrokerError;
use overlay_client::ddl::DdlError;
use overlay_client::login::{LoginError, SessionError};
use overlay_client::nodes::NodesError;
use overlay_client::{CallError, ConnectError, CredentialsError, SignerError, Suspicion, WebError};

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
        } else if let Some(error) = cause.downcast_ref::<LoginError>() {
            login(error, &mut hints);
        } else if let Some(error) = cause.downcast_ref::<SessionError>() {
            session(error, &mut hints);
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
            hints
                .push("see ca_file, certificate_file and key_file of the configuration".to_owned());
        }
    }
}

fn credentials(error: &CredentialsError, hints: &mut Vec<String>) {
    match error {
        CredentialsError::ReadToken { .. } | CredentialsError::Token { .. } => {
            hints.push(
                "`overlay login` gets a new one where there is a login service; `overlay jwt client` makes one"
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
            "the token says `signed_fleet_management`: set `service = true` or `url` in [signer] (Choria: plugin.choria.security.request_signer.service)".to_owned(),
        ),
        CallError::Signer(error) => signer(error, hints),
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

fn signer(error: &SignerError, hints: &mut Vec<String>) {
    match error {
        SignerError::Denied {
            suspicion, request, ..
        } => {
            hints.push(
                match suspicion {
                    Suspicion::NothingAllowed => {
                        "the token lists no actions and holds no policy, so nothing is allowed; `overlay whoami` shows it"
                    }
                    Suspicion::NotListed => {
                        "the token's list of actions does not have this one; `overlay whoami` shows the list"
                    }
                    Suspicion::Policy => {
                        "the token's policy decides; `overlay policy explain` shows which rule does"
                    }
                    Suspicion::None => {
                        "the token's list does not forbid it, so it is something else: a session that was ended, the life of token or request, the tenant, or the signer's own rules"
                    }
                }
                .to_owned(),
            );
            hints.push(format!(
                "why is in the signer's audit and log, under request {request}"
            ));
        }
        SignerError::Nobody(_) => hints.push(
            "start the signer, or see whether it serves this collective; without [signer] callers with `fleet_management` sign themselves".to_owned(),
        ),
        SignerError::Silent { .. } => hints.push(
            "the signer is slow, or its audit is not written: see its log; `signer.timeout` is the limit".to_owned(),
        ),
        SignerError::Unreachable { .. } => {
            hints.push("see [signer]: url, ca_file (Choria: plugin.choria.security.request_signer.url, plugin.security.choria.ca)".to_owned());
            hints.push(TRYING_OUT.to_owned());
        }
        SignerError::Answer { .. } => hints.push(
            "nothing was sent; whoever answers there is not the signer of this organisation, or a broken one".to_owned(),
        ),
        SignerError::Broker(error) => broker(error, hints),
        SignerError::Interrupted | SignerError::Random => {}
    }
}

fn login(error: &LoginError, hints: &mut Vec<String>) {
    match error {
        LoginError::NotConfigured => {
            hints.push("set `urls` or `over = \"broker\"` in [login] of client.toml, or --url".to_owned());
            hints.push(
                "in a configuration of Choria: please configure a login server URL using plugin.login.aaasvc.login.url"
                    .to_owned(),
            );
        }
        LoginError::Refused(_) => hints.push(
            "the service does not say why: name or password may be wrong, a one-time code missing (--otp), or the account locked; its audit has the reason".to_owned(),
        ),
        LoginError::Status { .. } | LoginError::Answer { .. } | LoginError::NoToken => hints.push(
            "see whether the address is that of a login service".to_owned(),
        ),
        LoginError::Web(error) => web(error, hints),
        LoginError::Broker(error) => {
            if let ConnectError::Refused { .. } = error {
                hints.push("the broker lets nobody in who has no token: [login] of broker-auth is off, or use --over https".to_owned());
            } else {
                connect(error, hints);
            }
        }
        LoginError::Nobody => {
            hints.push("start the login service, or see whether it is on this broker".to_owned());
        }
        LoginError::Tls(_) => hints.push("see login.ca_file".to_owned()),
        LoginError::NoCodes(_) => hints.push(
            "log in without --otp; some services want the code appended to the password".to_owned(),
        ),
        LoginError::NotOffered(_) => {
            hints.push("`overlay login` without options takes what the service offers".to_owned());
        }
        LoginError::Unreachable { .. }
        | LoginError::Silent(_)
        | LoginError::NotTaken(_)
        | LoginError::Key(_)
        | LoginError::PasswordTooLong => {}
    }
}

const TRYING_OUT: &str = "to try things out only: `verify = false` there, or INSECURE_ANON_TLS=true with Choria's files, takes any certificate";

fn web(error: &WebError, hints: &mut Vec<String>) {
    if let WebError::Untrusted { .. } = error {
        hints.push("set ca_file in [login] or [signer] (Choria: plugin.security.choria.ca) to the certificate that signed the service's".to_owned());
        hints.push(TRYING_OUT.to_owned());
    }
}

fn session(error: &SessionError, hints: &mut Vec<String>) {
    match error {
        SessionError::Untrusted(_) => {
            hints.push("see [issuers]: the login service is of another organisation, or the issuer's key has changed".to_owned());
        }
        SessionError::Own(_) => {
            hints.push("see whether the clocks of this machine and the service agree".to_owned());
        }
        SessionError::Decode(_)
        | SessionError::NoClient
        | SessionError::Endless
        | SessionError::Directory { .. }
        | SessionError::File(_)
        | SessionError::Place { .. }
        | SessionError::Remove { .. } => {}
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
