//! One file per noun.

pub(crate) mod audit;
pub(crate) mod cell;
pub(crate) mod completion;
pub(crate) mod events;
pub(crate) mod facts;
pub(crate) mod find;
pub(crate) mod help_markdown;
pub(crate) mod inventory;
pub(crate) mod jwt;
pub(crate) mod login;
pub(crate) mod logout;
pub(crate) mod ping;
pub(crate) mod plugin;
pub(crate) mod policy;
pub(crate) mod provision;
pub(crate) mod replicate;
pub(crate) mod reprovision;
pub(crate) mod req;
mod service;
pub(crate) mod user;
pub(crate) mod whoami;

pub(crate) use self::jwt::{now, span};
use crate::app::App;
use crate::args::Command;
use crate::error::Failure;

/// Runs the chosen command.
pub(crate) async fn run(command: Command, app: &App) -> Result<(), Failure> {
    match command {
        Command::Ping(args) => ping::run(args, app).await,
        Command::Find(args) => find::run(args, app).await,
        Command::Req(args) => Box::pin(req::run(*args, app)).await,
        Command::Inventory(args) => Box::pin(inventory::run(args, app)).await,
        Command::Facts(args) => Box::pin(facts::run(args, app)).await,
        Command::Events(args) => events::run(args, app).await,
        Command::Plugin(args) => plugin::run(args, app),
        Command::Provision(args) => Box::pin(provision::run(args, app)).await,
        Command::Replicate(args) => Box::pin(replicate::run(args, app)).await,
        Command::Reprovision(args) => Box::pin(reprovision::run(*args, app)).await,
        Command::Login(args) => Box::pin(login::run(*args, app)).await,
        Command::Whoami(args) => whoami::run(&args, app),
        Command::Logout(args) => logout::run(args, app).await,
        Command::User(args) => Box::pin(user::run(args, app)).await,
        Command::Policy(args) => policy::run(args, app),
        Command::Audit(args) => Box::pin(audit::run(args, app)).await,
        Command::Cell(args) => cell::run(args, app).await,
        Command::Jwt(args) => jwt::run(args, app).await,
        Command::Completion(args) => completion::run(&args, app),
        Command::HelpMarkdown => help_markdown::run(app),
    }
}
