//! Nodes that tell of themselves, until registration does: what `cargo xtask demo` replicates.
//!
//! It publishes a document of each node again and again, and heeds `silence NODE` and `speak NODE` on its standard input.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use async_nats::jetstream::{self, stream};
use async_nats::{Auth, Client, ConnectOptions};
use clap::Parser;
use overlay_protocol::id::md5_hex;
use overlay_tokens::Key;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};

/// Documents are of about this size.
const PACKAGES: usize = 40;
/// Kept of the stream: enough for a demonstration.
const MAX_BYTES: i64 = 64 << 20;

#[derive(Debug, Parser)]
struct Args {
    /// The broker
    #[arg(long)]
    url: String,
    /// Authority of its certificate
    #[arg(long)]
    ca: PathBuf,
    /// Token to log in with
    #[arg(long)]
    token: PathBuf,
    /// Seed of its holder's key
    #[arg(long)]
    seed: PathBuf,
    /// Caller id in the token
    #[arg(long)]
    caller: String,
    /// Stream that keeps the documents; it is made
    #[arg(long)]
    stream: String,
    /// How many nodes there are
    #[arg(long)]
    nodes: usize,
    /// Milliseconds between two documents of a node
    #[arg(long)]
    every: u64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let args = Args::parse();
    let client = connect(&args).await?;
    let every = Duration::from_millis(args.every);
    produce(client, &args.stream, args.nodes, every).await
}

async fn connect(args: &Args) -> Result<Client> {
    let token = text(&args.token)?.trim().to_owned();
    let key = Arc::new(Key::from_seed_text(text(&args.seed)?.as_bytes())?);
    ConnectOptions::with_auth_callback(move |nonce| {
        let (token, key) = (token.clone(), Arc::clone(&key));
        async move {
            let mut auth = Auth::new();
            auth.token = Some(token.clone());
            auth.jwt = Some(token);
            auth.signature = Some(key.sign(&nonce).to_vec());
            Ok(auth)
        }
    })
    .custom_inbox_prefix(format!("choria.reply.{}", md5_hex(&args.caller)))
    .add_root_certificates(args.ca.clone())
    .require_tls(true)
    .connect(&args.url)
    .await
    .with_context(|| format!("connect to {}", args.url))
}

fn text(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
}

async fn produce(client: Client, stream: &str, nodes: usize, every: Duration) -> Result<()> {
    let context = jetstream::new(client);
    context
        .get_or_create_stream(stream::Config {
            name: stream.to_owned(),
            subjects: vec!["node.documents.>".to_owned()],
            max_bytes: MAX_BYTES,
            ..stream::Config::default()
        })
        .await?;
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let mut silent = BTreeSet::new();
    let mut ticks = tokio::time::interval(every);
    let mut round = 0_u64;
    loop {
        tokio::select! {
            line = lines.next_line() => match line? {
                None => return Ok(()),
                Some(line) => match line.split_once(' ') {
                    Some(("silence", node)) => drop(silent.insert(node.to_owned())),
                    Some(("speak", node)) => drop(silent.remove(node)),
                    Some(_) | None => {}
                },
            },
            _ = ticks.tick() => {
                round += 1;
                for node in (1..=nodes).map(|number| format!("doc{number}")) {
                    if !silent.contains(&node) {
                        let body = document(&node, round).to_string();
                        context.publish(format!("node.documents.{node}"), body.into()).await?.await?;
                    }
                }
            }
        }
    }
}

/// As the original's data adapters write one.
fn document(node: &str, round: u64) -> Value {
    let packages: Vec<Value> = (0..PACKAGES)
        .map(|number| json!({ "name": format!("package{number:03}"), "version": "1.2.3" }))
        .collect();
    json!({
        "protocol": "choria:adapters:registration:output:1",
        "sender": node,
        "data": { "packages": packages, "round": format!("{round:08}") },
    })
}
