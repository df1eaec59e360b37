//! `overlay cell init`: writes what is missing of a cell, all of it or nothing.

mod report;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use overlay_tokens::PublicKey;
use time::OffsetDateTime;
use zeroize::Zeroizing;

use self::report::{Fate, Report};
use super::build::{self, Brought, Planned};
use super::layout::{
    BROKER_CERT, BROKER_KEY, CA_CERT, CELL, CLOSED_DIR, DIRECTORIES, ISSUER_PUBLIC, Kind, Layout,
    MONITORING_DIRECTORY, OPEN_DIR, PROVISIONER_DIRECTORIES, REPLICATOR_DIRECTORY,
    REPLICATOR_STATE, SIGNER_DIRECTORIES, SITES_DIRECTORY, of_replicator, of_signer, of_site,
};
use super::settings::{Change, Flags, Settings};
use super::write::{self, Existing};
use super::{keys, replication, tls};
use crate::app::App;
use crate::error::{Failure, Hint};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Directory to make; its parent must exist
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    #[command(flatten)]
    flags: Flags,
    /// Use this organisation's issuer instead of making one: its public key, or a file with it
    ///
    /// Tokens then cannot be made here; the cell says which to have signed, and how.
    #[arg(long, value_name = "HEX|FILE")]
    issuer_public: Option<String>,
    /// Use this broker certificate (PEM, with intermediates) instead of making one
    #[arg(long, value_name = "FILE", requires_all = ["tls_key", "tls_ca"])]
    tls_cert: Option<PathBuf>,
    /// Private key of --tls-cert (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Authority that nodes and clients verify --tls-cert with (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_ca: Option<PathBuf>,
    /// Copy this cell's streams to a region: the directory that the region made for this cell (see --site)
    ///
    /// Its key is copied. A renewed one is brought the same way, with --update.
    #[arg(long, value_name = "DIR")]
    region: Option<PathBuf>,
    /// Change an existing cell to these flags, and put back files that were changed by hand
    ///
    /// Keys, certificates and tokens are never replaced. The former content of a replaced file is kept
    /// beside it as FILE.before.
    #[arg(long)]
    update: bool,
}

pub(super) fn run(args: &Args, app: &App) -> Result<(), Failure> {
    let root = absolute(&args.dir)?;
    let brought = args.brought()?;
    let now = now();
    let mut flags = args.flags.clone();
    if brought.region.is_some() && flags.replicators.is_none() {
        flags.replicators = Some(1);
    }
    let report = match target(&root)? {
        Target::Absent => create(&root, &flags, &brought, now)?,
        Target::Cell => resume(&root, &flags, args.update, &brought, now)?,
    };
    report.print(app)
}

impl Args {
    fn brought(&self) -> Result<Brought, Failure> {
        let issuer = self.issuer_public.as_deref().map(public_key).transpose()?;
        let tls = match (&self.tls_cert, &self.tls_key, &self.tls_ca) {
            (Some(cert), Some(key), Some(ca)) => Some(tls::Given {
                cert: read(cert)?,
                key: Zeroizing::new(read(key)?),
                ca: read(ca)?,
            }),
            _ => None,
        };
        let region = self
            .region
            .as_deref()
            .map(replication::Given::read)
            .transpose()?;
        Ok(Brought {
            issuer,
            tls,
            region,
        })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    Ok(fs::read(path).with_context(|| format!("cannot read {}", path.display()))?)
}

fn public_key(text: &str) -> Result<PublicKey, Failure> {
    if PublicKey::looks_like_one(text) {
        return Ok(text.parse()?);
    }
    let content =
        read(Path::new(text)).hint("give 64 hexadecimal digits, or a file that holds them")?;
    keys::read_public(content.trim_ascii_end())
        .with_context(|| format!("{text} holds no public key"))
        .hint("a public key is 64 hexadecimal digits; `overlay jwt keys` makes a pair")
}

/// What is at the place where the cell shall be.
enum Target {
    Absent,
    Cell,
}

fn target(root: &Path) -> Result<Target, Failure> {
    let mut entries = match fs::read_dir(root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Target::Absent),
        Err(error) => {
            let shown = root.display();
            return Err(anyhow::Error::new(error)
                .context(format!("cannot use {shown} as the directory of a cell"))
                .into());
        }
    };
    if root.join(CELL).exists() {
        return Ok(Target::Cell);
    }
    if entries.next().is_none() {
        return Ok(Target::Absent);
    }
    let shown = root.display();
    Err(
        Failure::new(format!("{shown} exists, is not empty and is no cell"))
            .hint("name a directory that does not exist yet; nothing was changed"),
    )
}

/// Builds the cell beside its place and moves it there, so that there is never half of one.
fn create(
    root: &Path,
    flags: &Flags,
    brought: &Brought,
    now: OffsetDateTime,
) -> Result<Report, Failure> {
    let settings = flags.settings(root, &hostname(), brought.tls.is_none())?;
    if let Some(region) = &brought.region {
        region.suits(&settings)?;
    }
    if let Some(given) = &brought.tls {
        check_given(given, &settings, now)?;
    }
    let planned = build::plan(&settings, &Layout::new(root), brought, now)?;
    let parent = root.parent().unwrap_or(Path::new("/"));
    let name = root.file_name().unwrap_or_default().to_string_lossy();
    let temporary = parent.join(format!(".{name}.{:016x}.making", write::random()));
    write::new_directory(&temporary)
        .hint("make the parent directory first, or choose another place")?;
    let made = write_all(&Layout::new(&temporary), &settings, &planned).and_then(|()| {
        write::set_mode(&temporary, OPEN_DIR)?;
        fs::rename(&temporary, root)
            .with_context(|| format!("cannot move the finished cell to {}", root.display()))
    });
    if let Err(error) = made {
        fs::remove_dir_all(&temporary).ok();
        return Err(error.into());
    }
    Ok(Report {
        directory: root.to_owned(),
        name: settings.name,
        files: planned
            .into_iter()
            .map(|file| (file.path, Fate::Made))
            .collect(),
        changes: Vec::new(),
    })
}

fn write_all(layout: &Layout, settings: &Settings, planned: &[Planned]) -> anyhow::Result<()> {
    directories(layout, settings)?;
    for file in planned {
        write::file(
            &layout.path(&file.path),
            file.mode,
            &file.content,
            Existing::Keep,
        )?;
    }
    Ok(())
}

fn directories(layout: &Layout, settings: &Settings) -> anyhow::Result<()> {
    let of_provisioner = PROVISIONER_DIRECTORIES
        .into_iter()
        .filter(|_| settings.enrols());
    let of_signers = SIGNER_DIRECTORIES.into_iter().filter(|_| settings.signs());
    for (path, mode) in DIRECTORIES
        .into_iter()
        .chain(of_provisioner)
        .chain(of_signers)
    {
        write::directory(&layout.path(path), mode)?;
    }
    let of_replicators = [REPLICATOR_DIRECTORY, MONITORING_DIRECTORY];
    for (path, mode) in of_replicators.into_iter().filter(|_| settings.replicates()) {
        write::directory(&layout.path(path), mode)?;
    }
    for index in 0..settings.run.replicators {
        for file in ["", REPLICATOR_STATE] {
            write::directory(&layout.path(&of_replicator(index, file)), CLOSED_DIR)?;
        }
    }
    if settings.is_region() {
        let (path, mode) = SITES_DIRECTORY;
        write::directory(&layout.path(path), mode)?;
    }
    for cell in settings.replication.sites.keys() {
        write::directory(&layout.path(&of_site(cell, "")), CLOSED_DIR)?;
    }
    for index in 0..settings.run.aaa_signers {
        write::directory(&layout.path(&of_signer(index, "")), CLOSED_DIR)?;
    }
    for node in &settings.run.nodes {
        write::directory(&layout.path(&format!("node/{node}")), OPEN_DIR)?;
    }
    Ok(())
}

/// A given certificate that nodes would refuse must not become a cell.
fn check_given(
    given: &tls::Given,
    settings: &Settings,
    now: OffsetDateTime,
) -> Result<(), Failure> {
    let names = settings.names_used();
    let examined = tls::examine(&given.cert, &given.key, &given.ca, &names, now)?;
    if examined.faults.is_empty() {
        return Ok(());
    }
    Err(Failure::new(format!(
        "--tls-cert cannot serve: {}",
        examined.faults.join("; ")
    ))
    .hint("the certificate must name every --host; the first --host must lead to this machine"))
}

/// Adds what is missing; changes nothing else unless told to.
fn resume(
    root: &Path,
    flags: &Flags,
    update: bool,
    brought: &Brought,
    now: OffsetDateTime,
) -> Result<Report, Failure> {
    let (mut settings, layout) = Settings::load(root)?;
    let moved = Change {
        setting: "directory",
        is: settings.directory.display().to_string(),
        wanted: layout.root().display().to_string(),
    };
    let mut changes = flags.apply(&mut settings);
    Settings::refuse_renaming(&changes)?;
    if moved.is != moved.wanted {
        settings.directory = layout.root().to_owned();
        changes.push(moved);
    }
    if let Some(region) = &brought.region {
        region.suits(&settings)?;
        if !region.is_that_of(&layout)? {
            changes.push(Change {
                setting: "region",
                is: "another directory's, or none".to_owned(),
                wanted: region.pass.region.clone(),
            });
        }
    }
    refuse_other_keys(&layout, brought)?;
    if let Some(given) = &brought.tls {
        check_given(given, &settings, now)?;
    }
    if !changes.is_empty() && !update {
        let listed: Vec<String> = changes
            .iter()
            .map(|change| {
                format!(
                    "{}: is {}, asked for {}",
                    change.setting, change.is, change.wanted
                )
            })
            .collect();
        return Err(Failure::new(format!(
            "the cell {} exists with other settings ({}); nothing was changed",
            settings.name,
            listed.join("; ")
        ))
        .hint("add `--update` to change it: its files are made anew, its keys and tokens are kept")
        .hint("leave these flags out to keep the cell as it is"));
    }
    let settings = settings.validated()?;
    let planned = build::plan(&settings, &layout, brought, now)?;
    directories(&layout, &settings)?;
    let mut files = Vec::new();
    for file in planned {
        let fate = settle(&layout, &file, update)?;
        files.push((file.path, fate));
    }
    Ok(Report {
        directory: root.to_owned(),
        name: settings.name,
        files,
        changes,
    })
}

/// Makes, replaces or leaves one file of an existing cell.
fn settle(layout: &Layout, file: &Planned, update: bool) -> anyhow::Result<Fate> {
    let path = layout.path(&file.path);
    match write::read_if_there(&path)? {
        None => {
            write::file(&path, file.mode, &file.content, Existing::Keep)?;
            Ok(Fate::Made)
        }
        Some(content) if content == *file.content => Ok(Fate::Unchanged),
        Some(content) if update && matches!(file.kind, Kind::Rendered | Kind::Brought) => {
            let before = path.with_file_name(format!(
                "{}.before",
                path.file_name().unwrap_or_default().to_string_lossy()
            ));
            write::file(&before, file.mode, &content, Existing::Replace)?;
            write::file(&path, file.mode, &file.content, Existing::Replace)?;
            Ok(Fate::Updated)
        }
        Some(_) => Ok(Fate::Differs),
    }
}

/// An issuer or a certificate other than the cell's would have to replace it: never done here.
fn refuse_other_keys(layout: &Layout, brought: &Brought) -> Result<(), Failure> {
    let issuer = write::read_if_there(&layout.path(ISSUER_PUBLIC))?;
    if let (Some(given), Some(text)) = (brought.issuer, issuer)
        && keys::read_public(&text)? != given
    {
        return Err(
            Failure::new("the cell has another issuer; nothing was changed").hint(
                "every token of the cell is signed by it: make a new cell for another issuer",
            ),
        );
    }
    let Some(given) = &brought.tls else {
        return Ok(());
    };
    for (path, given) in [
        (BROKER_CERT, &given.presented()?),
        (BROKER_KEY, &*given.key),
        (CA_CERT, &given.ca),
    ] {
        let has = write::read_if_there(&layout.path(path))?;
        if has.is_some_and(|has| has != *given) {
            return Err(Failure::new(format!(
                "the cell has another {path} than the one given; nothing was changed"
            ))
            .hint(format!(
                "to change it, remove {BROKER_CERT}, {BROKER_KEY} and {CA_CERT}, then run this again"
            )));
        }
    }
    Ok(())
}

fn absolute(dir: &Path) -> Result<PathBuf, Failure> {
    let absolute = std::path::absolute(dir)?;
    // `..` and links in the parent are resolved; the directory itself may be to come.
    match (absolute.parent(), absolute.file_name()) {
        (Some(parent), Some(name)) => {
            let parent = fs::canonicalize(parent)
                .with_context(|| format!("there is no directory {}", parent.display()))
                .hint("make the parent directory first, or choose another place")?;
            let root = parent.join(name);
            Ok(fs::canonicalize(&root).unwrap_or(root))
        }
        _ => Ok(fs::canonicalize(&absolute)?),
    }
}

fn hostname() -> String {
    let name = rustix::system::uname();
    let name = name.nodename().to_string_lossy().into_owned();
    if name.is_empty() {
        "localhost".to_owned()
    } else {
        name
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the edge: tokens and certificates begin now"
)]
fn now() -> OffsetDateTime {
    std::time::SystemTime::now().into()
}
