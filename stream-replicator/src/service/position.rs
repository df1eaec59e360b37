//! Finds where the copying stands: in the target, in the bookmark, in the durable consumer.

use futures_util::StreamExt as _;
use futures_util::stream;
use overlay_protocol::replication::{SOURCE_HEADER, SourceMark};

use crate::config::StreamConfig;
use crate::copy::header::{MSG_ID, Stamp, unix_ms};
use crate::copy::position::Last;
use crate::copy::window::Tail;

use super::api::{self, ApiError, Stored, StreamInfo};
use super::connect::Link;

/// Questions for single messages that are under way at once.
const AT_ONCE: usize = 256;
/// So far back the target is searched when neither its end nor its subjects show a message of ours, step by step.
const STEPS: [u64; 3] = [256, 8_192, 131_072];

/// A message of ours in the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Own {
    /// Its sequence in the source.
    source: u64,
    /// Its sequence in the target.
    target: u64,
    /// The source stream that its identifier speaks of; the original's have none.
    incarnation: Option<i64>,
    /// When the source took it.
    time_ms: Option<i64>,
}

/// Whose a message in the target is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    Ours(Own),
    Others,
}

impl Whose {
    fn of(message: &Stored, stamp: &Stamp) -> Self {
        // A chain's values: ours is the last one.
        let mark = message
            .values(SOURCE_HEADER)
            .next_back()
            .and_then(|value| value.parse::<SourceMark>().ok())
            .filter(|mark| stamp.is_ours(mark));
        let Some(mark) = mark else {
            return Self::Others;
        };
        let named = message
            .values(MSG_ID)
            .next()
            .and_then(|id| stamp.read_id(id));
        let source = match (named, mark.sequence) {
            (Some((_, sequence)), _) | (None, Some(sequence)) => sequence,
            (None, None) => return Self::Others,
        };
        Self::Ours(Own {
            source,
            target: message.sequence,
            incarnation: named.map(|(incarnation, _)| incarnation),
            time_ms: mark.time_ms,
        })
    }
}

/// The last message of ours in the target; `since`: what is known to be before it.
pub(super) async fn last_of_ours(
    target: &Link,
    config: &StreamConfig,
    stamp: &Stamp,
    info: &StreamInfo,
    source: &StreamInfo,
    since: Option<u64>,
) -> Result<Option<Own>, ApiError> {
    let name = config.target.stream.as_str();
    let state = info.state;
    if state.messages == 0 {
        return Ok(None);
    }
    let jetstream = &target.jetstream;
    if let Some(last) = api::message(jetstream, name, state.last_seq).await?
        && let Whose::Ours(own) = Whose::of(&last, stamp)
    {
        return Ok(Some(own));
    }
    if let Some(since) = since {
        let found = search(target, name, stamp, since + 1, state.last_seq).await?;
        return Ok(found.own);
    }
    // Where all our subjects are ours alone, their last messages tell.
    let mut best: Option<Own> = None;
    let mut foreign = false;
    for subjects in own_subjects(config, source) {
        let last = api::last_message(jetstream, name, &subjects).await?;
        match last.map(|message| Whose::of(&message, stamp)) {
            Some(Whose::Ours(own)) => {
                let is_later = best.is_none_or(|best| own.target > best.target);
                best = if is_later { Some(own) } else { best };
            }
            Some(Whose::Others) => foreign = true,
            None => {}
        }
    }
    if !foreign {
        return Ok(best);
    }
    let mut until = state.last_seq;
    for step in STEPS {
        let from = state.last_seq.saturating_sub(step).max(state.first_seq);
        let found = search(target, name, stamp, from, until).await?;
        if found.own.is_some() || from == state.first_seq {
            return Ok(found.own.or(best));
        }
        until = from.saturating_sub(1);
    }
    tracing::warn!(
        stream = name,
        messages = STEPS.last(),
        "no message of ours among the last ones of the target"
    );
    Ok(best)
}

/// Whether a message of ours is of the source stream as it is now.
pub(super) async fn judge(
    own: Own,
    source: &Link,
    info: &StreamInfo,
    stamp: &Stamp,
    name: &str,
) -> Result<Last, ApiError> {
    let is_of_this = match own.incarnation {
        Some(incarnation) => incarnation == stamp.incarnation(),
        None if own.source > info.state.last_seq => false,
        // One of the original's: the message itself tells, or else its time.
        None => match api::message(&source.jetstream, name, own.source).await? {
            Some(message) => own.time_ms.is_none_or(|time| time == unix_ms(message.time)),
            None => own.time_ms.is_none_or(|time| time >= info.created_ms()),
        },
    };
    Ok(Last {
        sequence: own.source,
        is_of_this,
    })
}

/// The target's end behind `since`; `held` counts what the window holds up to a source sequence.
pub(super) async fn tail(
    target: &Link,
    config: &StreamConfig,
    stamp: &Stamp,
    created_ms: i64,
    since: u64,
    held: impl Fn(u64) -> u64,
) -> Result<(Tail, i64), ApiError> {
    let name = config.target.stream.as_str();
    let info = api::stream_info(&target.jetstream, name).await?;
    let last = info.state.last_seq;
    let created = info.created_ms();
    let same = created == created_ms;
    let mut tail = Tail {
        last,
        ours: None,
        foreign: false,
        same,
    };
    let of_this = |own: &Own| own.incarnation == Some(stamp.incarnation());
    if last == since {
        return Ok((tail, created));
    }
    let at_end = match api::message(&target.jetstream, name, last).await? {
        Some(message) => match Whose::of(&message, stamp) {
            Whose::Ours(own) => Some(own).filter(of_this),
            Whose::Others => None,
        },
        None => None,
    };
    tail.ours = at_end.map(|own| (own.source, own.target));
    if last < since {
        return Ok((tail, created));
    }
    if at_end.is_some_and(|own| held(own.source) == last - since) {
        return Ok((tail, created));
    }
    let found = search(target, name, stamp, since + 1, last).await?;
    if tail.ours.is_none() {
        tail.ours = found
            .own
            .filter(of_this)
            .map(|own| (own.source, own.target));
    }
    tail.foreign = found.foreign;
    Ok((tail, created))
}

/// Whether the message at a sequence of the target is ours; one that is gone was.
pub(super) async fn is_ours(
    target: &Link,
    config: &StreamConfig,
    stamp: &Stamp,
    sequence: u64,
) -> Result<bool, ApiError> {
    let message = api::message(&target.jetstream, &config.target.stream, sequence).await?;
    Ok(message.is_none_or(|message| matches!(Whose::of(&message, stamp), Whose::Ours(_))))
}

struct Found {
    own: Option<Own>,
    foreign: bool,
}

/// Looks at each message of a part of the target, the last first, and at all of it.
async fn search(
    target: &Link,
    name: &str,
    stamp: &Stamp,
    from: u64,
    until: u64,
) -> Result<Found, ApiError> {
    let mut looks = stream::iter((from..=until).rev())
        .map(|sequence| api::message(&target.jetstream, name, sequence))
        .buffered(AT_ONCE);
    let mut found = Found {
        own: None,
        foreign: false,
    };
    while let Some(message) = looks.next().await {
        let Some(message) = message? else {
            continue;
        };
        match Whose::of(&message, stamp) {
            Whose::Ours(own) => {
                // What is before it was written before it: only others' are of interest any more, and one will do.
                found.own = found.own.or(Some(own));
            }
            Whose::Others => found.foreign = true,
        }
        if found.own.is_some() && found.foreign {
            break;
        }
    }
    Ok(found)
}

/// The subjects that copies have in the target.
fn own_subjects(config: &StreamConfig, source: &StreamInfo) -> Vec<String> {
    let of_source = || {
        source
            .config
            .get("subjects")
            .and_then(serde_json::Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(serde_json::Value::as_str)
            .map(str::to_owned)
            .collect()
    };
    let subjects: Vec<String> = if config.filters.is_empty() {
        of_source()
    } else {
        config.filters.clone()
    };
    subjects
        .iter()
        .map(|subject| config.mapping.apply(subject).into_owned())
        .collect()
}
