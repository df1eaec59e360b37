//! That replicators will be let in at both ends, and that what they copy is what their tokens are for.

use overlay_tokens::claims::ClientClaims;
use overlay_tokens::own::Holder;
use overlay_tokens::{Issuers, Key};
use time::OffsetDateTime;

use super::Check;
use crate::commands::cell::layout::{
    CELL_SOURCE_JWT, CELL_SOURCE_SEED, PASS_JWT, PASS_SEED, REGION_JWT, REGION_PASS, REGION_SEED,
    REPLICATOR_JWT, REPLICATOR_SEED, of_replicator, of_site,
};
use crate::commands::cell::replication::Pass;
use crate::commands::cell::tokens;

impl Check<'_> {
    pub(super) fn replicators(&mut self, issuers: &Issuers) {
        if let Some(pass) = self
            .text(REGION_PASS)
            .and_then(|text| toml::from_str::<Pass>(&text).ok())
        {
            let streams: Vec<&str> = pass.streams.keys().map(String::as_str).collect();
            let needed = tokens::source_publish(self.settings, &streams);
            let what = format!(
                "token to read {} streams for region {}",
                streams.len(),
                pass.region
            );
            self.copier(&what, CELL_SOURCE_JWT, CELL_SOURCE_SEED, &needed, issuers);
        }
        self.region();
        for index in 0..self.settings.run.replicators {
            let identity = self.settings.replicator_identity(index);
            let path = of_replicator(index, REPLICATOR_JWT);
            let seed = of_replicator(index, REPLICATOR_SEED);
            self.service(&identity, &path, &seed, issuers);
        }
    }

    /// The region's token for this cell. Its issuer is the region's: whether it is believed there is not known here.
    fn region(&mut self) {
        let (Some(text), Some(seed)) = (self.text(REGION_JWT), self.read(REGION_SEED)) else {
            return;
        };
        let own = Key::from_seed_text(&seed).map_err(|error| (REGION_SEED, error.to_string()));
        let holder = own.and_then(|key| {
            Holder::new(&text, key).map_err(|error| (REGION_JWT, error.to_string()))
        });
        let again = format!(
            "have the region make another, and bring it: `overlay cell init {} --region DIRECTORY --update`",
            self.layout.root().display()
        );
        let holder = match holder {
            Ok(holder) => holder,
            Err((path, why)) => return self.fault(path, why, again),
        };
        let what = "token of the region for this cell";
        match holder
            .expires_at()
            .and_then(|at| OffsetDateTime::from_unix_timestamp(at).ok())
        {
            Some(end) if end < self.now => {
                self.fault(what, format!("it ran out on {}", end.date()), again)
            }
            Some(end) if self.is_soon(end) => {
                self.warn(what, format!("it runs out on {}", end.date()), again);
            }
            Some(end) => self.ok(format!("{what}, until {}", end.date())),
            None => self.warn(what, "it never runs out", again),
        }
    }

    /// The passes of a region.
    pub(super) fn sites(&mut self, issuers: &Issuers) {
        for cell in self.settings.replication.sites.keys() {
            let needed = tokens::target_publish(self.settings, cell);
            let (path, seed) = (of_site(cell, PASS_JWT), of_site(cell, PASS_SEED));
            let what = format!("token of cell {cell} to write copies");
            self.copier(&what, &path, &seed, &needed, issuers);
        }
    }

    fn copier(&mut self, what: &str, path: &str, seed: &str, needed: &[String], issuers: &Issuers) {
        let Some(token) = self.verified::<ClientClaims>(path, issuers) else {
            return;
        };
        let has = |subject: &&String| token.pub_subjects.contains(subject);
        if let Some(lacking) = needed.iter().find(|subject| !has(subject)) {
            let why =
                format!("it does not let its holder publish {lacking}: made for other streams");
            return self.refused(path, why);
        }
        let needs = |subject: &&String| needed.contains(subject);
        if let Some(more) = token.pub_subjects.iter().find(|subject| !needs(subject)) {
            let renew = self.renew(path);
            let detail = format!("it lets its holder publish {more}, which is not needed any more");
            self.warn(what, detail, renew);
        }
        self.held(what, path, seed, &token);
    }
}
