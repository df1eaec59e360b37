//! Where the copying stands: chosen from what the target, the bookmark and the durable consumer say.

use serde::{Deserialize, Serialize};

/// What a worker writes down about its position.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bookmark {
    /// When the source stream was made, in milliseconds of the Unix epoch.
    pub(crate) source_created: i64,
    /// Last source sequence that is dealt with.
    pub(crate) sequence: u64,
    /// When the source took that message, in milliseconds of the Unix epoch.
    #[serde(default)]
    pub(crate) sequence_time: Option<i64>,
    /// The life of the source stream that identifiers name.
    #[serde(default)]
    pub(crate) incarnation: i64,
    pub(crate) target_stream: String,
    /// When the target stream was made, in milliseconds of the Unix epoch.
    pub(crate) target_created: i64,
    /// Last sequence of the target that was known.
    pub(crate) target_sequence: u64,
    /// Whether the target may have messages beyond the sequence, and not all of them: only messages of one key keep their
    /// order.
    #[serde(default)]
    pub(crate) has_gaps: bool,
    /// Who wrote it, for people.
    pub(crate) replica: String,
    /// When, in seconds of the Unix epoch, for people.
    pub(crate) time: i64,
}

/// The last message of ours in the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Last {
    /// Its sequence in the source.
    pub(crate) sequence: u64,
    /// Whether it is of the source stream as it is now.
    pub(crate) is_of_this: bool,
}

/// The durable consumer, where there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Durable {
    /// Everything up to this source sequence is acknowledged, or before the configured start.
    pub(crate) floor: u64,
}

/// All that is known.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known<'a> {
    pub(crate) source_created: i64,
    pub(crate) source_last: u64,
    pub(crate) target_stream: &'a str,
    pub(crate) target_created: i64,
    pub(crate) target_last: u64,
    pub(crate) last: Option<Last>,
    pub(crate) bookmark: Option<&'a Bookmark>,
    pub(crate) durable: Option<Durable>,
}

/// Where to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choice {
    /// Behind this source sequence.
    Behind(u64),
    /// At the beginning: the source stream is another one than it was.
    Anew,
    /// Behind this one, though more was said to be done: the target has lost it.
    Lost(u64),
    /// Where the configuration says: nothing was done yet.
    Start,
}

/// Chooses the furthest position that is of this source stream and that the target still bears out.
pub(crate) fn choose(known: &Known<'_>) -> Choice {
    let is_real = |sequence: &u64| *sequence <= known.source_last;
    let last = known
        .last
        .filter(|last| last.is_of_this)
        .map(|last| last.sequence)
        .filter(is_real);
    let same_target = |bookmark: &&Bookmark| {
        bookmark.target_stream == known.target_stream
            && bookmark.target_created == known.target_created
    };
    let of_this = known
        .bookmark
        .filter(|bookmark| bookmark.source_created == known.source_created)
        .filter(|bookmark| is_real(&bookmark.sequence));
    let lost = of_this
        .filter(same_target)
        .is_some_and(|bookmark| known.target_last < bookmark.target_sequence);
    if lost {
        return Choice::Lost(last.unwrap_or(0));
    }
    let marked = of_this.map(|bookmark| bookmark.sequence);
    let durable = known.durable.map(|durable| durable.floor).filter(is_real);
    let position = [last, marked, durable].into_iter().flatten().max();
    let was_another = known
        .last
        .is_some_and(|last| !last.is_of_this || !is_real(&last.sequence))
        || (known.bookmark.is_some() && of_this.is_none());
    match position {
        // A durable consumer with nothing done is only as old as the stream.
        Some(0) | None if was_another => Choice::Anew,
        Some(position) => Choice::Behind(position),
        None => Choice::Start,
    }
}

/// Key of a worker's bookmark. What a key may not have is written as `=` and two hexadecimal digits a byte.
pub(crate) fn key(stream: &str, worker: &str) -> String {
    let mut key = "position".to_owned();
    for name in [stream, worker] {
        key.push('.');
        for byte in name.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => key.push(char::from(byte)),
                other => key.push_str(&format!("={other:02x}")),
            }
        }
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bookmark() -> Bookmark {
        Bookmark {
            source_created: 1,
            sequence: 20,
            sequence_time: None,
            incarnation: 1,
            target_stream: "COPY".to_owned(),
            target_created: 2,
            target_sequence: 15,
            has_gaps: false,
            replica: "r".to_owned(),
            time: 9,
        }
    }

    fn known(bookmark: Option<&Bookmark>) -> Known<'_> {
        Known {
            source_created: 1,
            source_last: 100,
            target_stream: "COPY",
            target_created: 2,
            target_last: 15,
            last: None,
            bookmark,
            durable: None,
        }
    }

    fn last(sequence: u64, is_of_this: bool) -> Option<Last> {
        Some(Last {
            sequence,
            is_of_this,
        })
    }

    fn durable(floor: u64) -> Option<Durable> {
        Some(Durable { floor })
    }

    #[test]
    fn the_furthest_position_counts() {
        let mark = bookmark();
        let of = |last, durable| {
            choose(&Known {
                last,
                durable,
                ..known(Some(&mark))
            })
        };
        assert_eq!(of(last(18, true), durable(3)), Choice::Behind(20));
        assert_eq!(of(last(21, true), durable(3)), Choice::Behind(21));
        assert_eq!(of(last(18, true), durable(40)), Choice::Behind(40));
        assert_eq!(of(None, None), Choice::Behind(20));
    }

    #[test]
    fn nothing_known_is_the_configured_start() {
        assert_eq!(choose(&known(None)), Choice::Start);
    }

    #[test]
    fn a_consumer_ahead_of_a_source_that_fell_back_says_nothing() {
        let ahead = Known {
            durable: durable(101),
            last: last(60, true),
            ..known(None)
        };
        assert_eq!(choose(&ahead), Choice::Behind(60));
    }

    #[test]
    fn another_incarnation_of_the_source_begins_anew() {
        let mark = Bookmark {
            source_created: 0,
            ..bookmark()
        };
        assert_eq!(choose(&known(Some(&mark))), Choice::Anew);
        let by_tail = Known {
            last: last(10, false),
            ..known(None)
        };
        assert_eq!(choose(&by_tail), Choice::Anew);
        let beyond = Known {
            last: last(500, true),
            ..known(None)
        };
        assert_eq!(choose(&beyond), Choice::Anew);
        // A replica has begun with the new one already.
        let begun = Known {
            last: last(10, false),
            durable: durable(4),
            ..known(Some(&mark))
        };
        assert_eq!(choose(&begun), Choice::Behind(4));
        let untouched = Known {
            durable: durable(0),
            ..begun
        };
        assert_eq!(choose(&untouched), Choice::Anew);
    }

    #[test]
    fn a_target_that_lost_what_it_had_is_filled_again() {
        let mark = bookmark();
        let fell_back = Known {
            target_last: 12,
            last: last(14, true),
            durable: durable(20),
            ..known(Some(&mark))
        };
        assert_eq!(choose(&fell_back), Choice::Lost(14));
    }

    #[test]
    fn a_target_that_was_purged_or_made_anew_is_not() {
        let mark = bookmark();
        assert_eq!(choose(&known(Some(&mark))), Choice::Behind(20));
        let made_anew = Known {
            target_last: 0,
            target_created: 7,
            ..known(Some(&mark))
        };
        assert_eq!(choose(&made_anew), Choice::Behind(20));
    }

    #[test]
    fn keys_are_valid_whatever_the_names_are() {
        assert_eq!(key("EVENTS", "SITE-1"), "position.EVENTS.SITE-1");
        assert_eq!(key("a b", "ü"), "position.a=20b.=c3=bc");
    }
}
