//! The files a process was started with, and what they make of the node: at the start, and again before a restart.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use overlay_runtime::config::{self, Loaded};
use overlay_runtime::{Environment, Fault, Secrets};
use overlay_tokens::claims::Purpose;
use overlay_tokens::own::Holder;
use overlay_tokens::{UnixTime, file, purpose};

use crate::compat;
use crate::config::{Config, Place, Sketch};
use crate::mode::{self, Credentials, Document, Invitation, Mode, State, Unusable, Verdict};
use crate::provisioning::changes;
use crate::provisioning::settings::is_delivered;
use crate::provisioning::{self, Files, Former, Outlook, Ticket, TicketError, Upcoming};

/// What the process was given.
#[derive(Debug)]
pub(crate) struct Startup {
    component: String,
    named: Vec<PathBuf>,
    environment: Environment,
    target: PathBuf,
}

/// What was found.
#[derive(Debug)]
pub(crate) struct Examined {
    /// The operator's part.
    pub(crate) own: Loaded<Sketch>,
    /// All parts, as far as they count in any case.
    pub(crate) all: Sketch,
    /// All parts, as a member's configuration.
    pub(crate) member: Result<Loaded<Config>, Vec<Fault>>,
    /// The provisioning token, if there is a file.
    pub(crate) ticket: Option<Result<Arc<Ticket>, Arc<TicketError>>>,
    document: Document,
}

impl Startup {
    pub(crate) fn new(component: &str, named: &[PathBuf], environment: &Environment) -> Self {
        let target = named
            .iter()
            .find(|file| compat::has_extension(file))
            .cloned()
            .or_else(|| named.first().map(|file| file.with_extension("conf")))
            .unwrap_or_else(|| PathBuf::from("server.conf"));
        Self {
            component: component.to_owned(),
            named: named.to_vec(),
            environment: environment.clone(),
            target: std::path::absolute(&target).unwrap_or(target),
        }
    }

    /// The files that enrolment is about.
    pub(crate) fn files(&self, sketch: &Sketch) -> Files {
        let former = match (&sketch.token_file, &sketch.seed_file) {
            (Some(token_file), Some(seed_file)) => Former {
                token_file: token_file.clone(),
                seed_file: seed_file.clone(),
            },
            (_, _) => Former::beside(&self.target),
        };
        Files {
            configuration: self.target.clone(),
            former,
        }
    }

    /// Ends a change of files that another process began.
    pub(crate) fn recover(&self) -> Result<(), Vec<Fault>> {
        let Some(home) = self.target.parent().filter(|home| home.is_dir()) else {
            return Ok(());
        };
        changes::recover_begun(home, &mut changes::no_hook).map_err(|error| {
            let problem = overlay_runtime::err_chain(&error);
            vec![
                Fault::new(
                    "",
                    format!("a change of files was begun and cannot be ended: {problem}"),
                )
                .remedy("mend the directory, its journal is .overlay-change.json"),
            ]
        })
    }

    /// Looks at the files at `now`.
    pub(crate) fn examine(&self, now: UnixTime) -> Result<Examined, Vec<Fault>> {
        let load =
            |files: &[PathBuf]| config::load::<Sketch>(&self.component, files, &self.environment);
        let all_files = self.present();
        let own_files = all_files
            .iter()
            .filter(|file| !compat::has_extension(file))
            .cloned()
            .collect::<Vec<_>>();
        let delivered = delivered(&self.target);
        let own = load(&own_files)?;
        let member = config::load::<Config>(&self.component, &all_files, &self.environment)
            .and_then(|loaded| self.with_delivered_files(loaded, delivered));
        let all = match load(&all_files) {
            Ok(all) => all.config,
            // What was delivered must not keep the node from getting something better.
            Err(_) if delivered => own.config.clone().with_former(&self.target),
            Err(faults) => return Err(faults),
        };
        let ticket = self.ticket(&all);
        let document = if all_files.is_empty() {
            Document::Missing
        } else {
            Document::Present(State {
                provision: all.enrolment.enabled,
                credentials: credentials(&all, now),
                fault: member.as_ref().err().map(|faults| {
                    let why = faults
                        .iter()
                        .map(ToString::to_string)
                        .collect::<Vec<_>>()
                        .join("; ");
                    if delivered {
                        Unusable::Delivered(why)
                    } else {
                        Unusable::ByHand(why)
                    }
                }),
            })
        };
        Ok(Examined {
            own,
            all,
            member,
            ticket,
            document,
        })
    }

    /// What was delivered is of no use either if it names files that are not there; those that the operator names are
    /// told of later, with all else that is the operator's.
    fn with_delivered_files(
        &self,
        loaded: Loaded<Config>,
        delivered: bool,
    ) -> Result<Loaded<Config>, Vec<Fault>> {
        if !delivered {
            return Ok(loaded);
        }
        let mut faults = loaded.config.inspect_at(&self.secrets(), &Path::to_owned);
        faults.retain(|fault| self.delivers(fault.key()));
        if faults.is_empty() {
            Ok(loaded)
        } else {
            Err(faults)
        }
    }

    /// Whether a key has its value from what was delivered.
    fn delivers(&self, key: &str) -> bool {
        let name = key.replace('.', "__").to_uppercase();
        let variable = format!("{}{name}", config::environment_prefix(&self.component));
        if self.environment.contains_key(&variable) {
            return false;
        }
        let Ok(table) = compat::read_table(&self.target) else {
            return true;
        };
        let mut parts = key.split('.');
        let first = parts.next().and_then(|part| table.get(part));
        parts
            .fold(first, |value, part| value.and_then(|value| value.get(part)))
            .is_some()
    }

    fn secrets(&self) -> Secrets {
        let directory = self.environment.get("CREDENTIALS_DIRECTORY");
        Secrets::new(directory.map(PathBuf::from))
    }

    /// The files to be read, with this one in place of the delivered one.
    fn with(&self, delivered: &Path) -> Vec<PathBuf> {
        let mut files = self.present();
        files.retain(|file| !is_same(file, &self.target));
        files.push(delivered.to_owned());
        files
    }

    /// Says that there is nothing to start with.
    pub(crate) fn nothing(&self, reason: &str) -> Vec<Fault> {
        let named = self
            .named
            .iter()
            .map(|file| file.display().to_string())
            .collect::<Vec<_>>()
            .join(", ");
        vec![Fault::new("", format!("{named}: {reason}")).remedy(
            "give a configuration, or put a provisioning.jwt beside it or at \
                 /etc/overlay/provisioning.jwt",
        )]
    }

    /// The files to be read, in order. One that is named and missing is left out only where that is no slip: when it is
    /// the one to be delivered, or when none is there.
    fn present(&self) -> Vec<PathBuf> {
        let mut files = self.named.clone();
        let beside = !self.named.iter().any(|file| compat::has_extension(file));
        if files.iter().any(|file| file.exists()) {
            files.retain(|file| file.exists() || !compat::has_extension(file));
        } else {
            files.clear();
        }
        if beside && delivered(&self.target) {
            files.push(self.target.clone());
        }
        files
    }

    fn ticket(&self, sketch: &Sketch) -> Option<Result<Arc<Ticket>, Arc<TicketError>>> {
        let places = provisioning::places(sketch.enrolment.token_file.as_deref(), &self.target);
        let found = provisioning::find(&places)?;
        let read = Ticket::read(found).and_then(|ticket| {
            if let Some(identity) = ticket.identity()
                && identity != sketch.identity_text()
            {
                return Err(TicketError::OtherNode {
                    token: identity.to_owned(),
                    node: sketch.identity_text(),
                });
            }
            Ok(ticket)
        });
        Some(read.map(Arc::new).map_err(Arc::new))
    }
}

impl Upcoming for Startup {
    fn prospect(&self, delivered: &Path) -> Result<Box<Config>, String> {
        let files = self.with(delivered);
        let config = config::load::<Config>(&self.component, &files, &self.environment)
            .map_err(|faults| told(&faults))?
            .config;
        if config.enrolment.enabled == Some(true) {
            return Err("the configuration asks for provisioning".to_owned());
        }
        Ok(Box::new(config))
    }

    fn inspect(&self, config: &Config, place: Place<'_>) -> Result<(), String> {
        let faults = config.inspect_at(&self.secrets(), place);
        if faults.is_empty() {
            Ok(())
        } else {
            Err(told(&faults))
        }
    }

    fn is_careless(&self, delivered: &Path) -> bool {
        let files = self.with(delivered);
        config::load::<Sketch>(&self.component, &files, &self.environment)
            .is_ok_and(|loaded| !loaded.config.verifies)
    }

    fn outlook(&self, now: UnixTime) -> Outlook {
        if self.present().is_empty() {
            let file = self.target.display();
            return Outlook::Unreadable(format!("open {file}: no such file or directory"));
        }
        let examined = match self.examine(now) {
            Ok(examined) => examined,
            Err(faults) => return Outlook::Unreadable(told(&faults)),
        };
        if examined.all.enrolment.enabled == Some(true) {
            return Outlook::AsksForProvisioning;
        }
        let verdict = examined.verdict();
        let Document::Present(state) = &examined.document else {
            return Outlook::NoMember("there is no configuration".to_owned());
        };
        match (verdict.mode, &state.credentials, &examined.member) {
            (Mode::Member, Credentials::Good, Ok(loaded)) => {
                match self.inspect(&loaded.config, &Path::to_owned) {
                    Ok(()) => Outlook::Member,
                    Err(why) => Outlook::NoMember(why),
                }
            }
            (_, _, Err(faults)) => Outlook::NoMember(told(faults)),
            (_, Credentials::Unusable(why) | Credentials::OtherNode(why), _) => {
                Outlook::NoMember(why.clone())
            }
            (_, _, _) => Outlook::NoMember(verdict.reason.unwrap_or_default()),
        }
    }
}

impl Examined {
    /// What the node is.
    pub(crate) fn verdict(&self) -> Verdict {
        let invitation = match &self.ticket {
            None => Invitation::None,
            Some(Ok(ticket)) => Invitation::Usable {
                default: ticket.is_default(),
            },
            Some(Err(error)) => Invitation::Ignored(overlay_runtime::err_chain(error)),
        };
        mode::decide(
            &self.document,
            &invitation,
            self.own.config.enrolment.enabled,
        )
    }

    /// Whether nothing but faults in what was delivered keeps the node from being a member: some of them pass, as that of
    /// a directory that is not mounted yet.
    pub(crate) fn is_hindered(&self) -> bool {
        matches!(
            &self.document,
            Document::Present(State {
                provision: None | Some(false),
                credentials: Credentials::Good,
                fault: Some(Unusable::Delivered(_)),
            })
        )
    }

    /// A token that a member has and cannot use.
    pub(crate) fn odd_invitation(&self) -> Option<String> {
        let error = self.ticket.as_ref()?.as_ref().err()?;
        let why = overlay_runtime::err_chain(error);
        Some(format!("the provisioning token is of no use: {why}"))
    }

    /// Token and seed that the configuration names, as far as they exist.
    pub(crate) fn credential_files(&self) -> Vec<PathBuf> {
        let sketch = &self.all;
        [&sketch.token_file, &sketch.seed_file]
            .into_iter()
            .flatten()
            .filter(|file| file.exists())
            .cloned()
            .collect()
    }
}

fn is_same(one: &Path, other: &Path) -> bool {
    one == other || std::path::absolute(one).is_ok_and(|one| one == other)
}

fn told(faults: &[Fault]) -> String {
    faults
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}

/// Whether a file is there that a provisioner delivered.
fn delivered(file: &Path) -> bool {
    std::fs::read(file).is_ok_and(|content| is_delivered(&String::from_utf8_lossy(&content)))
}

/// What token and key are worth, in the order in which Choria's servers look.
fn credentials(sketch: &Sketch, now: UnixTime) -> Credentials {
    let (Some(token_file), Some(seed_file)) = (&sketch.token_file, &sketch.seed_file) else {
        return Credentials::Unnamed;
    };
    let (token, seed) = (token_file.display(), seed_file.display());
    let unusable = Credentials::Unusable;
    if !seed_file.exists() {
        return unusable(format!("the seed file {seed} does not exist"));
    }
    if !token_file.exists() {
        return unusable(format!("the token file {token} does not exist"));
    }
    let text = match file::read_token(token_file) {
        Ok(text) => text,
        Err(error) => return unusable(overlay_runtime::err_chain(&error)),
    };
    match purpose(&text) {
        Ok(Purpose::Server) => {}
        Ok(other) => {
            let other = other.as_str();
            return unusable(format!("{token} holds a `{other}` token, not a server's"));
        }
        Err(error) => {
            let error = overlay_runtime::err_chain(&error);
            return unusable(format!("the token in {token} cannot be read: {error}"));
        }
    }
    let key = match file::read_seed(seed_file) {
        Ok(key) => key,
        Err(error) => return unusable(overlay_runtime::err_chain(&error)),
    };
    let holder = match Holder::new(&text, key) {
        Ok(holder) => holder,
        Err(error) => {
            let error = overlay_runtime::err_chain(&error);
            return unusable(format!(
                "the token in {token} and the seed in {seed}: {error}"
            ));
        }
    };
    if holder.expires_at().is_none_or(|ends| now.is_past(ends)) {
        return unusable(format!("the token in {token} has expired"));
    }
    let configured = sketch.identity_text();
    if holder.name() != configured {
        return Credentials::OtherNode(format!(
            "the token in {token} is for `{}`, this node is `{configured}`",
            holder.name()
        ));
    }
    Credentials::Good
}
