//! What operators can ask for.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use overlay_protocol::filter::Pattern;
use overlay_protocol::replication::control::{
    DoneReply, LagReply, Pause, PauseRequest, Selection, StateEntry, StateReply, StateRequest,
    StatusReply, TraceReply, TraceRequest, Traced, name,
};
use overlay_protocol::rpc::{self, StatusCode};
use overlay_runtime::err_chain;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::super::questions::Question;
use super::super::supervise::Post;
use super::super::trace::Listener;
use super::{Asked, Desk, status};

/// How long a worker may take for an answer.
pub(super) const ANSWER: Duration = Duration::from_secs(5);
/// Bytes of a page of values or decisions: a reply must fit into a message, and is written in base64 twice.
const PAGE_BYTES: usize = 400 * 1024;
/// Bytes of a value or decision beside its texts, as JSON.
const FRAME_BYTES: usize = 200;

/// Why nothing was done.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) status: StatusCode,
    pub(super) message: String,
}

pub(super) type Data = Map<String, Value>;

impl Failure {
    pub(super) fn aborted(message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::Aborted,
            message: message.into(),
        }
    }

    fn input(error: &dyn std::error::Error) -> Self {
        Self {
            status: StatusCode::InvalidData,
            message: err_chain(error),
        }
    }
}

impl Desk {
    /// Does what is asked; nothing when another replica is meant.
    pub(super) async fn act(&self, asked: &Asked<'_>) -> Result<Option<Data>, Failure> {
        let inputs = || asked.call.inputs.clone();
        match asked.call.action {
            name::STATUS => Ok(Some(self.status(&read(inputs())?))),
            name::LAG => Ok(self.lag(&read(inputs())?)),
            name::PAUSE => self.pause(asked, &read(inputs())?).await,
            name::RESUME => self.resume(asked, &read(inputs())?).await,
            name::TRACE => Ok(self.trace(&read(inputs())?).await),
            name::STATE => self.state(asked, &read(inputs())?).await,
            name::DEAD_LETTERS => self.letters(&read(inputs())?).await,
            name::DEAD_LETTER => self.letter(&read(inputs())?).await,
            name::RETRY => self.retry(asked, &read(inputs())?).await,
            name::DROP => self.drop_letter(asked, &read(inputs())?).await,
            // The description has no other.
            other => Err(Failure {
                status: StatusCode::UnknownAction,
                message: format!("unknown action {other}"),
            }),
        }
    }

    pub(super) fn meant(&self, selection: &Selection) -> Vec<&Arc<Post>> {
        let means = |post: &&Arc<Post>| {
            let config = &post.config;
            selection.means(
                &self.replica.replicator,
                &config.source.stream,
                &config.name,
            )
        };
        self.posts.iter().filter(means).collect()
    }

    /// Those that this replica works for.
    pub(super) fn led(&self, selection: &Selection) -> Vec<&Arc<Post>> {
        let mut posts = self.meant(selection);
        posts.retain(|post| post.leads());
        posts
    }

    fn status(&self, selection: &Selection) -> Data {
        let workers = self.meant(selection);
        rpc::to_data(&StatusReply {
            replica: self.replica.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started: self.started.secs,
            workers: workers.into_iter().map(|post| status::of(post)).collect(),
        })
    }

    fn lag(&self, selection: &Selection) -> Option<Data> {
        let led = self.led(selection);
        let workers: Vec<_> = led.iter().map(|post| status::lag_of(post)).collect();
        (!workers.is_empty()).then(|| {
            rpc::to_data(&LagReply {
                replica: self.replica.clone(),
                workers,
            })
        })
    }

    async fn pause(
        &self,
        asked: &Asked<'_>,
        request: &PauseRequest,
    ) -> Result<Option<Data>, Failure> {
        let pause = Pause {
            by: asked.caller.to_owned(),
            reason: request.reason.clone(),
            since: asked.now.secs,
        };
        let mut workers = Vec::new();
        for post in self.meant(&request.selection) {
            let paused = post.pausing.pause(pause.clone()).await;
            paused.map_err(|error| failed(post, &error))?;
            tracing::info!(worker = post.name(), by = asked.caller, "paused");
            workers.push(post.name());
        }
        Ok(self.done(workers, "paused"))
    }

    async fn resume(
        &self,
        asked: &Asked<'_>,
        selection: &Selection,
    ) -> Result<Option<Data>, Failure> {
        let mut workers = Vec::new();
        for post in self.meant(selection) {
            let resumed = post.pausing.resume().await;
            resumed.map_err(|error| failed(post, &error))?;
            tracing::info!(worker = post.name(), by = asked.caller, "resumed");
            workers.push(post.name());
        }
        Ok(self.done(workers, "resumed"))
    }

    pub(super) fn done(&self, workers: Vec<String>, what: &str) -> Option<Data> {
        if workers.is_empty() {
            return None;
        }
        Some(rpc::to_data(&DoneReply {
            replica: self.replica.clone(),
            message: format!("{}: {what}", workers.join(", ")),
            workers,
        }))
    }

    async fn trace(&self, request: &TraceRequest) -> Option<Data> {
        let led = self.led(&request.selection);
        if led.is_empty() {
            return None;
        }
        let heard = led.into_iter().map(|post| listen(post.trace.listen()));
        let mut heard = stream::select_all(heard);
        let until = Instant::now() + Duration::from_secs(request.bounded_seconds());
        let mut reply = TraceReply {
            replica: self.replica.clone(),
            ..TraceReply::default()
        };
        let mut bytes = 0;
        while reply.decisions.len() < request.bounded_count() && bytes < PAGE_BYTES {
            let Ok(Some((decision, missed))) = tokio::time::timeout_at(until, heard.next()).await
            else {
                break;
            };
            reply.missed += missed;
            bytes += FRAME_BYTES
                + decision.subject.len()
                + decision.target.as_ref().map_or(0, String::len)
                + decision.value.as_ref().map_or(0, String::len);
            reply.decisions.push(decision);
        }
        Some(rpc::to_data(&reply))
    }

    async fn state(
        &self,
        asked: &Asked<'_>,
        request: &StateRequest,
    ) -> Result<Option<Data>, Failure> {
        let led = self.led(&request.selection);
        if led.is_empty() {
            return Ok(None);
        }
        let pattern = match request.value.as_str() {
            "" => None,
            text => Some(Pattern::compile(text).map_err(|error| Failure::input(&error))?),
        };
        let since = match request.since {
            0 => None,
            seconds => Some(since(asked, seconds)),
        };
        let mut values = Vec::new();
        for post in led {
            values.extend(ask(post).await?);
        }
        values.retain(|entry: &StateEntry| {
            pattern
                .as_ref()
                .is_none_or(|pattern| pattern.is_match(&entry.value))
                && request
                    .advised
                    .is_none_or(|advised| advised == entry.advised)
                && since.is_none_or(|since| entry.seen_ns.is_some_and(|seen| seen >= since))
        });
        values.sort_by(|one, other| one.value.cmp(&other.value));
        let total = u64::try_from(values.len()).unwrap_or(u64::MAX);
        let mut bytes = 0;
        let values = values
            .into_iter()
            .skip(request.offset)
            .take(request.page())
            .take_while(|entry| {
                bytes += FRAME_BYTES + entry.value.len();
                bytes <= PAGE_BYTES
            })
            .collect();
        Ok(Some(rpc::to_data(&StateReply {
            replica: self.replica.clone(),
            values,
            total,
        })))
    }
}

/// Unix nanoseconds so many seconds ago.
fn since(asked: &Asked<'_>, seconds: u64) -> i64 {
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
    asked
        .now
        .secs
        .saturating_sub(seconds)
        .saturating_mul(1_000_000_000)
}

/// All values of a worker.
async fn ask(post: &Post) -> Result<Vec<StateEntry>, Failure> {
    let (sender, answer) = oneshot::channel();
    put(post, Question::Values(sender)).await?;
    hear(post, answer).await
}

/// Puts a question to a worker that runs.
pub(super) async fn put(post: &Post, question: Question) -> Result<(), Failure> {
    let silent = || Failure::aborted(format!("{} does not run", post.name()));
    let questions = post.questions().ok_or_else(silent)?;
    match timeout(ANSWER, questions.send(question)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(silent()),
        Err(_) => Err(Failure::aborted(format!("{} is busy", post.name()))),
    }
}

/// Hears a worker's answer.
pub(super) async fn hear<T>(post: &Post, answer: oneshot::Receiver<T>) -> Result<T, Failure> {
    match timeout(ANSWER, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(_)) => Err(Failure::aborted(format!(
            "{} cannot answer now",
            post.name()
        ))),
        Err(_) => Err(Failure::aborted(format!("{} is busy", post.name()))),
    }
}

fn listen(listener: Listener) -> BoxStream<'static, (Traced, u64)> {
    stream::unfold(listener, async |mut listener| {
        listener.next().await.map(|heard| (heard, listener))
    })
    .boxed()
}

fn failed(post: &Post, error: &dyn std::error::Error) -> Failure {
    Failure::aborted(format!("{}: {}", post.name(), err_chain(error)))
}

fn read<T: DeserializeOwned>(data: Data) -> Result<T, Failure> {
    rpc::from_data(data).map_err(|error| Failure::input(&error))
}
