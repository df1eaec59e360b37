//! Values that are tracked: asked of a replicator, or read from its files and from those of Choria's.

mod file;
mod show;

use std::path::PathBuf;
use std::time::Duration;

use overlay_protocol::filter::Pattern;
use overlay_protocol::replication::TrackedItem;
use overlay_protocol::replication::control::{
    MAX_VALUES, StateEntry, StateReply, StateRequest, name,
};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::control::{Control, Reach, Workers};
use crate::app::App;
use crate::duration;
use crate::error::Failure;
use crate::text;

/// Values are read in pages; more than any worker tracks.
const MAX_LISTED: usize = 10_000_000;

#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  overlay replicate state NODES/W1 --values             names only
  overlay replicate state --since 10m --no-advised      who was there lately
  overlay replicate state --file /var/lib/overlay-stream-replicator
  overlay replicate state --file NODES_W1.json --json   of Choria's replicator too")]
pub(super) struct Args {
    /// Only of these workers: STREAM or STREAM/WORKER
    #[arg(value_name = "WORKER")]
    workers: Option<Workers>,
    /// Read this file, or all of this directory, instead of asking a replicator
    #[arg(long, value_name = "PATH", conflicts_with = "workers")]
    file: Option<PathBuf>,
    /// Reckon ages as of this time (RFC 3339) instead of now
    #[arg(long, value_name = "TIME", value_parser = moment, requires = "file")]
    at: Option<OffsetDateTime>,
    /// Only values seen so long ago at most, such as 90s or 10m
    #[arg(long, value_name = "SPAN", value_parser = duration::parse)]
    since: Option<Duration>,
    /// Values whose silence was told of too, as it is without this flag
    #[arg(long, overrides_with = "no_advised")]
    advised: bool,
    /// Without values whose silence was told of
    #[arg(long)]
    no_advised: bool,
    /// Only values whose silence was told of
    #[arg(long, conflicts_with_all = ["advised", "no_advised"])]
    only_advised: bool,
    /// Only values that this regular expression finds something in
    #[arg(long, value_name = "REGEX")]
    value: Option<String>,
    /// Print values only
    #[arg(long)]
    values: bool,
    #[command(flatten)]
    reach: Reach,
}

pub(super) async fn run(args: Args, app: &App) -> Result<(), Failure> {
    let (items, now) = match &args.file {
        Some(path) => {
            let now = args.at.unwrap_or_else(now);
            (args.chosen(file::read(path, app)?, now)?, now)
        }
        None => (args.ask(app).await?, now()),
    };
    if app.output.is_json() {
        return app.output.line(show::json(&items));
    }
    if args.values {
        let values = items.iter().map(|item| text::visible(&item.value));
        return values
            .into_iter()
            .try_for_each(|value| app.output.line(value));
    }
    if items.is_empty() {
        return app.output.line("No items matched");
    }
    app.output.text(show::entries(&items, now))
}

impl Args {
    /// Which values are wanted by whether their silence was told of.
    fn advised(&self) -> Option<bool> {
        match (self.only_advised, self.no_advised) {
            (true, _) => Some(true),
            (false, true) => Some(false),
            (false, false) => None,
        }
    }

    /// What is wanted of what files hold, as a replicator chooses it.
    fn chosen(
        &self,
        mut items: Vec<TrackedItem>,
        now: OffsetDateTime,
    ) -> Result<Vec<TrackedItem>, Failure> {
        let pattern = self
            .value
            .as_deref()
            .map(Pattern::compile)
            .transpose()
            .map_err(|error| Failure::new(error.to_string()))?;
        let advised = self.advised();
        items.retain(|item| {
            pattern
                .as_ref()
                .is_none_or(|pattern| pattern.is_match(&item.value))
                && advised.is_none_or(|advised| advised == item.advised)
                && self
                    .since
                    .is_none_or(|since| item.seen.is_some_and(|seen| now - seen <= since))
        });
        items.sort_by(|one, other| one.value.cmp(&other.value));
        Ok(items)
    }

    async fn ask(&self, app: &App) -> Result<Vec<TrackedItem>, Failure> {
        let control = Control::open(app, &self.reach).await?;
        let mut items: Vec<TrackedItem> = Vec::new();
        let mut request = StateRequest {
            selection: self.reach.selection(self.workers.as_ref()),
            value: self.value.clone().unwrap_or_default(),
            advised: self.advised(),
            since: self.since.map_or(0, |since| since.as_secs().max(1)),
            offset: 0,
            limit: MAX_VALUES,
        };
        loop {
            let replies: Vec<StateReply> = control.ask(name::STATE, &request).await?;
            let came = replies.iter().map(|reply| reply.values.len()).max();
            let more = replies.iter().any(|reply| is_more(&request, reply));
            let entries = replies.into_iter().flat_map(|reply| reply.values);
            items.extend(entries.map(item));
            request.offset += came.unwrap_or_default();
            if !more || items.len() >= MAX_LISTED {
                break;
            }
        }
        items.sort_by(|one, other| one.value.cmp(&other.value));
        Ok(items)
    }
}

/// Whether a replica has values behind those that it sent.
fn is_more(request: &StateRequest, reply: &StateReply) -> bool {
    let end = request.offset.saturating_add(reply.values.len());
    !reply.values.is_empty() && u64::try_from(end).unwrap_or(u64::MAX) < reply.total
}

fn item(entry: StateEntry) -> TrackedItem {
    let time = |nanos: Option<i64>| {
        nanos.and_then(|nanos| OffsetDateTime::from_unix_timestamp_nanos(nanos.into()).ok())
    };
    TrackedItem {
        seen: time(entry.seen_ns),
        copied: time(entry.copied_ns),
        advised: entry.advised,
        size: entry.size,
        value: entry.value,
        ..TrackedItem::default()
    }
}

fn now() -> OffsetDateTime {
    let now = crate::commands::now();
    let second = OffsetDateTime::from_unix_timestamp(now.secs);
    second.unwrap_or(OffsetDateTime::UNIX_EPOCH) + Duration::from_nanos(now.nanos.into())
}

fn moment(text: &str) -> Result<OffsetDateTime, String> {
    OffsetDateTime::parse(text, &Rfc3339)
        .map_err(|_| "expected a time such as 2026-01-02T03:04:05Z".to_owned())
}
