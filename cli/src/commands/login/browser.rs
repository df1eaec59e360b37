//! A login in the browser of this machine.
//!
//! The browser comes back to a port of ours on 127.0.0.1 (RFC 8252). What it brings counts only with the
//! state of this login; whatever else knocks there is sent away.

use std::net::Ipv4Addr;
use std::process::Stdio;
use std::time::Duration;

use overlay_client::login::{LoginClient, LoginError};
use overlay_protocol::SecretText;
use overlay_protocol::signing::login::Method;
use subtle::ConstantTimeEq as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::Args;
use super::page::{Address, parameter};
use crate::app::App;
use crate::error::Failure;

/// The path that login services send browsers to.
const CALLBACK: &str = "/callback";
/// How long somebody may take, unless the service says.
const VALIDITY: Duration = Duration::from_secs(10 * 60);
/// How long a visitor may take to ask, and how much it may say.
const VISIT: Duration = Duration::from_secs(5);
const MAX_HEAD: usize = 16 * 1024;
/// Visitors at the same time.
const VISITORS: usize = 16;

/// What a browser brought.
#[derive(Debug, PartialEq, Eq)]
enum Brought {
    /// The code.
    Code(SecretText),
    /// The provider's refusal.
    Refusal(String),
}

pub(super) async fn run(
    client: &mut LoginClient,
    method: &Method,
    _args: &Args,
    app: &App,
) -> Result<String, Failure> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let redirect = format!(
        "http://127.0.0.1:{}{CALLBACK}",
        listener.local_addr()?.port()
    );
    let begun = client.begin(method, &redirect).await?;
    let by = client.asked();
    let page = begun.authorize_url.as_deref().and_then(Address::parse);
    let state = page.as_ref().and_then(|page| page.parameter("state"));
    let (Some(page), Some(state)) = (page, state) else {
        return Err(Failure::new(format!(
            "the answer of {by} has no page to open"
        )));
    };
    app.output.note(format_args!("Log in at {page}"));
    open(&page, app);
    let spinner = app.output.spinner("waiting for your browser");
    let validity = begun.expires_in.map_or(VALIDITY, Duration::from_secs);
    let brought = timeout(validity, visitors(listener, &state)).await;
    drop(spinner);
    let code = match brought {
        Ok(Brought::Code(code)) => code,
        Ok(Brought::Refusal(why)) => return Err(Failure::new(format!("login refused: {why}"))),
        Err(_) => {
            return Err(Failure::new("the browser did not come back in time")
                .hint("without a browser on this machine: overlay login --device"));
        }
    };
    let answer = client
        .continue_flow(&begun.flow, code.expose(), &state)
        .await?;
    answer.token.ok_or_else(|| LoginError::NoToken.into())
}

/// Opens a page in the user's browser; when there is none the address has been shown.
fn open(page: &Address, app: &App) {
    let own = app.environment.get("BROWSER").map(String::as_str);
    let system = if cfg!(target_os = "macos") {
        "open"
    } else {
        "xdg-open"
    };
    // What is more than the name of a program, the system's opener knows to read.
    let is_program = |program: &&str| !program.is_empty() && !program.contains([':', ' ', '%']);
    let program = own.filter(is_program).unwrap_or(system);
    let opened = Command::new(program)
        .arg(page.as_str())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    // A browser may stay as long as it likes: it is not waited for, nor ended with us.
    if let Err(error) = opened {
        tracing::debug!(%error, program, "no browser");
        app.output
            .note("No browser could be started: open the address yourself.");
    }
}

/// Receives visitors until one of them brings the outcome of the login with this state.
async fn visitors(listener: TcpListener, state: &str) -> Brought {
    let mut visits = JoinSet::new();
    loop {
        tokio::select! {
            visitor = listener.accept(), if visits.len() < VISITORS => {
                if let Ok((stream, _)) = visitor {
                    let state = state.to_owned();
                    visits.spawn(async move { timeout(VISIT, receive(stream, &state)).await.ok()? });
                }
            }
            Some(visit) = visits.join_next() => {
                if let Ok(Some(brought)) = visit {
                    return brought;
                }
            }
        }
    }
}

/// Reads one request and answers it.
async fn receive(mut stream: TcpStream, state: &str) -> Option<Brought> {
    let mut head = Vec::new();
    let mut part = [0; 2048];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let got = stream.read(&mut part).await.ok()?;
        if got == 0 || head.len() > MAX_HEAD {
            return None;
        }
        head.extend_from_slice(part.get(..got)?);
    }
    let brought = read(&String::from_utf8_lossy(&head), state);
    let (status, text) = match &brought {
        Some(Brought::Code(_)) => (
            "200 OK",
            "You can close this page and go back to your terminal.",
        ),
        Some(Brought::Refusal(_)) => ("200 OK", "The login was refused. Your terminal says more."),
        None => ("404 Not Found", "There is nothing here."),
    };
    let page =
        format!("<!doctype html><meta charset=\"utf-8\"><title>Overlay</title><p>{text}</p>\n");
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\n\
         Cache-Control: no-store\r\nReferrer-Policy: no-referrer\r\nConnection: close\r\n\r\n{page}",
        page.len()
    );
    // Whoever does not wait for the page has brought what is wanted all the same.
    if let Err(error) = stream.write_all(answer.as_bytes()).await {
        tracing::debug!(%error, "the browser does not take its page");
    }
    brought
}

/// What a request brings, if it has the state of this login.
fn read(head: &str, state: &str) -> Option<Brought> {
    let mut words = head.lines().next()?.split(' ');
    let ("GET", target) = (words.next()?, words.next()?) else {
        return None;
    };
    let (path, query) = target.split_once('?')?;
    if path != CALLBACK {
        return None;
    }
    let theirs = parameter(query, "state")?;
    if !bool::from(theirs.as_bytes().ct_eq(state.as_bytes())) {
        return None;
    }
    if let Some(code) = parameter(query, "code").filter(|code| !code.is_empty()) {
        return Some(Brought::Code(code.into()));
    }
    let error = parameter(query, "error")?;
    let more = parameter(query, "error_description").filter(|text| !text.is_empty());
    let why = more.map_or(error.clone(), |more| format!("{error}: {more}"));
    Some(Brought::Refusal(
        why.chars().filter(|c| !c.is_control()).take(300).collect(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(target: &str) -> String {
        format!("GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    }

    #[test]
    fn only_a_visitor_with_the_state_of_the_login_brings_something() {
        let brings = |target: &str| read(&request(target), "s t");
        let code = Brought::Code("abc".into());
        assert_eq!(brings("/callback?code=abc&state=s%20t&iss=x"), Some(code));
        let refusal = Brought::Refusal("access_denied: no".to_owned());
        assert_eq!(
            brings("/callback?error=access_denied&error_description=n%1bo&state=s+t"),
            Some(refusal)
        );
        for target in [
            "/callback?code=abc&state=other",
            "/callback?code=abc",
            "/callback?code=abc&state=s%20t&state=s%20t",
            "/callback?state=s%20t",
            "/callback",
            "/favicon.ico",
            "/callback/?code=abc&state=s%20t",
        ] {
            assert_eq!(brings(target), None, "{target}");
        }
        assert_eq!(
            read("POST /callback?code=abc&state=s+t HTTP/1.1", "s t"),
            None
        );
        assert_eq!(read("", ""), None);
    }
}
