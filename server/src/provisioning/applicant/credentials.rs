//! `jwt`, `gen25519`, `gencsr`: the node shows its invitation and makes keys.

use std::io::Read as _;
use std::path::PathBuf;

use overlay_protocol::provisioning::action::{
    Gen25519Reply, Gen25519Request, GencsrReply, GencsrRequest, JwtReply, JwtRequest,
};
use overlay_protocol::provisioning::messages;
use overlay_tokens::key_transport::ExchangeKey;
use overlay_tokens::{Key, MAX_TOKEN_BYTES, SecretText, sign_possession, sign_renewal};
use serde_json::Value;

use super::{Abort, Applicant, Asked, Stance, State, abort, bad_data};
use crate::agent::Answer;
use crate::provisioning::changes::ChangeSet;
use crate::provisioning::csr;

impl Applicant {
    pub(super) fn jwt(&self, state: &mut State, asked: &Asked, who: &str) -> Result<Answer, Abort> {
        self.not_member(messages::NOT_PROVISIONING)?;
        let input = JwtRequest::from_data(asked.data.clone()).map_err(bad_data(asked))?;
        self.open(state, &input.token, who, asked.now)?;
        let exchange = ExchangeKey::generate()
            .map_err(|error| abort(format!("Could not calculate EDCH keys: {error}")))?;
        let mut reply = JwtReply {
            jwt: self.invitation()?,
            ecdh_public: exchange.public_hex(),
            ..JwtReply::default()
        };
        // Each call makes a new pair, and the one before is good for nothing.
        state.exchange = Some(exchange);
        if let Some(nonce) = input.nonce
            && let Some(holder) = self.files.former.holder()
            && holder.name() == self.identity.as_str()
            && let Ok(signature) = sign_renewal(holder.key(), &nonce)
        {
            reply.server_jwt = Some(holder.text().to_owned());
            reply.renewal_signature = Some(signature);
        }
        Ok(Answer::ok(Value::Object(reply.to_data())))
    }

    /// The token as its file has it, which may end in a line feed.
    fn invitation(&self) -> Result<SecretText, Abort> {
        let path = self.ticket.path();
        if !path.exists() {
            return Err(abort(messages::TOKEN_FILE_MISSING));
        }
        let mut text = String::new();
        let limit = u64::try_from(MAX_TOKEN_BYTES).unwrap_or(u64::MAX);
        std::fs::File::open(path)
            .and_then(|file| file.take(limit).read_to_string(&mut text))
            .map_err(|error| abort(format!("Could not read Provisioning JWT: {error}")))?;
        Ok(text.into())
    }

    pub(super) fn gen25519(
        &self,
        state: &mut State,
        asked: &Asked,
        who: &str,
    ) -> Result<Answer, Abort> {
        self.not_member(messages::NOT_PROVISIONING)?;
        let input = Gen25519Request::from_data(asked.data.clone()).map_err(bad_data(asked))?;
        self.open(state, &input.token, who, asked.now)?;
        let key =
            Key::generate().map_err(|error| abort(format!("Could not create keypair: {error}")))?;
        let signature = sign_possession(&key, &input.nonce)
            .map_err(|error| abort(format!("Could not sign the nonce: {error}")))?;
        let reply = Gen25519Reply {
            public_key: key.public().to_string(),
            signature,
            directory: self.home().display().to_string(),
        };
        if self.stance == Stance::Renewing || self.files.former.is_live(asked.now) {
            // What the node lives by, or may still prove itself with, stays until all that is new is there.
            state.key = Some(key);
        } else {
            let mut changes = ChangeSet::default();
            changes.remove(self.token_file());
            changes.write(self.seed_file(), key.seed_text().as_bytes(), 0o600);
            let file = self.seed_file();
            changes.apply(&self.home()).map_err(|error| {
                let error = overlay_runtime::err_chain(&error);
                abort(format!("Could not write key {}: {error}", file.display()))
            })?;
            state.key = None;
        }
        tracing::info!(
            public_key = reply.public_key,
            request = asked.request,
            "made a new key"
        );
        Ok(Answer::ok(Value::Object(reply.to_data())))
    }

    pub(super) fn gencsr(
        &self,
        state: &mut State,
        asked: &Asked,
        who: &str,
    ) -> Result<Answer, Abort> {
        self.not_member(messages::NOT_PROVISIONING)?;
        let input = GencsrRequest::from_data(asked.data.clone()).map_err(bad_data(asked))?;
        self.open(state, &input.token, who, asked.now)?;
        let ssldir = self.home().join("ssl");
        let text = |given: &Option<String>| given.clone().unwrap_or_default();
        let made = csr::make(csr::Subject {
            common_name: input
                .cn
                .as_deref()
                .unwrap_or_else(|| self.identity.as_str()),
            country: &text(&input.country),
            locality: &text(&input.locality),
            organisation: &text(&input.organisation),
            unit: &text(&input.unit),
        })
        .map_err(|error| abort(error.to_string()))?;
        let reply = GencsrReply {
            csr: made.csr.clone(),
            public_key: made.public_key.clone(),
            ssldir: ssldir.display().to_string(),
        };
        if self.stance == Stance::Renewing {
            // The member's present key belongs to its present certificate.
            state.csr = Some(made);
        } else {
            self.store_csr(&ssldir, &made)?;
        }
        Ok(Answer::ok(Value::Object(reply.to_data())))
    }

    fn store_csr(&self, ssldir: &PathBuf, made: &csr::Request) -> Result<(), Abort> {
        if !ssldir.is_dir() {
            make_ssl_dir(ssldir).map_err(|error| {
                let dir = ssldir.display();
                abort(format!("Could not create SSL Directory {dir}: {error}"))
            })?;
        }
        let mut changes = ChangeSet::default();
        let key = made.private_key.as_bytes();
        changes.write(ssldir.join("private.pem"), key, 0o600);
        changes.write(ssldir.join("csr.pem"), made.csr.as_bytes(), 0o644);
        changes.apply(&self.home()).map_err(|error| {
            let error = overlay_runtime::err_chain(&error);
            abort(format!("Could not store private key: {error}"))
        })
    }
}

/// Others may pass through, as the original has it; the key in it is the owner's alone.
fn make_ssl_dir(dir: &PathBuf) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::create_dir(dir)?;
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o771))
}
