//! `restart`, `shutdown`, `reprovision`, `release_update`: the node begins anew, or ends.

use std::time::Duration;

use overlay_protocol::lifecycle::EventKind;
use overlay_protocol::provisioning::action::{ReleaseUpdateRequest, RestartRequest, TokenRequest};
use overlay_protocol::provisioning::messages;

use super::configure::resolved;
use super::{Abort, Applicant, Asked, Stance, State, abort, bad_data, message};
use crate::VERSION;
use crate::agent::Answer;
use crate::effect::Effect;
use crate::provisioning::changes::{ChangeSet, no_hook};
use crate::provisioning::release::{self, Target};
use crate::provisioning::settings::{Author, Settings};
use crate::provisioning::ticket::Ticket;
use crate::provisioning::upcoming::Outlook;

/// Seconds between the answer and the end, so that the answer is out.
const LEAST: u64 = 2;

/// The splay in place of one that is not given.
const DEFAULT_SPLAY: u64 = 10;

/// The longest splay; a node that promises to restart in a year does not.
const MAX_SPLAY: u64 = 24 * 3600;

impl Applicant {
    pub(super) fn restart(&self, state: &mut State, asked: &Asked) -> Result<Answer, Abort> {
        let input = RestartRequest::from_data(asked.data.clone()).map_err(bad_data(asked))?;
        self.check_secret(&input.token)?;
        let splay = match u64::try_from(input.splay) {
            Ok(0) => DEFAULT_SPLAY,
            Ok(splay) if splay <= MAX_SPLAY => splay,
            Ok(_) | Err(_) => {
                return Err(abort(format!(
                    "splay must be from 0 to {MAX_SPLAY} seconds, restart cannot continue"
                )));
            }
        };
        if !state.ending {
            self.may_restart(state, asked)?;
        }
        Ok(self.end(state, below(splay) + LEAST, messages::restarting))
    }

    fn may_restart(&self, state: &mut State, asked: &Asked) -> Result<(), Abort> {
        let file = self.files.configuration.display();
        let outlook = match self.stance {
            Stance::Renewing => self.take_over(state)?,
            Stance::Unprovisioned | Stance::Member => self.upcoming.outlook(asked.now),
        };
        Err(abort(match outlook {
            Outlook::Member => return Ok(()),
            // A member is restarted whatever will become of it: that is what it was asked.
            Outlook::NoMember(why) if self.stance == Stance::Member => {
                tracing::warn!(why, "after the restart the node will not be a member");
                return Ok(());
            }
            Outlook::AsksForProvisioning => {
                format!("Configuration {file} enables provisioning, restart cannot continue")
            }
            Outlook::Unreadable(why) => {
                format!("Configuration {file} could not be parsed, restart cannot continue: {why}")
            }
            Outlook::NoMember(why) => format!(
                "Configuration {file} does not make this node a member, restart cannot continue: {why}"
            ),
        }))
    }

    /// Puts what was delivered to a member into its place; it was judged when it came.
    fn take_over(&self, state: &mut State) -> Result<Outlook, Abort> {
        let Some(staged) = state.staged.take() else {
            return Ok(Outlook::NoMember(
                "nothing was delivered by `configure`".to_owned(),
            ));
        };
        staged.commit(&mut no_hook).map_err(|error| {
            let error = overlay_runtime::err_chain(&error);
            abort(format!(
                "Could not put the new files into their places: {error}"
            ))
        })?;
        state.key = None;
        state.csr = None;
        Ok(Outlook::Member)
    }

    pub(super) fn shutdown(&self, state: &mut State, asked: &Asked) -> Result<Answer, Abort> {
        let input = TokenRequest::from_data(asked.data.clone()).map_err(bad_data(asked))?;
        self.check_secret(&input.token)?;
        let seconds = below(DEFAULT_SPLAY);
        if !state.ending {
            state.ending = true;
            self.effects
                .hand_in(Effect::Shutdown(Duration::from_secs(seconds.max(1))));
        }
        Ok(message(messages::shutting_down(seconds)))
    }

    pub(super) fn reprovision(&self, state: &mut State, asked: &Asked) -> Result<Answer, Abort> {
        match self.stance {
            Stance::Unprovisioned | Stance::Renewing => {
                return Err(abort(messages::ALREADY_PROVISIONING));
            }
            Stance::Member => {}
        }
        let input = TokenRequest::from_data(asked.data.clone()).map_err(bad_data(asked))?;
        self.check_secret(&input.token)?;
        let path = self.ticket.path();
        if !path.exists() {
            return Err(abort(messages::TOKEN_FILE_MISSING));
        }
        // A node that could not be enrolled again keeps what it has.
        Ticket::read(path).map_err(|error| {
            let error = overlay_runtime::err_chain(&error);
            abort(format!("Could not read Provisioning JWT: {error}"))
        })?;
        let settings = Settings::of([
            ("plugin.choria.server.provision", "1"),
            ("loglevel", "debug"),
        ]);
        let author = Author {
            request: &asked.request,
            caller: &asked.caller,
            sender: &asked.sender,
            now: asked.now.secs,
        };
        let mut changes = ChangeSet::default();
        let file = resolved(&self.files.configuration);
        changes.write(file, settings.render(author), 0o600);
        changes.apply(&self.home()).map_err(|error| {
            let error = overlay_runtime::err_chain(&error);
            abort(format!("{}: {error}", messages::CONFIGURATION_NOT_WRITTEN))
        })?;
        tracing::warn!(
            request = asked.request,
            caller = asked.caller,
            sender = asked.sender,
            "going back to be enrolled again, as asked"
        );
        let seconds = below(DEFAULT_SPLAY) + LEAST;
        Ok(self.end(state, seconds, messages::reprovisioning))
    }

    pub(super) fn release_update(
        &self,
        state: &mut State,
        asked: &Asked,
        who: &str,
    ) -> Result<Answer, Abort> {
        self.not_member(messages::NOT_PROVISIONING_UPDATE)?;
        // A member does not run what somebody else vouches for by a sum alone.
        let is_vouched = self.stance == Stance::Unprovisioned || self.release_key.is_some();
        if !self.ticket.claims().update || !is_vouched {
            return Err(abort(messages::UPDATES_OFF));
        }
        let input = ReleaseUpdateRequest::from_data(asked.data.clone()).map_err(bad_data(asked))?;
        self.open(state, &input.token, who, asked.now)?;
        // The answer to a slow update is lost; who asks again hears how it went.
        if !state.ending {
            let target = Target {
                program: &self.program,
                key: self.release_key.as_ref(),
            };
            let version = &input.version;
            release::update(&input.repository, version, target).map_err(|error| {
                let why = overlay_runtime::err_chain(&error);
                abort(format!(
                    "Update to version {version} failed, release rolled back: {why}"
                ))
            })?;
            self.effects.hand_in(Effect::Say(EventKind::Upgraded {
                version: VERSION.to_owned(),
                new_version: version.clone(),
            }));
        }
        Ok(self.end(state, LEAST, messages::restarting))
    }

    /// Restarts after so many seconds, unless the end was decided on before.
    fn end(&self, state: &mut State, seconds: u64, text: fn(u64) -> String) -> Answer {
        if !state.ending {
            state.ending = true;
            self.effects
                .hand_in(Effect::Restart(Duration::from_secs(seconds)));
        }
        message(text(seconds))
    }
}

fn below(bound: u64) -> u64 {
    getrandom::u64().map_or(0, |number| number % bound.max(1))
}
