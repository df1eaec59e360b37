//! That the tokens of the cell will be believed, and for how long.

use overlay_tokens::claims::{ClientClaims, ServerClaims};
use overlay_tokens::{Issuers, Key, PublicKey, Unverified, Verified};
use time::OffsetDateTime;

use super::Check;
use crate::commands::cell::keys;
use crate::commands::cell::layout::{
    CLIENT_JWT, CLIENT_SEED, ISSUER_PUBLIC, ISSUER_SEED, NODE_JWT, NODE_SEED, TO_SIGN, of_node,
};
use crate::commands::cell::tokens::unix;

impl Check<'_> {
    pub(super) fn tokens(&mut self) {
        let Some(issuers) = self.issuers() else {
            return;
        };
        self.operator(&issuers);
        if self.settings.enrols() {
            self.provisioner(&issuers);
            self.provisioning(&issuers);
        }
        for identity in &self.settings.run.nodes.clone() {
            self.node(identity, &issuers);
        }
    }

    fn issuers(&mut self) -> Option<Issuers> {
        let public = keys::read_public(&self.read(ISSUER_PUBLIC)?).ok()?;
        let organisation = self.settings.organisation.clone();
        match Issuers::new([(organisation, public)]) {
            Ok(issuers) => Some(issuers),
            Err(error) => {
                self.fault(
                    "organisation",
                    error.to_string(),
                    "make a cell with another --org",
                );
                None
            }
        }
    }

    fn operator(&mut self, issuers: &Issuers) {
        let Some(text) = self.text(CLIENT_JWT) else {
            return;
        };
        let verified = Unverified::<ClientClaims>::decode(&text)
            .map_err(|error| error.to_string())
            .and_then(|token| {
                token
                    .verify(issuers, unix(self.now))
                    .map_err(|error| error.to_string())
            });
        match verified {
            Err(why) => self.refused(CLIENT_JWT, why),
            Ok(token) => {
                let what = format!("token of operator {}", token.callerid);
                self.holder(
                    &what,
                    CLIENT_JWT,
                    CLIENT_SEED,
                    token.public_key().ok(),
                    token.expires_at(),
                );
            }
        }
    }

    fn node(&mut self, identity: &str, issuers: &Issuers) {
        let path = of_node(identity, NODE_JWT);
        let Some(text) = self.text(&path) else { return };
        let verified: Result<Verified<ServerClaims>, String> =
            Unverified::<ServerClaims>::decode(&text)
                .map_err(|error| error.to_string())
                .and_then(|token| {
                    token
                        .verify(issuers, unix(self.now))
                        .map_err(|error| error.to_string())
                });
        let token = match verified {
            Err(why) => return self.refused(&path, why),
            Ok(token) => token,
        };
        if token.identity != identity {
            let why = format!("it is the token of {}", token.identity);
            return self.refused(&path, why);
        }
        if token.collectives != self.settings.collectives {
            let (has, wants) = (
                token.collectives.join(", "),
                self.settings.collectives.join(", "),
            );
            let remedy = self.renew(&path);
            self.warn(
                &path,
                format!("it is for {has}, the cell has {wants}"),
                remedy,
            );
        }
        let what = format!("token of node {identity}");
        let seed = of_node(identity, NODE_SEED);
        self.holder(
            &what,
            &path,
            &seed,
            token.public_key().ok(),
            token.expires_at(),
        );
    }

    /// That the key beside a good token is its holder's, and how long it is good.
    pub(super) fn holder(
        &mut self,
        what: &str,
        path: &str,
        seed: &str,
        holder: Option<PublicKey>,
        expires: Option<i64>,
    ) {
        let renew = self.renew(path);
        let key = self.read(seed).map(|text| Key::from_seed_text(&text));
        match key {
            // Its absence has been told.
            None => return,
            Some(Err(error)) => {
                return self.fault(
                    seed,
                    error.to_string(),
                    "put it back, or remove it and the token beside it",
                );
            }
            Some(Ok(key)) if Some(key.public()) != holder => {
                return self.fault(path, format!("it is not for the key in {seed}"), renew);
            }
            Some(Ok(_)) => {}
        }
        match expires.and_then(|at| OffsetDateTime::from_unix_timestamp(at).ok()) {
            Some(end) if self.is_soon(end) => {
                self.warn(what, format!("it runs out on {}", end.date()), renew);
            }
            Some(end) => self.ok(format!("{what}, until {}", end.date())),
            None => self.warn(
                what,
                "it never runs out, and its holder takes it for expired",
                renew,
            ),
        }
    }

    pub(super) fn refused(&mut self, path: &str, why: String) {
        let remedy = self.renew(path);
        self.fault(path, why, remedy);
    }

    pub(super) fn renew(&self, path: &str) -> String {
        let root = self.layout.root().display();
        if self.layout.path(ISSUER_SEED).exists() {
            format!("remove {path}, run `overlay cell init {root}`, and restart who uses it")
        } else {
            format!(
                "remove {path}, run `overlay cell init {root}`, and have it signed as {TO_SIGN} says"
            )
        }
    }

    pub(super) fn text(&self, path: &str) -> Option<String> {
        self.read(path)
            .map(|text| String::from_utf8_lossy(&text).trim().to_owned())
    }
}
