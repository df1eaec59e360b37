//! The bars as benchmarks: figures with units on standard output, JSON under `target/bench`.
//!
//! The method of each is told in `docs/benchmarks.md`. They are measurements of a machine, never tests.

mod audit;
mod cell;
mod driver;
mod fleet;
mod load;
mod login;
mod logins;
mod machine;
mod node;
mod process;
mod provision;
mod replicate;
mod report;
mod sign;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Benchmarks of Overlay.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench", bin_name = "cargo xtask bench")]
struct Args {
    #[command(subcommand)]
    bench: Bench,
    /// Where the JSON goes
    #[arg(
        long,
        global = true,
        env = "OVERLAY_BENCH_OUT",
        default_value = "target/bench"
    )]
    out: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// Logins a second through nats-server and broker-auth over TLS, with the processor time of each part
    Logins(logins::Options),
    /// Requests signed a second by RPC and HTTP, with the processor time and memory of the service
    Sign(sign::Options),
    /// Logins a second by HTTP, beside the cost of their password hashes
    Login(login::Options),
    /// Records of the audit kept and verified a second
    Audit(audit::Options),
    /// Signed requests verified a second on one core, and the share of the signature itself
    Verify(verify::Options),
    /// Memory, idle processor time and requests a second of one fleet node
    Node(node::Options),
    /// Nodes enrolled a minute, with the processor time of each part; or the hand-over between two provisioners
    Provision(provision::Options),
    /// Messages copied a second between brokers, near and far, beside the machine's ceiling and the original; fail-over
    Replicate(replicate::Options),
    /// The ceiling of `replicate`, as a process of its own
    #[command(hide = true)]
    ReplicateCeiling(replicate::CeilingOptions),
    /// A fleet that is connected loses its broker: seconds until all are back
    Reconnect(fleet::Reconnect),
    /// Seconds in which a whole fleet answers a ping, by `overlay` and by another program
    Ping(fleet::Ping),
    /// Say which benchmarks there are
    List,
}

/// Runs the benchmark that the command line names.
#[must_use]
pub fn main() -> ExitCode {
    let args = Args::parse();
    if let Err(error) = process::end_children_when_asked() {
        report::say(&format!("error: {error:#}"));
        return ExitCode::FAILURE;
    }
    let result = match &args.bench {
        Bench::Logins(options) => logins::run(options),
        Bench::Sign(options) => sign::run(options),
        Bench::Login(options) => login::run(options),
        Bench::Audit(options) => audit::run(options),
        Bench::Verify(options) => verify::run(options),
        Bench::Node(options) => node::run(options),
        Bench::Provision(options) => provision::run(options),
        Bench::Replicate(options) => replicate::run(options),
        Bench::ReplicateCeiling(options) => {
            return match replicate::ceiling(options) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    report::say(&format!("error: {error:#}"));
                    ExitCode::FAILURE
                }
            };
        }
        Bench::Reconnect(options) => fleet::reconnect(options),
        Bench::Ping(options) => fleet::ping(options),
        Bench::List => {
            report::say(
                "logins, sign, login, audit, verify, node, provision, replicate, reconnect, ping: `cargo xtask bench NAME --help` tells the flags",
            );
            return ExitCode::SUCCESS;
        }
    };
    match result.and_then(|report| report.finish(&args.out)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report::say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
