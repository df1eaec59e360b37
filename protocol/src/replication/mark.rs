//! Where a copied message comes from: the header that replicators append.

use std::fmt;
use std::str::FromStr;

/// Header of a copied message. Its name counts case; a chain of copies has one value for each hop, the oldest first.
pub const SOURCE_HEADER: &str = "Choria-SR-Source";

/// One value of [`SOURCE_HEADER`]: `stream sequence replicator worker milliseconds`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceMark {
    /// Stream that the message was read from.
    pub stream: String,
    /// Its sequence there; `-1` on the wire, and nothing here, when the original could not tell.
    pub sequence: Option<u64>,
    /// Name of the replicator's site.
    pub replicator: String,
    /// Name of the worker.
    pub worker: String,
    /// When that stream took the message, in milliseconds of the Unix epoch; nothing as with the sequence.
    pub time_ms: Option<i64>,
}

/// A text that is no [`SourceMark`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MarkError {
    /// Not five fields with one space between them.
    #[error("source mark has not five fields")]
    Fields,
    /// A sequence that is neither a decimal number nor -1.
    #[error("sequence of the source mark is no number")]
    Sequence,
    /// A time that is no decimal number.
    #[error("time of the source mark is no number")]
    Time,
}

impl FromStr for SourceMark {
    type Err = MarkError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut fields = text.split(' ');
        let mut field = || {
            fields
                .next()
                .filter(|field| !field.is_empty())
                .ok_or(MarkError::Fields)
        };
        let (stream, sequence, replicator, worker, time) =
            (field()?, field()?, field()?, field()?, field()?);
        if fields.next().is_some() {
            return Err(MarkError::Fields);
        }
        let sequence = match sequence {
            "-1" => None,
            digits => Some(digits.parse().map_err(|_| MarkError::Sequence)?),
        };
        let time_ms = match time {
            "-1" => None,
            digits => Some(digits.parse().map_err(|_| MarkError::Time)?),
        };
        Ok(Self {
            stream: stream.to_owned(),
            sequence,
            replicator: replicator.to_owned(),
            worker: worker.to_owned(),
            time_ms,
        })
    }
}

impl fmt::Display for SourceMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.stream)?;
        match self.sequence {
            Some(sequence) => write!(f, "{sequence}")?,
            None => f.write_str("-1")?,
        }
        write!(f, " {} {} ", self.replicator, self.worker)?;
        match self.time_ms {
            Some(time) => write!(f, "{time}"),
            None => f.write_str("-1"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_mark_of_the_original_is_read_and_written_as_it_was() {
        let text = "CHORIA_REGISTRATION 10631 US-EAST-1 PARTITION1 1673433286805";
        let mark: SourceMark = text.parse().unwrap();
        assert_eq!(mark.stream, "CHORIA_REGISTRATION");
        assert_eq!(mark.sequence, Some(10631));
        assert_eq!(mark.replicator, "US-EAST-1");
        assert_eq!(mark.worker, "PARTITION1");
        assert_eq!(mark.time_ms, Some(1_673_433_286_805));
        assert_eq!(mark.to_string(), text);
    }

    #[test]
    fn unknown_numbers_are_written_as_minus_one() {
        let mark: SourceMark = "S -1 R W -1".parse().unwrap();
        assert_eq!((mark.sequence, mark.time_ms), (None, None));
        assert_eq!(mark.to_string(), "S -1 R W -1");
    }

    #[test]
    fn anything_but_five_fields_is_refused() {
        for text in [
            "",
            "S 5 R W",
            "S 5 R W 1 2",
            "S  5 R W",
            "S 5 US EAST W 1",
            " S 5 R W",
        ] {
            assert_eq!(
                text.parse::<SourceMark>(),
                Err(MarkError::Fields),
                "{text:?}"
            );
        }
        assert_eq!(
            "S five R W 1".parse::<SourceMark>(),
            Err(MarkError::Sequence)
        );
        assert_eq!("S 5 R W x".parse::<SourceMark>(), Err(MarkError::Time));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,80}") {
            let _mark = text.parse::<SourceMark>();
        }

        #[test]
        fn what_is_written_is_read_again(
            stream in "[A-Za-z0-9_-]{1,12}", sequence in proptest::option::of(any::<u64>()),
            replicator in "[A-Za-z0-9_-]{1,12}", worker in "[A-Za-z0-9_-]{1,12}",
            time_ms in proptest::option::of(0..i64::MAX),
        ) {
            let mark = SourceMark { stream, sequence, replicator, worker, time_ms };
            prop_assert_eq!(mark.to_string().parse::<SourceMark>().unwrap(), mark);
        }
    }
}
