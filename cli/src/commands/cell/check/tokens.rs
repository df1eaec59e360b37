//! That the tokens of the cell will be believed, and for how long.

use overlay_tokens::claims::{Claims, ClientClaims, ServerClaims};
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
        if self.settings.signs() {
            self.signers(&issuers);
        }
        if self.settings.replicates() {
            self.replicators(&issuers);
        }
        self.sites(&issuers);
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
        if let Some(token) = self.verified::<ClientClaims>(CLIENT_JWT, issuers) {
            let what = format!("token of operator {}", token.callerid);
            self.held(&what, CLIENT_JWT, CLIENT_SEED, &token);
        }
    }

    fn node(&mut self, identity: &str, issuers: &Issuers) {
        let path = of_node(identity, NODE_JWT);
        let Some(token) = self.verified::<ServerClaims>(&path, issuers) else {
            return;
        };
        if token.identity != identity {
            let why = format!("it is the token of {}", token.identity);
            return self.refused(&path, why);
        }
        self.collectives(&path, &token);
        let what = format!("token of node {identity}");
        self.held(&what, &path, &of_node(identity, NODE_SEED), &token);
    }

    /// That a service will be let in, with its own agent.
    pub(super) fn service(&mut self, identity: &str, path: &str, seed: &str, issuers: &Issuers) {
        let Some(token) = self.verified::<ServerClaims>(path, issuers) else {
            return;
        };
        if token.identity != identity {
            let why = format!("it is the token of {}, not of {identity}", token.identity);
            return self.refused(path, why);
        }
        if !token.granted().service_host {
            let why = "it does not let its holder answer requests to services".to_owned();
            return self.refused(path, why);
        }
        self.collectives(path, &token);
        self.held(&format!("token of {identity}"), path, seed, &token);
    }

    /// That a token is for the collectives that the cell has.
    fn collectives(&mut self, path: &str, token: &ServerClaims) {
        if token.collectives != self.settings.collectives {
            let (has, wants) = (
                token.collectives.join(", "),
                self.settings.collectives.join(", "),
            );
            let remedy = self.renew(path);
            self.warn(
                path,
                format!("it is for {has}, the cell has {wants}"),
                remedy,
            );
        }
    }

    /// The token in a file, unless it would not be believed, which is told; a missing file has been told.
    pub(super) fn verified<C: Claims>(
        &mut self,
        path: &str,
        issuers: &Issuers,
    ) -> Option<Verified<C>> {
        let text = self.text(path)?;
        let why = match Unverified::<C>::decode(&text) {
            Ok(token) => match token.verify(issuers, unix(self.now)) {
                Ok(token) => return Some(token),
                Err(error) => error.to_string(),
            },
            Err(error) => error.to_string(),
        };
        self.refused(path, why);
        None
    }

    /// That the key beside a good token is its holder's, and how long it is good.
    pub(super) fn held<C: Claims>(
        &mut self,
        what: &str,
        path: &str,
        seed: &str,
        token: &Verified<C>,
    ) {
        self.holder(
            what,
            path,
            seed,
            token.public_key().ok(),
            token.expires_at(),
        );
    }

    fn holder(
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
