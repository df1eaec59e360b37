//! What replicas tell each other.

use futures_util::StreamExt;
use overlay_client::Connection;
use overlay_protocol::envelope::Limits;
use overlay_protocol::replication::{TrackedItem, sync_subject};
use std::time::Duration;

use crate::app::App;
use crate::duration::Text;
use crate::error::Failure;
use crate::text;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// End after so many
    #[arg(long, value_name = "COUNT")]
    count: Option<u64>,
}

pub(super) async fn run(args: Args, app: &App) -> Result<(), Failure> {
    let config = app.config()?;
    app.warn_of_exposed_key(&config.seed_file);
    let connection = Box::pin(Connection::open(&config, "replicate")).await?;
    let mut heard = connection.subscribe(sync_subject("*", "*")).await?;
    if !app.output.is_json() {
        app.output.note("Waiting for word of replicas, Ctrl-C ends");
    }
    let mut count = 0;
    while args.count.is_none_or(|wanted| count < wanted) {
        let message = tokio::select! {
            message = heard.next() => message,
            interrupted = tokio::signal::ctrl_c() => return Ok(interrupted?),
        };
        let Some(message) = message else {
            return Err(Failure::new("the connection to the broker is closed"));
        };
        let item = match TrackedItem::decode(&message.payload, &Limits::default()) {
            Ok(item) => item,
            Err(error) => {
                app.output
                    .warn(format_args!("{}: {error}", message.subject));
                continue;
            }
        };
        if app.output.is_json() {
            app.output.line(String::from_utf8_lossy(&item.encode()))?;
        } else {
            app.output.line(line(&message.subject, &item))?;
        }
        count += 1;
    }
    Ok(())
}

fn line(subject: &str, item: &TrackedItem) -> String {
    let prefix = sync_subject("", "");
    let of = subject
        .strip_prefix(prefix.trim_end_matches('.'))
        .unwrap_or(subject);
    let copied = match item.copied {
        Some(at) => {
            let now = crate::commands::now();
            let nanos = i128::from(now.secs) * 1_000_000_000 + i128::from(now.nanos);
            let age = u64::try_from(nanos - at.unix_timestamp_nanos()).unwrap_or(0);
            Text::rounded(Duration::from_nanos(age)).to_string()
        }
        None => "never".to_owned(),
    };
    text::visible(&format!(
        "[{}] size: {} advised: {}: copied: {copied} {}",
        of.trim_start_matches('.'),
        item.size,
        item.advised,
        item.value
    ))
}
