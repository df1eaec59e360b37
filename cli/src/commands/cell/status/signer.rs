//! What a signer tells of itself: readiness and metrics.

use serde::Serialize;

use super::login::{Sample, Told};

#[derive(Debug, Default, Serialize)]
pub(super) struct Signer {
    pub(super) port: u16,
    pub(super) ready: bool,
    /// Why it is not ready.
    pub(super) why: Option<String>,
    pub(super) version: Option<String>,
    /// Requests signed since its start.
    pub(super) signed: u64,
    /// Requests denied since its start.
    pub(super) denied: u64,
    /// Logins let in since its start.
    pub(super) logins: u64,
    /// Logins kept out since its start.
    pub(super) refused_logins: u64,
    /// Records that could not be kept since its start.
    pub(super) audit_errors: u64,
}

pub(super) async fn ask(port: u16) -> Signer {
    let told = Told::ask(port).await;
    let mut signer = Signer {
        port,
        ready: told.why.is_none(),
        why: told.why,
        ..Signer::default()
    };
    signer.read_metrics(&told.metrics);
    signer
}

impl Signer {
    /// The names are those of the original, where it has one.
    fn read_metrics(&mut self, text: &str) {
        for sample in text.lines().filter_map(Sample::parse) {
            match sample.name {
                "overlay_build_info" => self.version = sample.label("version").map(str::to_owned),
                "choria_aaa_signer_allowed" => self.signed += sample.count(),
                "choria_aaa_signer_denied" => self.denied += sample.count(),
                "choria_aaa_authenticator_time_count" => self.logins += sample.count(),
                "choria_aaa_authenticator_errors" => self.refused_logins += sample.count(),
                "choria_aaa_auditor_errors" => self.audit_errors += sample.count(),
                _ => {}
            }
        }
        // The original counts all logins, and those among them that failed.
        self.logins = self.logins.saturating_sub(self.refused_logins);
    }

    pub(super) fn line(&self) -> String {
        let version = self.version.as_ref().map_or_else(String::new, |version| {
            format!(" (overlay-aaa-signer {version})")
        });
        if !self.ready {
            return format!("Signer{version} on port {}: NOT READY", self.port);
        }
        let audit = match self.audit_errors {
            0 => String::new(),
            errors => format!(", {errors} RECORDS NOT KEPT"),
        };
        format!(
            "Signer{version} on port {}: ready, {} requests signed, {} denied, {} logins, {} refused{audit}",
            self.port, self.signed, self.denied, self.logins, self.refused_logins
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_read() {
        let mut signer = Signer {
            port: 1,
            ready: true,
            ..Signer::default()
        };
        signer.read_metrics(
            "overlay_build_info{commit=\"c\",component=\"aaa-signer\",version=\"1.2.3\"} 1\n\
             choria_aaa_signer_allowed{site=\"lhr\",signer=\"basicjwt\"} 30\n\
             choria_aaa_signer_denied{site=\"lhr\",signer=\"basicjwt\"} 4\n\
             choria_aaa_authenticator_time_count{site=\"lhr\",authenticator=\"userlist\"} 5\n\
             choria_aaa_authenticator_errors{site=\"lhr\",authenticator=\"userlist\"} 2\n",
        );
        assert_eq!(
            signer.line(),
            "Signer (overlay-aaa-signer 1.2.3) on port 1: ready, 30 requests signed, 4 denied, 3 logins, 2 refused"
        );
        signer.audit_errors = 1;
        assert!(signer.line().ends_with(", 1 RECORDS NOT KEPT"));
        signer.ready = false;
        assert!(signer.line().contains("NOT READY"));
    }
}
