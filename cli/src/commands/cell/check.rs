//! `overlay cell check`: looks for anything wrong in a cell, and says what to do about it.

mod broker;
mod drift;
mod files;
mod programs;
mod provisioning;
mod replication;
mod signing;
mod tokens;

use std::path::Path;

use serde::Serialize;
use time::OffsetDateTime;

use super::layout::{
    AAA_CERT, AAA_CERT_KEY, BROKER_CERT, BROKER_KEY, CA_CERT, CA_KEY, ISSUER_PUBLIC, ISSUER_SEED,
    Layout,
};
use super::settings::Settings;
use super::{keys, tls};
use crate::app::App;
use crate::error::Failure;

/// Something that ends within this time is worth a warning.
const SOON_DAYS: i64 = 30;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Ok,
    Warning,
    Fault,
}

/// What was looked at, and what was found.
#[derive(Debug, Serialize)]
struct Finding {
    verdict: Verdict,
    what: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

/// A cell under examination.
struct Check<'a> {
    settings: &'a Settings,
    layout: &'a Layout,
    now: OffsetDateTime,
    findings: Vec<Finding>,
}

pub(super) fn run(dir: &Path, app: &App) -> Result<(), Failure> {
    let (settings, layout) = Settings::load(dir)?;
    let mut check = Check {
        settings: &settings,
        layout: &layout,
        now: now(),
        findings: Vec::new(),
    };
    check.files();
    check.issuer();
    check.broker_keys();
    check.certificates();
    check.tokens();
    check.drift();
    check.programs(app);
    let findings = check.findings;
    let count = |verdict| {
        findings
            .iter()
            .filter(|finding| finding.verdict == verdict)
            .count()
    };
    let (faults, warnings) = (count(Verdict::Fault), count(Verdict::Warning));
    if app.output.is_json() {
        app.output.json(&serde_json::json!({
            "name": settings.name,
            "directory": layout.root(),
            "faults": faults,
            "warnings": warnings,
            "findings": findings,
        }))?;
    } else {
        for finding in &findings {
            app.output.line(finding.line())?;
        }
    }
    if faults > 0 {
        return Err(Failure::new(format!(
            "cell {} has {faults} fault{} and {warnings} warning{}",
            settings.name,
            plural(faults),
            plural(warnings)
        )));
    }
    if !app.output.is_json() {
        app.output.line(format!(
            "Cell {} is in order: {} checks, {warnings} warning{}",
            settings.name,
            findings.len(),
            plural(warnings)
        ))?;
    }
    Ok(())
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

impl Finding {
    fn line(&self) -> String {
        let sign = match self.verdict {
            Verdict::Ok => '✓',
            Verdict::Warning => '!',
            Verdict::Fault => '✗',
        };
        let mut line = format!("{sign} {}", self.what);
        if let Some(detail) = &self.detail {
            line.push_str(": ");
            line.push_str(detail);
        }
        if let Some(remedy) = &self.remedy {
            line.push_str("\n    ");
            line.push_str(remedy);
        }
        line
    }
}

impl Check<'_> {
    fn ok(&mut self, what: impl Into<String>) {
        self.findings.push(Finding {
            verdict: Verdict::Ok,
            what: what.into(),
            detail: None,
            remedy: None,
        });
    }

    fn fault(
        &mut self,
        what: impl Into<String>,
        detail: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.add(Verdict::Fault, what, detail, remedy);
    }

    fn warn(
        &mut self,
        what: impl Into<String>,
        detail: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.add(Verdict::Warning, what, detail, remedy);
    }

    fn add(
        &mut self,
        verdict: Verdict,
        what: impl Into<String>,
        detail: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.findings.push(Finding {
            verdict,
            what: what.into(),
            detail: Some(detail.into()),
            remedy: Some(remedy.into()),
        });
    }

    /// The content of a file; `None` when it is missing, which has been said elsewhere.
    fn read(&self, path: &str) -> Option<Vec<u8>> {
        std::fs::read(self.layout.path(path)).ok()
    }

    fn init_again(&self) -> String {
        format!(
            "`overlay cell init {}` makes it anew",
            self.layout.root().display()
        )
    }

    fn issuer(&mut self) {
        let Some(public) = self.read(ISSUER_PUBLIC) else {
            return;
        };
        let public = match keys::read_public(&public) {
            Ok(public) => public,
            Err(error) => {
                let remedy = format!(
                    "it must be 64 hexadecimal digits without a line end; put {ISSUER_PUBLIC} back"
                );
                return self.fault(ISSUER_PUBLIC, format!("{error:#}"), remedy);
            }
        };
        let Some(seed) = self.read(ISSUER_SEED) else {
            return self.ok(format!("issuer {public} (its key is elsewhere)"));
        };
        match overlay_tokens::Key::from_seed_text(&seed) {
            Ok(key) if key.public() == public => self.ok(format!("issuer {public}")),
            Ok(_) => self.fault(
                ISSUER_SEED,
                format!("it does not belong to {ISSUER_PUBLIC}"),
                "put back the pair that signed the tokens of this cell",
            ),
            Err(error) => self.fault(
                ISSUER_SEED,
                error.to_string(),
                "put it back from where you keep it; no other key can replace it",
            ),
        }
    }

    fn certificates(&mut self) {
        self.certificate("certificate of the broker", BROKER_CERT, BROKER_KEY);
        if self.settings.signs() {
            self.certificate("certificate of login by HTTPS", AAA_CERT, AAA_CERT_KEY);
        }
    }

    fn certificate(&mut self, what: &str, cert_path: &str, key_path: &str) {
        let (Some(cert), Some(key), Some(ca)) = (
            self.read(cert_path),
            self.read(key_path),
            self.read(CA_CERT),
        ) else {
            return;
        };
        let again = if self.layout.path(CA_KEY).exists() {
            format!("remove {cert_path}; {}", self.init_again())
        } else {
            format!(
                "remove {cert_path}, {key_path} and {CA_CERT}, then run `overlay cell init {} --tls-cert \
                 FILE --tls-key FILE --tls-ca FILE`",
                self.layout.root().display()
            )
        };
        let names = self.settings.names_used();
        match tls::examine(&cert, &key, &ca, &names, self.now) {
            Err(error) => self.fault(what, format!("{error:#}"), again),
            Ok(examined) if !examined.faults.is_empty() => {
                self.fault(what, examined.faults.join("; "), again);
            }
            Ok(examined) => match examined.not_after {
                Some(end) if self.is_soon(end) => {
                    self.warn(what, format!("it ends on {}", end.date()), again);
                }
                Some(end) => self.ok(format!(
                    "{what} for {}, until {}",
                    names.join(", "),
                    end.date()
                )),
                None => self.ok(format!("{what} for {}", names.join(", "))),
            },
        }
    }

    fn is_soon(&self, end: OffsetDateTime) -> bool {
        end - self.now < time::Duration::days(SOON_DAYS)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the edge: whether things have ended by now"
)]
fn now() -> OffsetDateTime {
    std::time::SystemTime::now().into()
}
