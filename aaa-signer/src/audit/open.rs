//! Takes a chain up where its last writer left it.

use std::path::Path;

use bytes::Bytes;
use overlay_protocol::audit::{Head, LineHash, Notice};
use overlay_protocol::id::Identity;
use overlay_runtime::err_chain;
use overlay_tokens::Issuers;

use super::blocking::Blocking;
use super::file::{Left, LineFile, read_head};
use super::metrics::Metrics;
use super::spool::Spool;
use super::stream::{Sent, Standing, StreamSink};
use crate::config;

/// The places of a chain, open.
#[derive(Debug)]
pub(super) struct Places {
    pub(super) file: Option<Blocking<LineFile>>,
    pub(super) stream: Option<StreamSink>,
    pub(super) spool: Option<Blocking<Spool>>,
    /// Whether lines wait in the spool.
    pub(super) is_spooling: bool,
}

/// A chain as it was found.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) places: Places,
    pub(super) head: Head,
    /// What a reader must know.
    pub(super) notice: Option<Notice>,
}

/// What is needed to take a chain up.
#[derive(Debug)]
pub(super) struct Opening<'a> {
    pub(super) settings: &'a config::Audit,
    pub(super) chain: &'a Identity,
    pub(super) issuers: &'a Issuers,
    pub(super) client: Option<&'a async_nats::Client>,
    pub(super) metrics: &'a Metrics,
    /// Whether there is somebody to sign the chain.
    pub(super) signs: bool,
    /// Unix seconds.
    pub(super) now: i64,
}

/// What does not fit, as words for machines and a text for people.
#[derive(Debug, Default)]
struct Remarks {
    what: Vec<&'static str>,
    messages: Vec<String>,
}

impl Remarks {
    fn add(&mut self, what: &'static str, message: String) {
        tracing::warn!(
            what,
            message,
            "the chain of records is not as its last writer should have left it"
        );
        self.what.push(what);
        self.messages.push(message);
    }

    fn notice(self) -> Option<Notice> {
        (!self.what.is_empty()).then(|| Notice {
            what: self.what.join(","),
            message: self.messages.join("; "),
        })
    }
}

/// Heads that were found, by place.
#[derive(Debug, Default)]
struct Heads(Vec<(&'static str, Head)>);

impl Heads {
    /// The furthest; what is known elsewhere must not contradict it.
    fn furthest(&self, remarks: &mut Remarks) -> Head {
        let mut chosen = ("nowhere", Head::START);
        for (place, head) in &self.0 {
            if head.sequence > chosen.1.sequence {
                chosen = (*place, *head);
            } else if head.sequence == chosen.1.sequence && head.hash != chosen.1.hash {
                let message = format!(
                    "record {} is another one in the {place} than in the {}, which is followed",
                    head.sequence, chosen.0
                );
                remarks.add("diverged", message);
            }
        }
        chosen.1
    }
}

impl Opening<'_> {
    /// Opens all places, finds the head of the chain, and brings the stream up to it.
    pub(super) async fn open(&self) -> Result<Opened, String> {
        let mut remarks = Remarks::default();
        let mut heads = Heads::default();
        // the stream first: of two places that contradict each other the one is believed that no one machine can change
        let (mut stream, standing) = self.open_stream(&mut heads, &mut remarks).await?;
        let mut file = self.open_file(&mut heads, &mut remarks).await?;
        let (spool, is_spooling) = self.open_spool(&mut heads, &mut remarks).await?;
        let head = heads.furthest(&mut remarks);
        if let (Some(stream), Some(standing), false) = (&mut stream, standing, is_spooling) {
            self.bring_up(stream, standing, head, file.as_mut(), &mut remarks)
                .await?;
        }
        Ok(Opened {
            places: Places {
                file,
                stream,
                spool,
                is_spooling,
            },
            head,
            notice: remarks.notice(),
        })
    }

    async fn open_stream(
        &self,
        heads: &mut Heads,
        remarks: &mut Remarks,
    ) -> Result<(Option<StreamSink>, Option<Standing>), String> {
        let (Some(settings), Some(client)) = (&self.settings.stream, self.client) else {
            return Ok((None, None));
        };
        let mut sink = StreamSink::new(
            client.clone(),
            settings.clone(),
            self.metrics.clone(),
            self.chain,
        );
        sink.ensure().await?;
        let standing = sink.standing().await?;
        match standing {
            Standing::At(head) => heads.0.push(("stream", head)),
            Standing::Empty => {}
            Standing::Unreadable => remarks.add(
                "stream_unreadable",
                "the last message of this chain in the stream is no record of it".to_owned(),
            ),
        }
        if self.signs
            && let Some((from, to)) = sink.unsealed(self.issuers).await?
        {
            let message = format!(
                "records {from} to {to} were not signed when the writer began again: as after a sudden end, or somebody else wrote them"
            );
            remarks.add("unsealed_tail", message);
        }
        Ok((Some(sink), Some(standing)))
    }

    async fn open_file(
        &self,
        heads: &mut Heads,
        remarks: &mut Remarks,
    ) -> Result<Option<Blocking<LineFile>>, String> {
        let Some(path) = &self.settings.file else {
            return Ok(None);
        };
        let (target, chain, now) = (path.clone(), self.chain.clone(), self.now);
        let (file, left) =
            blocking(path, move || LineFile::open(&target, chain.as_str(), now)).await?;
        tell_set_aside(&left, "file", remarks);
        if let Some(head) = left.head {
            heads.0.push(("file", head));
        }
        if let Some(signed) = self.signed_head(path, remarks)
            && left.head.is_none_or(|head| head.sequence < signed.sequence)
        {
            if left.has_lines {
                let last = left.head.map_or(0, |head| head.sequence);
                let message = format!(
                    "the file ends with record {last}, but record {} was signed",
                    signed.sequence
                );
                remarks.add("file_shorter", message);
            }
            heads.0.push(("signed head beside the file", signed));
        }
        Ok(Some(Blocking::new(file)))
    }

    /// The head beside the file, if it is of this chain and was signed by its writer, or if nobody signs the chain.
    fn signed_head(&self, path: &Path, remarks: &mut Remarks) -> Option<Head> {
        let signed = read_head(path).filter(|signed| signed.chain == self.chain.as_str())?;
        if signed.seal.signature.is_empty() {
            return signed.head_unverified();
        }
        match signed.verify(self.issuers) {
            Ok(head) => Some(head),
            Err(error) => {
                let message = format!("the head beside the file proves nothing: {error}");
                remarks.add("head_unverified", message);
                None
            }
        }
    }

    async fn open_spool(
        &self,
        heads: &mut Heads,
        remarks: &mut Remarks,
    ) -> Result<(Option<Blocking<Spool>>, bool), String> {
        let Some(settings) = &self.settings.spool else {
            return Ok((None, false));
        };
        let (target, chain, now) = (settings.clone(), self.chain.clone(), self.now);
        let (spool, left) = blocking(&settings.directory, move || {
            Spool::open(&target, &chain, now)
        })
        .await?;
        tell_set_aside(&left, "spool", remarks);
        if let Some(head) = left.head {
            heads.0.push(("spool", head));
        }
        let bytes = spool.waiting();
        self.metrics
            .spooled
            .set(i64::try_from(bytes).unwrap_or(i64::MAX));
        Ok((Some(Blocking::new(spool)), bytes > 0))
    }

    /// Gives the stream what only the file has: what was on its way when the last writer ended.
    async fn bring_up(
        &self,
        stream: &mut StreamSink,
        standing: Standing,
        head: Head,
        file: Option<&mut Blocking<LineFile>>,
        remarks: &mut Remarks,
    ) -> Result<(), String> {
        let found = match standing {
            Standing::At(found) => found,
            Standing::Empty => {
                if head.sequence > 0 {
                    let message = format!(
                        "the stream has no record of this chain, which has {}",
                        head.sequence
                    );
                    remarks.add("stream_empty", message);
                }
                return Ok(());
            }
            Standing::Unreadable => return Ok(()),
        };
        if found.sequence >= head.sequence {
            return Ok(());
        }
        let chain = self.chain.clone();
        let lines = match file {
            Some(file) => file
                .run(move |file| file.lines_after(chain.as_str(), found))
                .await
                .map_err(|error| format!("file of records: {error}"))?,
            None => None,
        };
        let lines = lines.unwrap_or_default();
        let leads_there = lines
            .last()
            .is_some_and(|line| LineHash::of(line) == head.hash);
        if !leads_there {
            let message = format!(
                "the stream ends with record {}, and what leads from there to {} is not at hand",
                found.sequence, head.sequence
            );
            remarks.add("stream_behind", message);
            return Ok(());
        }
        let id = format!("{}:brought-up:{}", self.chain, head.hash);
        let batch = Bytes::from(lines.join(&b'\n'));
        match stream.send(&batch, &id, found, head).await {
            Sent::Stored => {
                let message = format!(
                    "records {} to {} reached the stream only now; what they allowed may have reached nobody",
                    found.sequence + 1,
                    head.sequence
                );
                remarks.add("brought_up", message);
                Ok(())
            }
            Sent::Absent(reason) | Sent::Unknown(reason) => Err(reason),
            Sent::Taken => Err("another process writes to this chain".to_owned()),
        }
    }
}

fn tell_set_aside(left: &Left, place: &str, remarks: &mut Remarks) {
    if let Some((bytes, aside)) = &left.set_aside {
        let name = aside
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        let message = format!(
            "{bytes} bytes at the end of the {place} were no whole record and are in {name} now"
        );
        remarks.add("partial_line", message);
    }
}

/// Does work on the disk, which names what it is about in its error.
async fn blocking<T: Send + 'static>(
    about: &Path,
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, String> {
    let named =
        |error: &dyn std::error::Error| format!("{}: {}", about.display(), err_chain(error));
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(named(&error)),
        Err(error) => Err(named(&error)),
    }
}
