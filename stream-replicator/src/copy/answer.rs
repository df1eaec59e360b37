//! What the target answers to a message.

use serde::Deserialize;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The stream has it.
    Stored {
        stream: String,
        sequence: u64,
        /// It had a message of this identifier already, at that sequence.
        duplicate: bool,
    },
    /// It does not.
    Refused(Refusal),
    /// Something that no stream says: whoever answered is none.
    Foreign,
}

/// Why a message is not in the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It does not follow what it was to follow.
    Order,
    /// It will never be taken.
    Poison(Poison),
    /// The target cannot take anything at the moment.
    Busy(String),
    /// A message of its identifier is on its way in the target, or was when its leader changed.
    InProcess,
    /// Nobody takes its subject.
    Nobody,
    /// Another stream takes its subject.
    OtherStream(String),
}

/// Why a message will never be taken.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Poison {
    /// With its headers it is larger than the target's limit.
    TooLarge,
    /// What the mapping makes of its subject is none.
    Subject(String),
    /// The target stream is there and does not take its subject.
    NotTaken,
    /// Its headers are none that can be read: its copy would have none of them.
    Headers,
    /// It alone is never answered.
    Unanswered,
    /// The broker's own words and number.
    Refused(u64, String),
}

#[derive(Deserialize)]
struct Wire {
    #[serde(default)]
    stream: Option<String>,
    #[serde(default)]
    seq: Option<u64>,
    #[serde(default)]
    duplicate: bool,
    #[serde(default)]
    error: Option<WireError>,
}

#[derive(Deserialize)]
struct WireError {
    #[serde(default)]
    code: u64,
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}

impl Answer {
    /// Reads the body of an answer.
    pub(crate) fn read(body: &[u8]) -> Self {
        let Ok(wire) = serde_json::from_slice::<Wire>(body) else {
            return Self::Foreign;
        };
        match (wire.error, wire.stream, wire.seq) {
            (Some(error), ..) => Self::Refused(Refusal::of(error)),
            (None, Some(stream), Some(sequence)) if sequence > 0 => Self::Stored {
                stream,
                sequence,
                duplicate: wire.duplicate,
            },
            (None, ..) => Self::Foreign,
        }
    }
}

impl Refusal {
    fn of(error: WireError) -> Self {
        let WireError {
            code,
            err_code,
            description,
        } = error;
        match err_code {
            // wrong last sequence or message id; the like while an earlier one is under way in a cluster
            10070 | 10071 | 10164 => Self::Order,
            // message, or its headers
            10054 | 10097 => Self::Poison(Poison::TooLarge),
            10060 => Self::OtherStream(description),
            10158 => Self::InProcess,
            // what the message itself asks for: rollup, lifetime, counting, batches, schedules
            10111
            | 10165
            | 10166
            | 10168..=10172
            | 10174..=10177
            | 10179
            | 10188..=10193
            | 10199..=10201
            | 10203
            | 10205..=10208
            | 10212
            | 10223
                if !(code == 503 || code == 429) =>
            {
                Self::Poison(Poison::Refused(err_code, description))
            }
            // Whatever else it is, it is not the message's fault: nothing is given up for it.
            _ => Self::Busy(format!("{description} ({err_code})")),
        }
    }
}

impl Poison {
    /// One word for metrics and headers.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::Subject(_) => "subject",
            Self::NotTaken => "not_taken",
            Self::Headers => "headers",
            Self::Unanswered => "unanswered",
            Self::Refused(..) => "refused",
        }
    }

    /// Whether it is so whatever the target's state is, so that another try is in vain.
    pub(crate) fn is_certain(&self) -> bool {
        match self {
            Self::TooLarge | Self::Subject(_) | Self::Headers => true,
            Self::NotTaken | Self::Unanswered | Self::Refused(..) => false,
        }
    }
}

impl std::fmt::Display for Poison {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooLarge => f.write_str("larger than the target's limit"),
            Self::Subject(subject) => write!(f, "{subject:?} is no subject to publish to"),
            Self::NotTaken => f.write_str("the target stream does not take its subject"),
            Self::Headers => {
                f.write_str("its headers cannot be read, and its copy would have none")
            }
            Self::Unanswered => f.write_str(
                "the target never answers it, and what is sent after it at once: may it be published there?",
            ),
            Self::Refused(code, words) => write!(f, "{words} ({code})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refused(body: &str) -> Refusal {
        match Answer::read(body.as_bytes()) {
            Answer::Refused(refusal) => refusal,
            other @ (Answer::Stored { .. } | Answer::Foreign) => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_a_stream_that_names_itself_and_a_sequence_has_stored() {
        assert_eq!(
            Answer::read(br#"{"stream":"COPY","domain":"hub","seq":12,"duplicate": true}"#),
            Answer::Stored {
                stream: "COPY".to_owned(),
                sequence: 12,
                duplicate: true
            }
        );
        for body in [
            "",
            "ok",
            "{}",
            "[]",
            r#"{"stream":"COPY"}"#,
            r#"{"stream":"COPY","seq":0}"#,
            r#"{"seq":3}"#,
            r#"{"stream":"COPY","seq":"3"}"#,
        ] {
            assert_eq!(Answer::read(body.as_bytes()), Answer::Foreign, "{body}");
        }
    }

    #[test]
    fn refusals_are_told_apart_by_what_is_to_be_done() {
        let error = |code: u64, number: u64| {
            refused(&format!(
                r#"{{"error":{{"code":{code},"err_code":{number},"description":"words"}},"stream":"COPY","seq":0}}"#
            ))
        };
        for number in [10070, 10071, 10164] {
            assert_eq!(error(400, number), Refusal::Order);
        }
        for number in [10054, 10097] {
            assert_eq!(error(400, number), Refusal::Poison(Poison::TooLarge));
        }
        assert_eq!(error(400, 10060), Refusal::OtherStream("words".to_owned()));
        assert_eq!(error(503, 1), Refusal::Busy("words (1)".to_owned()));
        for number in [10111, 10166, 10168, 10174, 10188] {
            assert_eq!(
                error(400, number),
                Refusal::Poison(Poison::Refused(number, "words".to_owned()))
            );
        }
    }

    #[test]
    fn what_is_not_the_message_s_fault_gives_no_message_up() {
        let error = |code: u64, number: u64| {
            refused(&format!(
                r#"{{"error":{{"code":{code},"err_code":{number},"description":"words"}}}}"#
            ))
        };
        // The account is full, the store is, there is no leader, there are too many, and what nobody knows yet.
        for (code, number) in [
            (400, 10002),
            (500, 10047),
            (503, 10023),
            (503, 10077),
            (429, 10167),
            (500, 10009),
            (400, 19999),
            (429, 10168),
        ] {
            let words = format!("words ({number})");
            assert_eq!(error(code, number), Refusal::Busy(words));
        }
        // Its own earlier try is under way: waited out, not given up.
        assert_eq!(error(400, 10158), Refusal::InProcess);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(body in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _answer = Answer::read(&body);
        }
    }
}
