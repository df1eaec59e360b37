//! What the target has of messages that keep only the order of their keys.

use super::Whose;
use crate::config::StreamConfig;
use crate::copy::header::Stamp;
use crate::copy::lanes::{Found, Guard, Twin};
use crate::copy::window::Tail;
use crate::service::api::{self, ApiError};
use crate::service::connect::Link;
use crate::service::scan::{Seen, scan};

/// Others' messages of one subject that are looked at in one go.
const STEPS: usize = 1_000;

/// The target's end, and where identifiers alone guard the copies, what it has of those that are not handled.
pub(in crate::service) async fn beyond(
    target: &Link,
    config: &StreamConfig,
    stamp: &Stamp,
    created_ms: i64,
    guard: Guard,
    (since, handled): (u64, u64),
) -> Result<(Tail, i64), ApiError> {
    let name = config.target.stream.as_str();
    let info = api::stream_info(&target.jetstream, name).await?;
    let created = info.created_ms();
    let same = created == created_ms;
    let all = match guard {
        Guard::Subjects => None,
        Guard::Ids => {
            let since = if same { since } else { 0 };
            let from = (since + 1).max(info.state.first_seq);
            let mut all = Vec::new();
            let show = |message: &Seen<'_>| {
                if let Whose::Ours(own) = Whose::seen(message, stamp)
                    && own.is_of(stamp)
                    && own.source > handled
                {
                    all.push(own.source);
                }
            };
            scan(target, config, from..=info.state.last_seq, &[], show).await?;
            all.sort_unstable();
            Some(all)
        }
    };
    let tail = Tail {
        last: info.state.last_seq,
        ours: None,
        all,
        own: None,
        foreign: false,
        same,
    };
    Ok((tail, created))
}

/// What the target has of a subject behind `since`, if that is asked, and whose the message at `twin` is.
pub(in crate::service) async fn find(
    target: &Link,
    name: &str,
    stamp: &Stamp,
    subject: &str,
    (since, twin): (Option<u64>, Option<u64>),
) -> Result<Found, ApiError> {
    let jetstream = &target.jetstream;
    let twin = match twin {
        Some(twin) => {
            let message = api::message(jetstream, name, twin).await?;
            let theirs = message.is_some_and(|message| Whose::of(&message, stamp) == Whose::Others);
            Some(if theirs { Twin::Theirs } else { Twin::Ours })
        }
        None => None,
    };
    let mut found = Found {
        is_all: true,
        twin,
        ..Found::default()
    };
    let Some(since) = since else {
        return Ok(found);
    };
    let Some(last) = api::last_message(jetstream, name, subject).await? else {
        return Ok(found);
    };
    found.last = last.sequence;
    if let Whose::Ours(own) = Whose::of(&last, stamp)
        && own.is_of(stamp)
    {
        found.source = Some(own.source);
        return Ok(found);
    }
    // Somebody else writes to the very subject: ours may be before.
    let mut at = since;
    for _step in 0..STEPS {
        let next = api::next_message(jetstream, name, subject, at + 1).await?;
        let Some(next) = next.filter(|next| next.sequence < found.last) else {
            return Ok(found);
        };
        at = next.sequence;
        if let Whose::Ours(own) = Whose::of(&next, stamp)
            && own.is_of(stamp)
        {
            found.source = found.source.max(Some(own.source));
        }
    }
    found.last = at;
    found.is_all = false;
    Ok(found)
}
