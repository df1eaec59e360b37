//! `overlay cell exec-child`: becomes another program that the kernel ends when its parent dies.
//!
//! `up` starts its children through this, because the death signal must be asked for by the child itself
//! between fork and exec, which safe code can only do as a program of its own.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

use crate::error::Failure;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Process that must be the parent; if it has died already, nothing is started
    #[arg(long, value_name = "PID")]
    parent: i32,
    /// Program and its arguments
    #[arg(
        value_name = "PROGRAM",
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    command: Vec<OsString>,
}

/// Returns only when the program could not be started.
pub(super) fn run(args: &Args) -> Failure {
    // SIGTERM, as from an orderly stop: brokers flush, nodes finish what they run.
    if let Err(error) = set_parent_process_death_signal(Some(Signal::TERM)) {
        return anyhow::Error::new(error)
            .context("cannot ask for a death signal")
            .into();
    }
    // The parent may have died before the signal was asked for.
    if getppid().map(Pid::as_raw_pid) != Some(args.parent) {
        return Failure::new("the process that asked for this child is gone");
    }
    let Some((program, arguments)) = args.command.split_first() else {
        return Failure::usage("no program given");
    };
    let error = Command::new(program).args(arguments).exec();
    anyhow::Error::new(error)
        .context(format!("cannot run {}", program.display()))
        .into()
}
