//! That the signers will be let in, and that what they sign and issue will be believed.

use overlay_tokens::Issuers;
use overlay_tokens::claims::ClientClaims;

use super::Check;
use crate::commands::cell::layout::{
    AAA_JWT, AAA_SEED, LOGIN_JWT, LOGIN_SEED, SIGNER_JWT, SIGNER_SEED, of_signer,
};

impl Check<'_> {
    pub(super) fn signers(&mut self, issuers: &Issuers) {
        self.delegator(issuers);
        self.login_issuer(issuers);
        for index in 0..self.settings.run.aaa_signers {
            let identity = self.settings.signer_identity(index);
            let (path, seed) = (of_signer(index, AAA_JWT), of_signer(index, AAA_SEED));
            self.service(&identity, &path, &seed, issuers);
        }
    }

    fn delegator(&mut self, issuers: &Issuers) {
        let Some(token) = self.verified::<ClientClaims>(SIGNER_JWT, issuers) else {
            return;
        };
        let may = token.granted();
        if !may.authentication_delegator {
            let why = "nodes do not take its holder's signature for that of others".to_owned();
            return self.refused(SIGNER_JWT, why);
        }
        if may.has_fleet_access() {
            let why = "its holder can make requests in its own name; a delegator only signs those of others".to_owned();
            return self.refused(SIGNER_JWT, why);
        }
        let what = format!("token of {}, who signs requests", token.callerid);
        self.held(&what, SIGNER_JWT, SIGNER_SEED, &token);
    }

    fn login_issuer(&mut self, issuers: &Issuers) {
        let Some(token) = self.verified::<ClientClaims>(LOGIN_JWT, issuers) else {
            return;
        };
        if !token.standard.looks_like_chain_issuer() {
            let why = "it does not let its holder issue tokens to those who log in".to_owned();
            return self.refused(LOGIN_JWT, why);
        }
        let what = format!("token of {}, who issues those of people", token.callerid);
        self.held(&what, LOGIN_JWT, LOGIN_SEED, &token);
    }
}
