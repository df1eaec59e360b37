//! `overlay completion`: scripts for shells.

use clap::{Command, CommandFactory};
use clap_complete::Shell;

use crate::app::App;
use crate::args::Cli;
use crate::error::Failure;

#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  overlay completion bash > ~/.local/share/bash-completion/completions/overlay
  overlay completion zsh > \"${fpath[1]}/_overlay\"
  overlay completion fish > ~/.config/fish/completions/overlay.fish")]
pub(crate) struct Args {
    /// The shell
    shell: Option<Shell>,
    /// As `bash`
    #[arg(long, hide = true, conflicts_with_all = ["shell", "zsh"])]
    bash: bool,
    /// As `zsh`
    #[arg(long, hide = true, conflicts_with = "shell")]
    zsh: bool,
}

pub(crate) fn run(args: &Args, app: &App) -> Result<(), Failure> {
    let shell = match (args.shell, args.bash, args.zsh) {
        (Some(shell), _, _) => shell,
        (None, true, _) => Shell::Bash,
        (None, false, true) => Shell::Zsh,
        (None, false, false) => {
            return Err(Failure::usage("for which shell?").hint("overlay completion bash|zsh|fish"));
        }
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut shown(&Cli::command()), "overlay", &mut script);
    app.output.text(String::from_utf8(script)?)
}

/// The command without what its help does not show either: scripts list hidden subcommands.
fn shown(command: &Command) -> Command {
    let mut shown = Command::new(name(command.get_name()))
        .args(command.get_arguments().cloned())
        .groups(command.get_groups().cloned())
        .subcommands(
            command
                .get_subcommands()
                .filter(|one| !one.is_hide_set())
                .map(shown),
        )
        .visible_aliases(command.get_visible_aliases().map(name))
        .disable_help_subcommand(command.is_disable_help_subcommand_set());
    if let Some(about) = command.get_about() {
        shown = shown.about(about.clone());
    }
    if let Some(version) = command.get_version() {
        shown = shown.version(name(version));
    }
    shown
}

/// A name as clap takes it: for as long as the process lives, which is not much longer.
fn name(text: &str) -> &'static str {
    String::leak(text.to_owned())
}
