//! The end of a session before its token expires.

use overlay_protocol::audit::{Decision, Kind, Reasons, TokenFacts};
use overlay_protocol::signing::login::{Logout, logout_text};
use overlay_runtime::err_chain;
use overlay_tokens::Unverified;
use overlay_tokens::claims::ClientClaims;

use super::attempt::Known;
use super::proof::Proof;
use super::{From, Inner, LogoutAnswer, Reason};
use crate::audit::token_facts;
use crate::authenticate::Refusal;

impl Inner {
    /// Ends the session of a token, for whoever holds its key.
    pub(super) async fn logout(&self, logout: Logout, from: From) -> LogoutAnswer {
        let mut known = Known::new(from, String::new(), self.now());
        let mut token = None;
        let outcome = self.try_logout(&logout, &mut known, &mut token).await;
        let (decision, reasons) = match &outcome {
            Ok(()) => (
                Decision::Allow,
                Reasons {
                    reason: "revoked".to_owned(),
                    ..Reasons::default()
                },
            ),
            Err(refusal) => (
                Decision::Deny,
                Reasons {
                    reason: refusal.reason.code().to_owned(),
                    message: refusal.message.clone(),
                    ..Reasons::default()
                },
            ),
        };
        let callerid = token
            .as_ref()
            .map(|token: &TokenFacts| token.callerid.clone())
            .unwrap_or_default();
        let caller = callerid.clone();
        let entry = self.record(Kind::Logout, decision, reasons, &known, |data| {
            data.callerid = callerid;
            data.token = token;
        });
        let recorded = self.audit.record(entry).await;
        if let Err(error) = &recorded {
            tracing::error!(error = %err_chain(error), "the record of the end of a session is not durable");
        }
        match outcome {
            // It has ended all the same; to ask once more ends it again and records it.
            Ok(()) if recorded.is_err() => LogoutAnswer::Busy,
            Ok(()) => {
                tracing::info!(caller, "session ended");
                LogoutAnswer::Done
            }
            Err(refusal) => {
                tracing::warn!(reason = refusal.reason.code(), message = %refusal, "end of a session refused");
                if refusal.reason.is_busy() {
                    LogoutAnswer::Busy
                } else {
                    LogoutAnswer::Failed
                }
            }
        }
    }

    async fn try_logout(
        &self,
        logout: &Logout,
        known: &mut Known,
        token: &mut Option<TokenFacts>,
    ) -> Result<(), Refusal> {
        self.admit(&known.from)?;
        let verified = Unverified::<ClientClaims>::decode(logout.token.expose().trim())
            .map_err(|error| Refusal::new(Reason::Token, err_chain(&error)))?
            .verify(&self.issuers, known.now)
            .map_err(|error| Refusal::new(Reason::Token, err_chain(&error)))?;
        *token = Some(token_facts(&verified, true));
        known.tenant.clone_from(&verified.tenant);
        let jti = &verified.standard.jti;
        if jti.is_empty() {
            return Err(Refusal::new(Reason::Token, "the token has no id"));
        }
        let proof = Proof {
            timestamp: &logout.timestamp,
            public_key: &verified.standard.public_key,
            signature: &logout.signature,
        };
        proof.check(
            &logout_text(&logout.timestamp, jti),
            self.window,
            known.now.secs,
        )?;
        let expires = verified.expires_at().unwrap_or(i64::MAX);
        self.revocations
            .revoke(jti, expires)
            .await
            .map_err(|error| Refusal::new(Reason::Busy, err_chain(&error)))
    }
}
