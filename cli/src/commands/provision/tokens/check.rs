//! `overlay provision tokens check`: whether a token is of use, for people and for monitoring.

use std::path::PathBuf;
use std::time::Duration;

use overlay_tokens::UnixTime;
use overlay_tokens::claims::ProvisioningClaims;
use serde::Serialize;
use time::OffsetDateTime;

use super::create::check_url;
use crate::app::App;
use crate::commands::jwt::{material, validity, view};
use crate::error::Failure;

#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Exit codes: 0 nodes can be enrolled with it; 1 something is wrong, or it is no such token; 2 the
command line was wrong. Warnings do not count.")]
pub(super) struct Args {
    /// File with the token
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The organisation's issuer: its public key as 64 hexadecimal digits, or a file that holds it
    #[arg(long, value_name = "HEX|FILE")]
    issuer: Option<String>,
    /// It must be good for at least this long from now
    #[arg(long, value_name = "SPAN", value_parser = validity::parse)]
    validity_min: Option<Duration>,
    /// It must not be good for longer than this from now
    #[arg(long, value_name = "SPAN", value_parser = validity::parse)]
    validity_max: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Ok,
    Warning,
    Fault,
}

#[derive(Debug, Serialize)]
struct Finding {
    verdict: Verdict,
    what: String,
}

#[derive(Debug, Default)]
struct Findings(Vec<Finding>);

pub(super) fn run(args: &Args, app: &App) -> Result<(), Failure> {
    let (_, token) = view::decode_provisioning(&args.file)?;
    let key = args.issuer.as_deref().map(material::verifier).transpose()?;
    let now = material::now();
    let mut found = Findings::default();
    let claims = token.claims_unverified().clone();
    match key {
        None => found.warn("not verified: give --issuer to see whether it is the issuer's"),
        Some(key) => match token.verify_with_key(&key, now) {
            Ok(_) => found.ok("signed by the issuer"),
            Err(error) => found.fault(format!("it would be refused: {error}")),
        },
    }
    found.time(args, &claims, now);
    found.claims(&claims);
    found.extension(&claims);
    found.tell(args, app)
}

impl Findings {
    fn add(&mut self, verdict: Verdict, what: impl Into<String>) {
        let what = what.into();
        self.0.push(Finding { verdict, what });
    }

    fn ok(&mut self, what: impl Into<String>) {
        self.add(Verdict::Ok, what);
    }

    fn warn(&mut self, what: impl Into<String>) {
        self.add(Verdict::Warning, what);
    }

    fn fault(&mut self, what: impl Into<String>) {
        self.add(Verdict::Fault, what);
    }

    fn time(&mut self, args: &Args, claims: &ProvisioningClaims, now: UnixTime) {
        if claims.standard.nbf.is_some_and(|start| start > now.secs) {
            self.fault("it is not good yet");
        }
        let Some(end) = claims.standard.expires_at() else {
            if args.validity_max.is_some() {
                return self.fault("it never runs out");
            }
            return self.warn("it never runs out: whoever finds it can use it for ever");
        };
        let left = end.saturating_sub(now.secs);
        let shown = date(end);
        if left <= 0 {
            return self.fault(format!("it ran out on {shown}"));
        }
        let seconds = |span: Duration| i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
        if args.validity_min.is_some_and(|min| left < seconds(min)) {
            return self.fault(format!("it runs out on {shown}, before --validity-min"));
        }
        if args.validity_max.is_some_and(|max| left > seconds(max)) {
            return self.fault(format!("it is good until {shown}, beyond --validity-max"));
        }
        self.ok(format!("good until {shown}"));
    }

    fn claims(&mut self, claims: &ProvisioningClaims) {
        if claims.cht.is_empty() {
            self.fault("it has no secret, so nodes ignore it");
        }
        match (claims.chu.is_empty(), claims.chsrv.is_empty()) {
            (true, true) => self.fault("it names no broker, so nodes ignore it"),
            (false, false) => self.fault("it has both URLs and an SRV domain, so nodes ignore it"),
            (true, false) => self.ok(format!("brokers by SRV records of {}", claims.chsrv)),
            (false, true) => self.brokers(&claims.chu),
        }
        if claims.ou.as_deref().is_none_or(str::is_empty) {
            self.fault("it names no organisation, so the broker refuses it");
        }
        if !claims.standard.tcs.is_empty() {
            self.fault("it is issued by a chain, which provisioning tokens cannot be");
        }
        if claims.chusr == "provisioner" {
            self.fault(
                "its user `provisioner` is the provisioner's, so the broker refuses nodes with it",
            );
        }
        if !claims.v2 {
            self.fault("it is for protocol version 1, which the provisioner does not speak");
        }
        if !claims.chpd {
            self.warn(
                "nodes do not provision by default: one that loses its credentials cannot come back",
            );
        }
    }

    fn brokers(&mut self, urls: &str) {
        let faults: Vec<String> = urls
            .split(',')
            .map(str::trim)
            .filter_map(|url| Some(format!("{url}: {}", check_url(url).err()?)))
            .collect();
        if faults.is_empty() {
            self.ok(format!("brokers {urls}"));
        }
        for fault in faults {
            self.fault(fault);
        }
    }

    fn extension(&mut self, claims: &ProvisioningClaims) {
        let ours = match claims.overlay() {
            Ok(ours) => ours,
            Err(why) => return self.fault(format!("extensions.overlay: {why}")),
        };
        if ours.ca_sha256.is_empty() {
            self.warn("no authority is pinned: whoever is in between can pose as the broker");
        } else {
            self.ok(format!("authorities pinned: {}", ours.ca_sha256.len()));
        }
        match (ours.identity, ours.one_time) {
            (Some(node), true) => self.ok(format!("for {node} only, once")),
            (Some(node), false) => self.ok(format!("for {node} only")),
            (None, true) => self.ok("for one node, once"),
            (None, false) => {}
        }
    }

    fn tell(self, args: &Args, app: &App) -> Result<(), Failure> {
        let count = |wanted| {
            let of = |finding: &&Finding| finding.verdict == wanted;
            self.0.iter().filter(of).count()
        };
        let (faults, warnings) = (count(Verdict::Fault), count(Verdict::Warning));
        if app.output.is_json() {
            app.output.json(&serde_json::json!({
                "file": args.file,
                "good": faults == 0,
                "faults": faults,
                "warnings": warnings,
                "findings": self.0,
            }))?;
        } else {
            for finding in &self.0 {
                let sign = match finding.verdict {
                    Verdict::Ok => '✓',
                    Verdict::Warning => '!',
                    Verdict::Fault => '✗',
                };
                app.output.line(format!("{sign} {}", finding.what))?;
            }
        }
        if faults == 0 {
            return Ok(());
        }
        Err(Failure::new(format!(
            "{} is of no use: {faults} fault{}",
            args.file.display(),
            if faults == 1 { "" } else { "s" }
        )))
    }
}

fn date(seconds: i64) -> String {
    OffsetDateTime::from_unix_timestamp(seconds)
        .map_or_else(|_| format!("second {seconds}"), |at| at.date().to_string())
}
