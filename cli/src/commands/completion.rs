//! `overlay completion`: scripts for shells.

use clap::CommandFactory;
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
    clap_complete::generate(shell, &mut Cli::command(), "overlay", &mut script);
    app.output.text(String::from_utf8(script)?)
}
