//! A login that is confirmed on another device.

use std::time::Duration;

use overlay_client::login::{LoginClient, LoginError};
use overlay_protocol::signing::login::{Begun, Method};
use tokio::time::{Instant, sleep_until};

use super::Args;
use super::page::Address;
use crate::app::App;
use crate::error::Failure;

/// Between two questions, unless the service says how long (RFC 8628, 3.2).
const INTERVAL: Duration = Duration::from_secs(5);
/// The longest wait between two questions, whatever went wrong.
const MAX_INTERVAL: Duration = Duration::from_secs(60);
/// How long somebody may take, unless the service says.
const VALIDITY: Duration = Duration::from_secs(10 * 60);

/// What somebody is asked to do.
struct Task {
    flow: String,
    page: Address,
    /// The same page, with the code filled in.
    page_with_code: Option<Address>,
    code: String,
    wait: Duration,
    until: Instant,
}

pub(super) async fn run(
    client: &mut LoginClient,
    method: &Method,
    _args: &Args,
    app: &App,
) -> Result<String, Failure> {
    let begun = client.begin(method, "").await?;
    let task = Task::new(begun, &client.asked())?;
    app.output.note(format_args!(
        "Open {} and type the code {}",
        task.page, task.code
    ));
    if let Some(page) = &task.page_with_code {
        app.output
            .note(format_args!("or open {page} and compare the code"));
    }
    let spinner = app.output.spinner("waiting for you to confirm");
    let token = wait(client, &task).await;
    drop(spinner);
    token
}

/// Asks until somebody has confirmed, as often as the service wants to be asked.
async fn wait(client: &mut LoginClient, task: &Task) -> Result<String, Failure> {
    let mut wait = task.wait;
    loop {
        let next = Instant::now() + wait;
        if next >= task.until {
            return Err(Failure::new("nobody confirmed the login in time").hint("try again"));
        }
        sleep_until(next).await;
        match client.continue_flow(&task.flow, "", "").await {
            Ok(answer) => match (answer.token, answer.pending) {
                (Some(token), _) => return Ok(token),
                // Who was told to ask less often does so from then on (RFC 8628, 3.5).
                (None, Some(seconds)) => wait = wait.max(Duration::from_secs(seconds)),
                (None, None) => return Err(LoginError::NoToken.into()),
            },
            Err(error) if may_pass(&error) => {
                tracing::debug!(%error, "no answer on the login");
                wait = wait.saturating_mul(2);
            }
            Err(error) => return Err(error.into()),
        }
        wait = wait.min(MAX_INTERVAL);
    }
}

/// Whether asking again later may help.
fn may_pass(error: &LoginError) -> bool {
    match error {
        LoginError::Status { status, .. } => *status == 429 || *status >= 500,
        LoginError::Web(_)
        | LoginError::Unreachable { .. }
        | LoginError::Nobody
        | LoginError::Silent(_) => true,
        LoginError::NotConfigured
        | LoginError::Refused(_)
        | LoginError::NoToken
        | LoginError::Answer { .. }
        | LoginError::NotOffered(_)
        | LoginError::NoCodes(_)
        | LoginError::Broker(_)
        | LoginError::NotTaken(_)
        | LoginError::Tls(_)
        | LoginError::Key(_)
        | LoginError::PasswordTooLong => false,
    }
}

impl Task {
    fn new(begun: Begun, by: &str) -> Result<Self, Failure> {
        let lacks = |what: &str| Failure::new(format!("the answer of {by} has no {what}"));
        let code = begun.user_code.unwrap_or_default();
        if code.is_empty() || !code.chars().all(|c| c.is_ascii_graphic() || c == ' ') {
            return Err(lacks("code that can be typed"));
        }
        let page = begun.verification_uri.as_deref().and_then(Address::parse);
        let seconds = begun.interval.map(Duration::from_secs);
        let validity = begun.expires_in.map(Duration::from_secs);
        Ok(Self {
            flow: begun.flow,
            page: page.ok_or_else(|| lacks("page to open"))?,
            page_with_code: begun
                .verification_uri_complete
                .as_deref()
                .and_then(Address::parse),
            code,
            wait: seconds
                .unwrap_or(INTERVAL)
                .clamp(Duration::from_secs(1), MAX_INTERVAL),
            until: Instant::now() + validity.unwrap_or(VALIDITY),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun(code: &str, page: &str) -> Begun {
        Begun {
            flow: "oidc.x".to_owned(),
            user_code: Some(code.to_owned()),
            verification_uri: Some(page.to_owned()),
            interval: Some(0),
            ..Begun::default()
        }
    }

    #[test]
    fn what_a_service_wants_shown_cannot_move_the_terminal() {
        assert!(Task::new(begun("ABCD-EFGH", "https://idp.example.net/device"), "x").is_ok());
        for (code, page) in [
            ("ABCD\u{1b}[2J", "https://idp.example.net/device"),
            ("", "https://idp.example.net/device"),
            ("ABCD-EFGH", "https://idp.example.net/\u{1b}]0;x\u{7}"),
            ("ABCD-EFGH", "javascript:alert(1)"),
            ("ABCD-EFGH", "file:///etc/passwd"),
        ] {
            assert!(
                Task::new(begun(code, page), "x").is_err(),
                "{code:?} {page:?}"
            );
        }
    }

    #[test]
    fn a_service_is_never_asked_without_a_pause() {
        let task = Task::new(begun("A", "https://idp.example.net/device"), "x").expect("a task");
        assert_eq!(task.wait, Duration::from_secs(1));
    }
}
