//! Gives the stream what waits in the spool.

use overlay_protocol::audit::{Envelope, Head};
use overlay_runtime::err_chain;
use tokio::time::Instant;

use super::super::metrics::Place;
use super::super::open::Places;
use super::super::spool::{Chunk, Spool};
use super::super::stream::{Sent, StreamSink};
use super::{Engine, LAST_TRIES, RETRY, Taken};

impl Engine {
    /// Gives the stream the next lines that wait; at the end all of them, for a while.
    pub(super) async fn hand_on(
        &mut self,
        places: &mut Places,
        is_last: bool,
    ) -> Result<(), Taken> {
        let until = Instant::now() + LAST_TRIES;
        loop {
            let is_connected = places.stream.as_ref().is_some_and(StreamSink::is_connected);
            let went = is_connected && self.hand_on_once(places).await?;
            self.hands_on = went;
            let goes_on = went || Instant::now() < until;
            if !places.is_spooling || !is_last || !goes_on {
                return Ok(());
            }
            if !went {
                tokio::time::sleep(RETRY).await;
            }
        }
    }

    /// Tells whether the stream took some.
    async fn hand_on_once(&mut self, places: &mut Places) -> Result<bool, Taken> {
        let (Some(stream), Some(spool)) = (&mut places.stream, &mut places.spool) else {
            return Ok(false);
        };
        let chunk = match spool.run(Spool::next).await {
            Ok(chunk) => chunk,
            Err(error) => {
                tracing::error!(error = err_chain(&error), "the spool cannot be read");
                self.metrics.error(Place::Spool);
                return Ok(false);
            }
        };
        let count = u64::try_from(chunk.lines.len()).unwrap_or_default();
        let bytes = chunk.bytes;
        match send_chunk(stream, chunk).await {
            Sent::Stored => {}
            Sent::Taken => {
                self.down("another process writes to the chain of this one");
                return Err(Taken);
            }
            Sent::Absent(reason) | Sent::Unknown(reason) => {
                tracing::debug!(reason, "the stream does not take what waits yet");
                self.metrics.error(Place::Stream);
                return Ok(false);
            }
        }
        self.metrics.stored(Place::Stream, count);
        let left = spool
            .run(move |spool| spool.handed_on(bytes).map(|()| spool.waiting()))
            .await;
        match left {
            Ok(0) => {
                places.is_spooling = false;
                self.metrics.spooled.set(0);
                tracing::info!("the stream has all records that waited on this disk");
            }
            Ok(bytes) => self
                .metrics
                .spooled
                .set(i64::try_from(bytes).unwrap_or(i64::MAX)),
            Err(error) => {
                tracing::error!(error = err_chain(&error), "the spool cannot be emptied");
                self.metrics.error(Place::Spool);
            }
        }
        Ok(true)
    }
}

/// Sends lines of the spool in one message.
async fn send_chunk(stream: &mut StreamSink, chunk: Chunk) -> Sent {
    let (Some((first, line)), Some((last, _))) = (chunk.lines.first(), chunk.lines.last()) else {
        return Sent::Stored;
    };
    // what the first line names as the one before
    let previous = Envelope::decode(line).map(|found| found.previous);
    let before = Head {
        sequence: first.sequence - 1,
        hash: previous.unwrap_or(Head::START.hash),
    };
    let (id, after) = (format!("spool:{}", last.hash), *last);
    let lines: Vec<_> = chunk.lines.into_iter().map(|(_head, line)| line).collect();
    stream
        .send(&lines.join(&b'\n').into(), &id, before, after)
        .await
}
