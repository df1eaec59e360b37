//! Finds where the copying stands: in the target, in the bookmark, in the durable consumer.

pub(super) mod keyed;

use std::ops::RangeInclusive;

use overlay_protocol::replication::SourceMark;

use crate::config::StreamConfig;
use crate::copy::header::{Stamp, unix_ms};
use crate::copy::position::Bookmark;
use crate::copy::window::{Chain, Tail};

use super::api::{self, ApiError, Stored, StreamInfo};
use super::connect::Link;
use super::scan::{Seen, scan};
use super::target;

/// So many messages of the target are looked at first when neither its end nor its subjects show one of ours.
const FIRST_STEP: u64 = 256;

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
        Self::seen(&Seen::of(message), stamp)
    }

    fn seen(message: &Seen<'_>, stamp: &Stamp) -> Self {
        let mark = message
            .mark
            .and_then(|value| value.parse::<SourceMark>().ok())
            .filter(|mark| stamp.is_ours(mark));
        let Some(mark) = mark else {
            return Self::Others;
        };
        let named = message.id.and_then(|id| stamp.read_id(id));
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
    subjects: &[String],
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
    let (best, foreign) = last_by_subject(target, name, stamp, subjects).await?;
    if !foreign {
        return Ok(best);
    }
    if let Some(since) = since {
        return last_own(target, config, stamp, since + 1..=state.last_seq, subjects).await;
    }
    // Further and further back, to the beginning: to begin anew because a search was cut short would double everything.
    let (mut until, mut step) = (state.last_seq, FIRST_STEP);
    loop {
        let from = until.saturating_sub(step).max(state.first_seq);
        let found = last_own(target, config, stamp, from..=until, subjects).await?;
        if found.is_some() || from <= state.first_seq {
            return Ok(found.or(best));
        }
        until = from - 1;
        step = step.saturating_mul(8);
        tracing::info!(
            stream = name,
            from,
            "no message of ours in the target from here on: looking further back"
        );
    }
}

/// What a message of ours says of the source stream as it is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judged {
    /// It was copied from it.
    Same,
    /// It was copied from an earlier stream of the name.
    Other,
    /// It was copied from it, before it went back to an earlier state.
    Diverged,
}

/// Judges a message of ours by the source.
pub(super) async fn judge(
    own: Own,
    source: &Link,
    info: &StreamInfo,
    name: &str,
) -> Result<Judged, ApiError> {
    let is_named = own.incarnation.is_some();
    if own
        .incarnation
        .is_some_and(|incarnation| incarnation < info.created_ms())
    {
        return Ok(Judged::Other);
    }
    let otherwise = if is_named {
        Judged::Diverged
    } else {
        Judged::Other
    };
    let judged = |is_same: bool| if is_same { Judged::Same } else { otherwise };
    if own.source > info.state.last_seq {
        return Ok(otherwise);
    }
    let message = api::message(&source.jetstream, name, own.source).await?;
    Ok(match (message, own.time_ms) {
        (Some(message), Some(time)) => judged(time == unix_ms(message.time)),
        // It is gone there: one of the original's shows by its time alone whether it is of this stream.
        (None, Some(time)) => judged(is_named || time >= info.created_ms()),
        (Some(_) | None, None) => Judged::Same,
    })
}

/// Whether the source still has, at its sequence, what a bookmark speaks of.
pub(super) async fn bears_out(
    mark: &Bookmark,
    source: &Link,
    info: &StreamInfo,
    name: &str,
) -> Result<bool, ApiError> {
    if mark.sequence > info.state.last_seq {
        return Ok(false);
    }
    let Some(time) = mark.sequence_time else {
        return Ok(true);
    };
    let message = api::message(&source.jetstream, name, mark.sequence).await?;
    Ok(message.is_none_or(|message| unix_ms(message.time) == time))
}

/// The last source sequence of which source and target still tell the same, by halving.
pub(super) async fn common(
    source: &Link,
    info: &StreamInfo,
    target: &Link,
    target_info: &StreamInfo,
    config: &StreamConfig,
    stamp: &Stamp,
) -> Result<u64, ApiError> {
    let name = config.target.stream.as_str();
    let state = target_info.state;
    let (mut good, mut bad) = (state.first_seq.saturating_sub(1), state.last_seq);
    let mut common = 0;
    while bad.saturating_sub(good) > 1 {
        let middle = good + (bad - good) / 2;
        let message = api::message(&target.jetstream, name, middle).await?;
        let own = match message.map(|message| Whose::of(&message, stamp)) {
            Some(Whose::Ours(own)) => Some(own),
            Some(Whose::Others) | None => None,
        };
        let is_good = match own {
            Some(own) => judge(own, source, info, &config.source.stream).await? == Judged::Same,
            // What is not ours says nothing: rather too much is copied than too little.
            None => false,
        };
        if is_good {
            good = middle;
            common = own.map_or(common, |own| own.source);
        } else {
            bad = middle;
        }
    }
    Ok(common)
}

impl Own {
    pub(super) fn source(&self) -> u64 {
        self.source
    }

    /// Whether it was copied from the source stream as it is now.
    fn is_of(&self, stamp: &Stamp) -> bool {
        self.incarnation == Some(stamp.incarnation())
    }

    pub(super) fn incarnation(&self) -> Option<i64> {
        self.incarnation
    }
}

/// The target's end behind `since`; `held` counts what the window holds up to a source sequence.
pub(super) async fn tail(
    target: &Link,
    config: &StreamConfig,
    stamp: &Stamp,
    created_ms: i64,
    (since, chain): (u64, Chain),
    (subjects, own): (&[String], Option<&str>),
    held: impl Fn(u64) -> u64,
) -> Result<(Tail, i64), ApiError> {
    let name = config.target.stream.as_str();
    // Before all else: what comes later makes the sequence wrong, and is refused or seen.
    let of_own = match own {
        Some(own) => Some(api::last_message(&target.jetstream, name, own).await?),
        None => None,
    };
    let info = api::stream_info(&target.jetstream, name).await?;
    let last = info.state.last_seq;
    let created = info.created_ms();
    let same = created == created_ms;
    let mut tail = Tail {
        last,
        ours: None,
        all: None,
        own: of_own
            .as_ref()
            .map(|message| message.as_ref().map_or(0, |message| message.sequence)),
        foreign: false,
        same,
    };
    if last == since {
        return Ok((tail, created));
    }
    let at_end = match api::message(&target.jetstream, name, last).await? {
        Some(message) => match Whose::of(&message, stamp) {
            Whose::Ours(own) => Some(own).filter(|own| own.is_of(stamp)),
            Whose::Others => None,
        },
        None => None,
    };
    tail.ours = at_end.map(|own| (own.source, own.target));
    if last < since {
        return Ok((tail, created));
    }
    if chain == Chain::Sequences {
        let mut all = Vec::new();
        let show = |message: &Seen<'_>| match Whose::seen(message, stamp) {
            Whose::Ours(own) if own.is_of(stamp) => all.push(own.source),
            Whose::Ours(_) => {}
            Whose::Others => tail.foreign = true,
        };
        scan(target, config, since + 1..=last, &[], show).await?;
        all.sort_unstable();
        tail.ours = all.last().map(|source| (*source, last));
        tail.all = Some(all);
        return Ok((tail, created));
    }
    let at_end = at_end.or_else(|| match Whose::of(of_own.flatten().as_ref()?, stamp) {
        Whose::Ours(own) if own.is_of(stamp) && own.target > since => Some(own),
        Whose::Ours(_) | Whose::Others => None,
    });
    if let Some(own) = at_end {
        tail.ours = Some((own.source, own.target));
        tail.foreign = last - since > held(own.source);
        return Ok((tail, created));
    }
    tail.foreign = true;
    let (best, foreign) = last_by_subject(target, name, stamp, subjects).await?;
    let own = if foreign {
        last_own(target, config, stamp, since + 1..=last, subjects).await?
    } else {
        best.filter(|own| own.target > since)
    };
    tail.ours = own
        .filter(|own| own.is_of(stamp))
        .map(|own| (own.source, own.target));
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

/// The last message of ours in a part of the target.
async fn last_own(
    target: &Link,
    config: &StreamConfig,
    stamp: &Stamp,
    part: RangeInclusive<u64>,
    subjects: &[String],
) -> Result<Option<Own>, ApiError> {
    let mut found = None;
    let show = |message: &Seen<'_>| {
        if let Whose::Ours(own) = Whose::seen(message, stamp) {
            found = Some(own);
        }
    };
    scan(target, config, part, subjects, show).await?;
    Ok(found)
}

/// The last message of ours by its subjects, which tells where nobody else writes to them; and whether somebody does.
async fn last_by_subject(
    target: &Link,
    name: &str,
    stamp: &Stamp,
    subjects: &[String],
) -> Result<(Option<Own>, bool), ApiError> {
    let mut best: Option<Own> = None;
    let mut foreign = subjects.is_empty();
    for subjects in subjects {
        let last = api::last_message(&target.jetstream, name, subjects).await?;
        match last.map(|message| Whose::of(&message, stamp)) {
            Some(Whose::Ours(own)) => {
                let is_later = best.is_none_or(|best| own.target > best.target);
                best = if is_later { Some(own) } else { best };
            }
            Some(Whose::Others) => foreign = true,
            None => {}
        }
    }
    Ok((best, foreign))
}

/// The subjects that copies have in the target; none where nobody can tell.
pub(super) fn own_subjects(
    config: &StreamConfig,
    source: &StreamInfo,
    target_info: &StreamInfo,
) -> Vec<String> {
    let subjects = if config.filters.is_empty() {
        target::stored_subjects(&source.config).unwrap_or_default()
    } else {
        config.filters.clone()
    };
    let has_wildcard = |subject: &String| subject.contains(['*', '>']);
    let is_unclear = config.mapping.remove.is_some() && subjects.iter().any(has_wildcard);
    if is_unclear || target::transforms(target_info) {
        return Vec::new();
    }
    subjects
        .iter()
        .map(|subject| config.mapping.apply(subject).into_owned())
        .collect()
}
