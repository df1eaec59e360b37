//! `configure`: everything is checked first, then all files change together.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use overlay_protocol::lifecycle::EventKind;
use overlay_protocol::provisioning::action::ConfigureRequest;
use overlay_protocol::provisioning::messages;
use overlay_tokens::claims::ServerClaims;
use overlay_tokens::key_transport::decrypt_private_key;
use overlay_tokens::{UnixTime, Unverified, file};

use super::{Abort, Applicant, Asked, Stance, State, abort, bad_data, message};
use crate::agent::Answer;
use crate::effect::Effect;
use crate::provisioning::changes::{ChangeSet, Staged, no_hook};
use crate::provisioning::settings::{Author, Settings};

/// A file of a directory: its name and its content.
type NamedFile = (PathBuf, Vec<u8>);

/// Longest name of a policy file.
const MAX_NAME: usize = 200;

impl Applicant {
    pub(super) fn configure(
        &self,
        state: &mut State,
        asked: &Asked,
        who: &str,
    ) -> Result<Answer, Abort> {
        self.not_member(messages::NOT_PROVISIONING)?;
        let input = ConfigureRequest::from_data(asked.data.clone()).map_err(bad_data(asked))?;
        self.open(state, &input.token, who, asked.now)?;
        if input.config.is_empty() {
            return Err(abort(messages::NO_CONFIGURATION));
        }
        if !input.key.is_empty() && input.ecdh_public.is_empty() {
            return Err(abort(messages::NO_EXCHANGE_KEY));
        }
        let settings =
            Settings::decode(input.config.expose()).map_err(|error| abort(error.to_string()))?;
        let author = Author {
            request: &asked.request,
            caller: &asked.caller,
            sender: &asked.sender,
            now: asked.now.secs,
        };
        let mut changes = ChangeSet::default();
        self.tls(state, &input, &mut changes)
            .map_err(|error| abort(format!("TLS Setup Failed: {error}")))?;
        self.credentials(state, &input, asked.now, &mut changes)
            .map_err(|error| abort(format!("JWT Setup Failed: {error}")))?;
        let configuration = resolved(&self.files.configuration);
        changes.write(configuration.clone(), settings.render(author), 0o600);
        let policies = self.policies(&input)?;
        if let Some(files) = policies {
            changes.tree(self.home().join("policies"), files);
        }
        let file = self.files.configuration.display().to_string();
        tracing::warn!(
            file,
            request = asked.request,
            caller = asked.caller,
            sender = asked.sender,
            settings = ?settings,
            "writing the configuration that was delivered"
        );
        self.put(state, changes, &configuration)?;
        self.effects.hand_in(Effect::Say(EventKind::Provisioned));
        Ok(message(messages::wrote(settings.lines(), &file)))
    }

    /// Changes the files, or keeps the change ready for the restart of a member.
    fn put(
        &self,
        state: &mut State,
        changes: ChangeSet,
        configuration: &Path,
    ) -> Result<(), Abort> {
        let home = self.home();
        let failed = |error| {
            let error = overlay_runtime::err_chain(&error);
            abort(format!("{}: {error}", messages::CONFIGURATION_NOT_WRITTEN))
        };
        if let Some(before) = state.staged.take() {
            before.discard(&mut no_hook).map_err(failed)?;
        }
        let staged = changes.stage(&home, &mut no_hook).map_err(failed)?;
        let judged = match self.stance {
            Stance::Renewing => self.judge(&staged, configuration),
            Stance::Unprovisioned | Stance::Member => self.judge_first(&staged, configuration),
        };
        if let Err(why) = judged {
            staged.discard(&mut no_hook).map_err(failed)?;
            return Err(abort(format!(
                "{}: {why}",
                messages::CONFIGURATION_NOT_WRITTEN
            )));
        }
        if self.stance == Stance::Renewing {
            state.staged = Some(staged);
            return Ok(());
        }
        staged.commit(&mut no_hook).map_err(failed)?;
        state.key = None;
        state.exchange = None;
        Ok(())
    }

    /// Judges what was delivered to a node that is no member: one whose invitation pins its brokers does not become one
    /// that takes any. What else makes no member of it is told at the restart.
    fn judge_first(&self, staged: &Staged, configuration: &Path) -> Result<(), String> {
        let careless = staged
            .fresh(configuration)
            .is_some_and(|delivered| self.upcoming.is_careless(&delivered));
        if careless && self.ticket.tls().is_verified() {
            return Err(
                "brokers would not be verified, and the provisioning token pins their authority; \
                 set plugin.security.choria.ca, and deliver that file with certificate, ca and ssldir"
                    .to_owned(),
            );
        }
        Ok(())
    }

    /// Judges what was staged before anything is put into its place: it must make a member that is as careful as the one
    /// that renews, and that trusts the same.
    fn judge(&self, staged: &Staged, configuration: &Path) -> Result<(), String> {
        let delivered = staged
            .fresh(configuration)
            .ok_or("there is no configuration")?;
        let prospect = self.upcoming.prospect(&delivered)?;
        let own = prospect.membership().ok_or("it does not make a member")?;
        if prospect.identity != self.identity {
            return Err(format!("it makes `{}` of this node", prospect.identity));
        }
        if own.token_file != self.token_file() || own.seed_file != self.seed_file() {
            let home = self.home();
            return Err(format!(
                "token and seed are not looked for in {}, where they are put",
                home.display()
            ));
        }
        if let Some(standing) = &self.standing {
            if standing.tls.is_verified() && !prospect.broker.tls.is_verified() {
                return Err("brokers would not be verified any more".to_owned());
            }
            if !standing.trusts_as(&prospect) {
                return Err(
                    "a renewal does not change whom a member trusts; send it back to be enrolled again (`reprovision`)"
                        .to_owned(),
                );
            }
        }
        // The member would end at its restart, and not come back.
        let place = |path: &Path| {
            let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
            staged.fresh(&whole).unwrap_or(whole)
        };
        self.upcoming.inspect(&prospect, &place)
    }

    fn tls(
        &self,
        state: &State,
        input: &ConfigureRequest,
        changes: &mut ChangeSet,
    ) -> Result<(), String> {
        if input.certificate.is_empty() || input.ssldir.is_empty() || input.ca.is_empty() {
            for (what, came) in [
                ("private key", !input.key.is_empty()),
                ("authorities", !input.ca.is_empty()),
            ] {
                if came {
                    tracing::warn!(
                        what,
                        "certificate, authorities and directory did not all come: nothing of them is kept"
                    );
                }
            }
            return Ok(());
        }
        let ssldir = Path::new(&input.ssldir);
        if ssldir
            .components()
            .any(|part| matches!(part, Component::ParentDir))
        {
            return Err(format!("{} leads upwards", ssldir.display()));
        }
        let ssldir = std::path::absolute(ssldir).map_err(|error| error.to_string())?;
        changes.write(
            ssldir.join("certificate.pem"),
            input.certificate.as_bytes(),
            0o644,
        );
        changes.write(ssldir.join("ca.pem"), input.ca.as_bytes(), 0o644);
        if input.key.is_empty() {
            if let Some(made) = &state.csr {
                let key = made.private_key.as_bytes();
                changes.write(ssldir.join("private.pem"), key, 0o600);
                changes.write(ssldir.join("csr.pem"), made.csr.as_bytes(), 0o644);
            }
            return Ok(());
        }
        let failed =
            |error: &dyn std::fmt::Display| format!("could not decrypt private key: {error}");
        let exchange = state
            .exchange
            .as_ref()
            .ok_or_else(|| failed(&"private key not set"))?;
        let shared = exchange
            .shared(&input.ecdh_public)
            .map_err(|error| failed(&overlay_runtime::err_chain(&error)))?;
        let key = decrypt_private_key(input.key.expose(), &shared)
            .map_err(|error| failed(&overlay_runtime::err_chain(&error)))?;
        changes.write(ssldir.join("private.pem"), key.as_bytes(), 0o600);
        let csr = ssldir.join("csr.pem");
        if csr.exists() {
            changes.remove(csr);
        }
        Ok(())
    }

    /// The token, and the key that `gen25519` kept back; they must fit each other and this node.
    fn credentials(
        &self,
        state: &State,
        input: &ConfigureRequest,
        now: UnixTime,
        changes: &mut ChangeSet,
    ) -> Result<(), String> {
        if input.server_jwt.is_empty() {
            if state.key.is_some() || self.stance == Stance::Renewing {
                return Err("no token for a new key came".to_owned());
            }
            return Ok(());
        }
        let text = input.server_jwt.expose();
        let failed = |error: &dyn std::error::Error| overlay_runtime::err_chain(error);
        let token =
            Unverified::<ServerClaims>::decode(text.trim()).map_err(|error| failed(&error))?;
        let claims = token.claims_unverified();
        if claims.identity != self.identity.as_str() {
            return Err(format!(
                "the token is for `{}`, this node is `{}`",
                claims.identity, self.identity
            ));
        }
        let key = match &state.key {
            Some(key) => key.public(),
            None => file::read_seed(&self.seed_file())
                .map_err(|error| failed(&error))?
                .public(),
        };
        if claims.standard.public_key != key.to_string() {
            return Err("the token is for another key than this node's".to_owned());
        }
        if let Some(standing) = &self.standing {
            Unverified::<ServerClaims>::decode(text.trim())
                .map_err(|error| failed(&error))?
                .verify(&standing.issuers, now)
                .map_err(|error| {
                    format!(
                        "the token is not by those this member trusts: {}",
                        failed(&error)
                    )
                })?;
        }
        changes.write(self.token_file(), text, 0o600);
        if let Some(key) = &state.key {
            changes.write(self.seed_file(), key.seed_text().as_bytes(), 0o600);
        }
        Ok(())
    }

    /// The whole of the policies' directory; none when it stays as it is.
    fn policies(&self, input: &ConfigureRequest) -> Result<Option<Vec<NamedFile>>, Abort> {
        let actions = named(
            "Could not save Action Policies",
            ".policy",
            &input.action_policies,
        )?;
        let rego = named(
            "Could not save Open Policy Agent Policies",
            ".rego",
            &input.opa_policies,
        )?;
        if input.action_policies.is_empty() && input.opa_policies.is_empty() {
            return Ok(None);
        }
        let mut files = actions;
        if input.action_policies.is_empty() {
            // Rego files alone leave the others as they are; those alone leave no Rego files, as Choria has it.
            let kept = kept_policies(&self.home().join("policies")).map_err(|error| {
                abort(format!(
                    "Could not save Open Policy Agent Policies: {error}"
                ))
            })?;
            files.extend(kept);
        }
        let below = rego
            .into_iter()
            .map(|(name, content)| (Path::new("rego").join(name), content));
        files.extend(below);
        Ok(Some(files))
    }
}

/// Files by their names, which must be plain: what is delivered stays in its directory.
fn named(
    failed: &str,
    ending: &str,
    policies: &BTreeMap<String, String>,
) -> Result<Vec<NamedFile>, Abort> {
    let mut files = Vec::new();
    for (name, content) in policies {
        if !name.ends_with(ending) {
            return Err(abort(format!(
                "{failed}: expected {name:?} to have {ending} extension"
            )));
        }
        let plain = name.len() <= MAX_NAME
            && !name.starts_with('.')
            && !name
                .chars()
                .any(|found| matches!(found, '/' | '\\') || found.is_control());
        if !plain {
            return Err(abort(format!(
                "{failed}: {name:?} is not a plain file name"
            )));
        }
        if !content.is_empty() {
            files.push((PathBuf::from(name), content.clone().into_bytes()));
        }
    }
    Ok(files)
}

fn kept_policies(dir: &Path) -> std::io::Result<Vec<NamedFile>> {
    let mut kept = Vec::new();
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(kept),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            kept.push((
                PathBuf::from(entry.file_name()),
                std::fs::read(entry.path())?,
            ));
        }
    }
    Ok(kept)
}

/// The file that a link leads to: it is that one which is replaced.
pub(super) fn resolved(file: &Path) -> PathBuf {
    std::fs::canonicalize(file)
        .or_else(|_| std::path::absolute(file))
        .unwrap_or_else(|_| file.to_owned())
}
