//! Which records are meant.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::ValueEnum;
use overlay_protocol::audit::{Decision, Kind, Record};
use serde_json::Value;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, OffsetDateTime};

/// Which records are meant; all that is given must hold. Names may have `*` for any text.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Which records")]
pub(super) struct Select {
    /// Only records of this caller, or logins that were tried under this name
    #[arg(long, value_name = "CALLER")]
    caller: Option<Pattern>,
    /// Only requests to this agent
    #[arg(long, value_name = "AGENT")]
    agent: Option<Pattern>,
    /// Only requests for this action
    #[arg(long, value_name = "ACTION")]
    action: Option<Pattern>,
    /// Only what was allowed, or denied
    #[arg(long, value_name = "DECISION")]
    decision: Option<Outcome>,
    /// Only what was decided for this reason, such as policy or bad_password
    #[arg(long, value_name = "REASON")]
    reason: Option<Pattern>,
    /// Only callers of this tenant
    #[arg(long, value_name = "TENANT")]
    tenant: Option<Pattern>,
    /// Only the request with this id
    #[arg(long, value_name = "ID")]
    request: Option<Pattern>,
    /// Only records of this kind: signature, login, logout, opened, checkpoint, closed, undelivered, notice
    #[arg(long, value_name = "KIND", value_parser = kind)]
    kind: Option<Kind>,
    /// Only records of this chain, that is of one instance of the service
    #[arg(long, value_name = "CHAIN")]
    chain: Option<Pattern>,
    /// Only from this time on: RFC 3339, a date, or so long ago (90s, 30m, 2h, 7d)
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<Moment>,
    /// Only before this time
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<Moment>,
    /// Also the records that only keep the chain: opened, checkpoint, closed
    #[arg(short, long)]
    all: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Outcome {
    Allow,
    Deny,
}

/// A point in time, as it was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    At(i64),
    Ago(i64),
}

/// A text in which `*` stands for any text.
#[derive(Debug, Clone)]
struct Pattern(Vec<String>);

impl From<String> for Pattern {
    fn from(text: String) -> Self {
        Self(text.split('*').map(str::to_owned).collect())
    }
}

impl Pattern {
    fn matches(&self, text: &str) -> bool {
        let Some((first, rest)) = self.0.split_first() else {
            return false;
        };
        let Some(mut left) = text.strip_prefix(first.as_str()) else {
            return false;
        };
        let Some((last, middle)) = rest.split_last() else {
            return left.is_empty();
        };
        for part in middle {
            let Some(at) = left.find(part.as_str()) else {
                return false;
            };
            left = left.get(at + part.len()..).unwrap_or_default();
        }
        left.ends_with(last.as_str())
    }
}

impl Select {
    /// Whether a record is meant; `now` is in Unix seconds.
    pub(super) fn matches(&self, record: &Record, now: i64) -> bool {
        let data = &record.data;
        let text = |pattern: &Option<Pattern>, text: &str| {
            pattern.as_ref().is_none_or(|pattern| pattern.matches(text))
        };
        let rpc = data.rpc.clone().unwrap_or_default();
        let decision = data.decision.clone().unwrap_or_default();
        let is_wanted = match self.kind {
            Some(kind) => record.kind == kind,
            None => {
                self.all
                    || match record.kind {
                        Kind::Opened => data.notice.is_some(),
                        Kind::Checkpoint | Kind::Closed => false,
                        Kind::Signature
                        | Kind::Login
                        | Kind::Logout
                        | Kind::Undelivered
                        | Kind::Notice => true,
                    }
            }
        };
        is_wanted
            && self.caller.as_ref().is_none_or(|caller| {
                let tried = data.login.as_ref().map(|login| login.user.as_str());
                caller.matches(&data.callerid) || tried.is_some_and(|user| caller.matches(user))
            })
            && text(&self.agent, &rpc.agent)
            && text(&self.action, &rpc.action)
            && self.decision.is_none_or(|wanted| {
                data.action
                    == Some(match wanted {
                        Outcome::Allow => Decision::Allow,
                        Outcome::Deny => Decision::Deny,
                    })
            })
            && text(&self.reason, &decision.reason)
            && text(&self.tenant, decision.tenant.as_deref().unwrap_or_default())
            && text(&self.chain, &record.chain)
            && (self.request.is_none() || text(&self.request, &request_id(record)))
            && self.since.is_none_or(|since| data.time >= since.at(now))
            && self.until.is_none_or(|until| data.time < until.at(now))
    }
}

impl Moment {
    fn at(self, now: i64) -> i64 {
        match self {
            Self::At(at) => at,
            Self::Ago(seconds) => now.saturating_sub(seconds),
        }
    }
}

/// The id of the request that a record tells of.
pub(super) fn request_id(record: &Record) -> String {
    request_text(record, "id").unwrap_or_default()
}

/// Whether a line has a text in it, in letters of any case; the message in its request counts too.
pub(super) fn has_text(line: &[u8], record: &Record, text: &str) -> bool {
    let wanted = text.to_lowercase();
    let holds = |bytes: &[u8]| {
        String::from_utf8_lossy(bytes)
            .to_lowercase()
            .contains(&wanted)
    };
    if holds(line) {
        return true;
    }
    let message = request_text(record, "message").and_then(|text| STANDARD.decode(text).ok());
    message.is_some_and(|message| holds(&message))
}

fn request_text(record: &Record, member: &str) -> Option<String> {
    let request: Value = serde_json::from_str(record.data.request.as_ref()?.get()).ok()?;
    request[member].as_str().map(str::to_owned)
}

fn kind(text: &str) -> Result<Kind, String> {
    text.parse()
        .map_err(|_unknown| format!("one of {}", Kind::ALL.map(Kind::as_str).join(", ")))
}

fn moment(text: &str) -> Result<Moment, String> {
    if let Ok(time) = OffsetDateTime::parse(text, &Rfc3339) {
        return Ok(Moment::At(time.unix_timestamp()));
    }
    if let Ok(date) = Date::parse(text, format_description!("[year]-[month]-[day]")) {
        return Ok(Moment::At(date.midnight().assume_utc().unix_timestamp()));
    }
    let seconds = text
        .char_indices()
        .next_back()
        .and_then(|(at, unit)| {
            let unit = match unit {
                's' => 1,
                'm' => 60,
                'h' => 3600,
                'd' => 86_400,
                _ => return None,
            };
            let count: i64 = text.get(..at)?.parse().ok()?;
            count.checked_mul(unit)
        })
        .filter(|seconds| *seconds >= 0);
    seconds.map(Moment::Ago).ok_or_else(|| {
        "not a time: write 2026-11-20T22:00:00Z, 2026-11-20, or so long ago: 30m, 2h, 7d".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, text, fits) in [
            ("up=bob", "up=bob", true),
            ("up=bob", "up=bobby", false),
            ("up=*", "up=bob", true),
            ("*bob", "up=bob", true),
            ("u*b*b", "up=bob", true),
            ("u*b*x", "up=bob", false),
            ("*", "", true),
            ("", "", true),
            ("", "x", false),
            ("a*a", "a", false),
        ] {
            let pattern = Pattern::from(pattern.to_owned());
            assert_eq!(pattern.matches(text), fits, "{pattern:?} {text}");
        }
    }

    #[test]
    fn times_are_given_in_several_ways() {
        assert_eq!(moment("1970-01-02"), Ok(Moment::At(86_400)));
        assert_eq!(moment("1970-01-01T00:01:00Z"), Ok(Moment::At(60)));
        assert_eq!(moment("2h"), Ok(Moment::Ago(7200)));
        for bad in ["", "h", "-1h", "2y", "yesterday", "é"] {
            assert!(moment(bad).is_err(), "{bad}");
        }
    }
}
