//! `overlay jwt keys`: makes an ed25519 key, or shows the public half of one.

use std::path::PathBuf;

use overlay_tokens::{Key, file};

use super::material;
use crate::app::App;
use crate::error::{Failure, Hint};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// File for the seed, the private half
    #[arg(value_name = "SEED")]
    seed: PathBuf,
    /// File for the public half
    #[arg(value_name = "PUBLIC")]
    public: Option<PathBuf>,
    /// Overwrite files that exist: what the old key has signed or holds is lost
    #[arg(short, long)]
    force: bool,
    /// Show the public half of an existing seed and write nothing
    #[arg(long)]
    show_public: bool,
}

pub(super) fn run(args: &Args, app: &App) -> Result<(), Failure> {
    if args.show_public {
        let key = file::read_seed(&args.seed).hint("`--show-public` needs a seed that exists")?;
        return report(args, &key, app);
    }
    // Both are looked at before either is written.
    let files = [Some(&args.seed), args.public.as_ref()];
    if let Some(path) = files.into_iter().flatten().find(|path| path.exists())
        && !args.force
    {
        return Err(
            Failure::new(format!("{} exists and is not overwritten", path.display()))
                .hint("choose another name; `--force` overwrites it, and its key is lost")
                .hint("`--show-public` shows the public half of a seed that you have"),
        );
    }
    let key = Key::generate()?;
    let overwrite = material::overwrite(args.force);
    file::write_seed(&args.seed, &key, overwrite).hint("does the directory exist?")?;
    if let Some(public) = &args.public {
        file::write_public(public, &key.public(), overwrite)?;
    }
    report(args, &key, app)
}

fn report(args: &Args, key: &Key, app: &App) -> Result<(), Failure> {
    let public = key.public();
    if app.output.is_json() {
        return app.output.json(&serde_json::json!({
            "public_key": public.to_string(),
            "seed_file": args.seed,
            "public_file": args.public,
        }));
    }
    app.output.line(format!("Public key: {public}"))?;
    if args.show_public {
        return Ok(());
    }
    app.output
        .line(format!("Seed in {}; keep it secret", args.seed.display()))?;
    if let Some(path) = &args.public {
        app.output
            .line(format!("Public key in {}", path.display()))?;
    }
    Ok(())
}
