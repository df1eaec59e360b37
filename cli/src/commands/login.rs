//! `overlay login`: a new session.

mod browser;
mod device;
mod helper;
mod page;

use std::io::Read as _;

use clap::ValueEnum;
use overlay_client::Config;
use overlay_client::config::LoginOver;
use overlay_client::login::{LoginClient, MAX_PASSWORD_BYTES};
use overlay_protocol::SecretText;
use overlay_protocol::signing::login::{Method, MethodKind, Methods};
use serde_json::json;
use zeroize::Zeroizing;

use crate::app::App;
use crate::commands::jwt::{instant, now, span};
use crate::error::{Failure, Hint, Kind};
use crate::prompt;

#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  overlay login                                  asks for name and password, or as the service wishes
  overlay login --user bob --otp                 and for the code of a second factor
  overlay login --device                         confirm on your telephone or another machine
  overlay login --user ci --password-stdin < file
  overlay login --over broker                    where only the broker can be reached

The token and the seed of a new key are written to the files that the configuration names, when the login
has succeeded; until then the old session stays. `overlay whoami` shows the session, `overlay logout` ends it.

Where the configuration is Choria's and a program `choria-login` is in the path, that is run instead, as
`choria login` does.")]
pub(crate) struct Args {
    /// Log in with this name (default: `login.user` of the configuration, else $USER)
    #[arg(short, long, value_name = "NAME")]
    user: Option<String>,
    /// Read the password from standard input
    #[arg(long)]
    password_stdin: bool,
    /// The code of a second factor; without a value it is asked for
    #[arg(long, value_name = "CODE", num_args = 0..=1, default_missing_value = "")]
    otp: Option<String>,
    /// Log in by this method of the service, such as userlist, ldap or oidc
    #[arg(long, value_name = "NAME")]
    method: Option<String>,
    /// Confirm the login on another device
    #[arg(long, conflicts_with_all = ["browser", "password_stdin", "otp"])]
    device: bool,
    /// Log in with the browser of this machine
    #[arg(long, conflicts_with_all = ["password_stdin", "otp"])]
    browser: bool,
    /// Take this way to the login service
    #[arg(long, value_name = "WAY")]
    over: Option<Over>,
    /// Ask this login service instead of those of the configuration
    #[arg(long, value_name = "URL", conflicts_with = "over")]
    url: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Over {
    Https,
    Broker,
}

impl From<Over> for LoginOver {
    fn from(over: Over) -> Self {
        match over {
            Over::Https => Self::Https,
            Over::Broker => Self::Broker,
        }
    }
}

pub(crate) async fn run(args: Args, app: &App) -> Result<(), Failure> {
    // Whatever is waited for, Ctrl-C ends it; nothing has been written by then.
    tokio::select! {
        done = log_in(args, app) => done,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            Err(Failure::new("interrupted").hint("the old session is as it was"))
        }
    }
}

async fn log_in(args: Args, app: &App) -> Result<(), Failure> {
    let mut config = app.config()?;
    if let Some(program) = &config.login.helper {
        return helper::run(program).await;
    }
    let over = args.way(&mut config)?;
    let spinner = app.output.spinner("looking for the login service");
    let mut client = LoginClient::new(&config, over).await?;
    let methods = client.methods().await?;
    drop(spinner);
    let method = args.choose(&methods, is_desktop(app))?.clone();
    let token = match method.kind {
        MethodKind::Password => args.password(&mut client, &config, app).await?,
        MethodKind::Device => device::run(&mut client, &method, &args, app).await?,
        MethodKind::Code => browser::run(&mut client, &method, &args, app).await?,
    };
    let by = client.asked();
    let session = client
        .accept(&token, config.issuers.as_ref())
        .hint(format!(
            "the answer of {by} is not used; the old session is as it was"
        ))?;
    session
        .store(&config)
        .hint("see token_file and seed_file of the configuration; the old session is as it was")?;
    let expires = session.expires().unwrap_or_default();
    if app.output.is_json() {
        return app.output.json(&json!({
            "caller": session.caller(),
            "expires": expires,
            "expires_in": expires.saturating_sub(now().secs),
            "login_service": by,
            "method": method.name,
            "token_file": config.token_file,
            "seed_file": config.seed_file,
        }));
    }
    app.output.note(format_args!(
        "Logged in as {} until {}, for {}",
        session.caller(),
        instant(expires),
        span(expires.saturating_sub(now().secs))
    ));
    app.output.line(format_args!(
        "Token saved to {}",
        config.token_file.display()
    ))
}

impl Args {
    /// The way that was asked for; addresses on the command line take the place of those in the configuration.
    fn way(&self, config: &mut Config) -> Result<Option<LoginOver>, Failure> {
        if self.url.is_empty() {
            return Ok(self.over.map(LoginOver::from));
        }
        let web = &mut config.login.web;
        for url in &self.url {
            web.check(url)
                .map_err(|fault| Failure::usage(format!("--url: {fault}")))?;
        }
        web.urls.clone_from(&self.url);
        Ok(Some(LoginOver::Https))
    }

    /// The method that fits what was asked for; else the first, unless it needs a desktop that is not there.
    fn choose<'a>(&self, methods: &'a Methods, is_desktop: bool) -> Result<&'a Method, Failure> {
        let kind = if self.device {
            Some(MethodKind::Device)
        } else if self.browser {
            Some(MethodKind::Code)
        } else if self.password_stdin || self.otp.is_some() || self.user.is_some() {
            Some(MethodKind::Password)
        } else {
            None
        };
        let fitting: Vec<&Method> = methods
            .methods
            .iter()
            .filter(|method| self.method.as_ref().is_none_or(|name| *name == method.name))
            .filter(|method| kind.is_none_or(|kind| kind == method.kind))
            .collect();
        let usable = |method: &&&Method| is_desktop || method.kind != MethodKind::Code;
        let chosen = fitting.iter().find(usable).or_else(|| fitting.first());
        chosen.copied().ok_or_else(|| {
            let offered: Vec<String> = methods
                .methods
                .iter()
                .map(|method| format!("{} ({})", method.name, method.kind.as_str()))
                .collect();
            let failure = Failure::new("the login service does not log anybody in like that");
            if offered.is_empty() {
                failure.hint("it offers no method at all")
            } else {
                failure.hint(format!("it offers: {}", offered.join(", ")))
            }
        })
    }

    async fn password(
        &self,
        client: &mut LoginClient,
        config: &Config,
        app: &App,
    ) -> Result<String, Failure> {
        let user = self.user(config, app).await?;
        let password = if self.password_stdin {
            from_stdin().await?
        } else {
            prompt::hidden("Password: ").await.map_err(unasked)?
        };
        if password.is_empty() {
            return Err(Failure::new("no password given"));
        }
        let otp = match self.otp.as_deref() {
            None => None,
            Some("") => Some(prompt::line("One-time code: ", None).await?),
            Some(code) => Some(code.to_owned()),
        };
        let otp = otp.map(|code| SecretText::from(code.trim().to_owned()));
        let spinner = app
            .output
            .spinner(format!("logging in at {}", client.asked()));
        let token = client
            .password(&user, &SecretText::from(password), otp.as_ref())
            .await;
        drop(spinner);
        Ok(token?)
    }

    async fn user(&self, config: &Config, app: &App) -> Result<String, Failure> {
        let own = || app.environment.get("USER").cloned();
        let default = config.login.user.clone().or_else(own);
        let user = match (&self.user, default) {
            (Some(user), _) => user.clone(),
            (None, default) if self.password_stdin => default.unwrap_or_default(),
            (None, default) => prompt::line("Username: ", default.as_deref())
                .await
                .map_err(unasked)?,
        };
        if user.trim().is_empty() {
            return Err(Failure::usage("no user name given").hint("add --user NAME"));
        }
        Ok(user)
    }
}

/// Says what to do where nobody can be asked.
fn unasked(failure: Failure) -> Failure {
    if failure.kind() == Kind::Usage {
        failure.hint("without a terminal: --user NAME --password-stdin")
    } else {
        failure
    }
}

/// The first line of standard input.
async fn from_stdin() -> Result<Zeroizing<String>, Failure> {
    let reading = tokio::task::spawn_blocking(|| {
        let limit = u64::try_from(MAX_PASSWORD_BYTES).unwrap_or(u64::MAX) + 2;
        let mut text = Zeroizing::new(String::new());
        std::io::stdin()
            .lock()
            .take(limit)
            .read_to_string(&mut text)?;
        Ok::<_, std::io::Error>(text)
    });
    let text = reading
        .await?
        .hint("cannot read the password from standard input")?;
    let line = text.split(['\r', '\n']).next().unwrap_or_default();
    Ok(Zeroizing::new(line.to_owned()))
}

/// Whether a browser can be opened where the user sits.
fn is_desktop(app: &App) -> bool {
    let is_set = |name: &str| {
        app.environment
            .get(name)
            .is_some_and(|value| !value.is_empty())
    };
    (is_set("DISPLAY") || is_set("WAYLAND_DISPLAY") || cfg!(target_os = "macos"))
        && !is_set("SSH_CONNECTION")
}
