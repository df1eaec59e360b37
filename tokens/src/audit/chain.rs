//! The writer's half: the next line.

use overlay_protocol::audit::{Data, Head, Kind, LineHash, checkpoint_text, write_line};

use super::seal::Sealer;
use crate::UnixTime;

/// A chain as its writer knows it. A clone can be written ahead and be thrown away when its lines could not be stored.
#[derive(Debug, Clone)]
pub struct Chain {
    name: String,
    head: Head,
}

impl Chain {
    /// Goes on after `head`; [`Head::START`] begins a chain.
    pub fn new(name: impl Into<String>, head: Head) -> Self {
        Self {
            name: name.into(),
            head,
        }
    }

    /// Name of the chain.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The last line.
    pub fn head(&self) -> Head {
        self.head
    }

    /// Makes the next line; `data` is a JSON object on one line.
    pub fn append(&mut self, kind: Kind, subject: &str, time: UnixTime, data: &[u8]) -> Vec<u8> {
        let line = write_line(&self.name, self.head, kind, subject, time.as_nanos(), data);
        self.head = Head {
            sequence: self.head.sequence + 1,
            hash: LineHash::of(&line),
        };
        line
    }

    /// Makes the next line a checkpoint, or what opens or closes the chain; signed, if there is somebody to sign.
    pub fn seal(
        &mut self,
        kind: Kind,
        sealer: Option<&Sealer>,
        time: UnixTime,
        mut data: Data,
    ) -> Vec<u8> {
        data.time = time.secs;
        let text = checkpoint_text(
            kind,
            &self.name,
            self.head.sequence + 1,
            self.head.hash,
            time.secs,
        );
        data.seal = sealer.map(|sealer| sealer.sign(&text));
        self.append(kind, "", time, &data.to_json())
    }
}
