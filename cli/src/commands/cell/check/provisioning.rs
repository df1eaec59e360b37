//! That the provisioner will be let in, and that new nodes will find and believe it.

use overlay_tokens::Issuers;
use overlay_tokens::claims::{ClientClaims, OverlayExtension, ProvisioningClaims};
use time::OffsetDateTime;

use super::Check;
use crate::commands::cell::layout::{
    BROKER_CERT, CA_CERT, NODE_SECRET, PROVISIONER_JWT, PROVISIONER_SEED, PROVISIONING_JWT,
};
use crate::commands::cell::tls;

impl Check<'_> {
    pub(super) fn provisioner(&mut self, issuers: &Issuers) {
        let Some(token) = self.verified::<ClientClaims>(PROVISIONER_JWT, issuers) else {
            return;
        };
        if !token.granted().provisioner {
            let why = "it does not let its holder in as the provisioner".to_owned();
            return self.refused(PROVISIONER_JWT, why);
        }
        if !token.standard.looks_like_chain_issuer() {
            let why = "it does not let its holder issue tokens to nodes".to_owned();
            return self.refused(PROVISIONER_JWT, why);
        }
        let what = format!("token of {}", token.callerid);
        self.held(&what, PROVISIONER_JWT, PROVISIONER_SEED, &token);
    }

    pub(super) fn provisioning(&mut self, issuers: &Issuers) {
        let Some(token) = self.verified::<ProvisioningClaims>(PROVISIONING_JWT, issuers) else {
            return;
        };
        if let Some(secret) = self.text(NODE_SECRET)
            && secret != token.cht.expose()
        {
            let why = format!("its secret is not the one in {NODE_SECRET}");
            return self.refused(PROVISIONING_JWT, why);
        }
        let renew = self.renew(PROVISIONING_JWT);
        let url = self.settings.broker_url();
        if !token.chu.split(',').any(|found| found == url) {
            let detail = format!(
                "it sends new nodes to {}{}, not to {url}",
                token.chu, token.chsrv
            );
            self.warn(PROVISIONING_JWT, detail, renew.clone());
        }
        match token.overlay() {
            Ok(ours) => self.pins(&ours),
            Err(why) => return self.refused(PROVISIONING_JWT, why.to_string()),
        }
        let what = "token of new nodes";
        match token
            .expires_at()
            .and_then(|at| OffsetDateTime::from_unix_timestamp(at).ok())
        {
            Some(end) if self.is_soon(end) => {
                self.warn(what, format!("it runs out on {}", end.date()), renew);
            }
            Some(end) => self.ok(format!("{what}, until {}", end.date())),
            None => self.warn(what, "it never runs out", renew),
        }
    }

    /// New nodes compare what the broker presents with the fingerprints in their token.
    fn pins(&mut self, ours: &OverlayExtension) {
        let (Some(certificate), Some(authority)) = (self.read(BROKER_CERT), self.read(CA_CERT))
        else {
            return;
        };
        let Ok(presented) = tls::pins(&certificate, &authority) else {
            // What is wrong with them has been told.
            return;
        };
        let what = "authority that new nodes know";
        if ours.ca_sha256.is_empty() {
            let renew = self.renew(PROVISIONING_JWT);
            return self.warn(
                what,
                format!(
                    "{PROVISIONING_JWT} pins none: whoever is in between can pose as the broker"
                ),
                renew,
            );
        }
        if ours.ca_sha256.iter().any(|pin| presented.contains(pin)) {
            return self.ok(format!("{what}: {}", ours.ca_sha256.len()));
        }
        let remedy = if presented.is_empty() {
            format!(
                "remove {BROKER_CERT}, run `overlay cell init {}` and restart nats-server: the certificate must \
                 come with its authority",
                self.layout.root().display()
            )
        } else {
            self.renew(PROVISIONING_JWT)
        };
        self.fault(
            what,
            format!("what {PROVISIONING_JWT} pins is not in what {BROKER_CERT} presents, so nodes refuse the broker"),
            remedy,
        );
    }
}
