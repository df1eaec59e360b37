//! The smallest component: answers requests on one subject until it is stopped.
//!
//! ```console
//! cargo run -p overlay-runtime --features admin,jetstream --example component -- --print-reference
//! ```
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use futures_util::StreamExt as _;
use overlay_runtime::config::{RawAdmin, RawBroker, RawLog, RawProcess};
use overlay_runtime::{Context, Fault, FileConfig, Settings, Threads, nats};
use serde::Deserialize;

const ROUND_TRIP: Duration = Duration::from_secs(5);

/// What the file may hold.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawConfig {
    broker: Option<RawBroker>,
    admin: RawAdmin,
    log: RawLog,
    process: RawProcess,
    answer: Option<String>,
}

/// What the component works with.
#[derive(Debug)]
struct Config {
    settings: Settings,
    answer: String,
}

impl FileConfig for Config {
    type Raw = RawConfig;

    fn check(raw: RawConfig) -> Result<Self, Vec<Fault>> {
        let mut faults = Vec::new();
        let broker = raw
            .broker
            .and_then(|broker| broker.check("broker", "component", &mut faults));
        let admin = raw.admin.check("admin", None, &mut faults);
        let log = raw.log.check("log", &mut faults);
        let (grace, threads) = raw.process.check(Threads::Current);
        let Some(answer) = raw.answer.filter(|answer| !answer.is_empty()) else {
            faults.push(Fault::new("answer", "is missing").remedy("write a text"));
            return Err(faults);
        };
        if !faults.is_empty() {
            return Err(faults);
        }
        Ok(Self {
            settings: Settings {
                broker,
                admin,
                log,
                grace,
                threads,
            },
            answer,
        })
    }

    fn reference() -> String {
        let admin = RawAdmin::reference(SocketAddr::from(([127, 0, 0, 1], 8200)));
        format!(
            "# What requests on the subject \"question\" are answered with.\nanswer = \"yes\"\n\n{}\n{admin}\n{}\n{}",
            RawBroker::REFERENCE,
            RawLog::REFERENCE,
            RawProcess::REFERENCE
        )
    }

    fn runtime(&self) -> Settings {
        self.settings.clone()
    }
}

async fn run(config: Config, context: Context) -> anyhow::Result<()> {
    let Ok(client) = context.broker() else {
        context.started.release();
        context.shutdown.cancelled().await;
        return Ok(());
    };
    let mut questions = client.subscribe("question").await?;
    // Who sees that we are ready may ask at once.
    nats::settled(&client, ROUND_TRIP).await?;
    context.started.release();
    loop {
        let question = tokio::select! {
            () = context.shutdown.cancelled() => break,
            question = questions.next() => question,
        };
        let Some(question) = question else {
            anyhow::bail!("the subscription ended");
        };
        match question.payload.as_ref() {
            b"fail" => anyhow::bail!("asked to fail"),
            b"hang" => context.tasks.spawn("hanging", std::future::pending()),
            _ => {}
        }
        if let Some(reply) = question.reply {
            client.publish(reply, config.answer.clone().into()).await?;
        }
    }
    Ok(())
}

fn main() -> ExitCode {
    overlay_runtime::launch(overlay_runtime::app!(), run)
}
