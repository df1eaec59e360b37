//! Files of a cell whose streams are copied to a region, and of a region: what each hands to the other.
//!
//! A region makes a pass for each cell that it takes copies from: a directory that its operator carries to the cell.
//! Whatever the cell may do at the region is in the token of the pass, so that nothing but the region says so.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, anyhow, bail};
use overlay_protocol::subject;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::build::{Files, Signing};
use super::layout::{
    CA_CERT, CELL_SOURCE_JWT, CELL_SOURCE_SEED, Kind, Layout, PASS, PASS_CA, PASS_JWT, PASS_SEED,
    PUBLIC, REGION_CA, REGION_JWT, REGION_PASS, REGION_SEED, REPLICATOR_JWT, REPLICATOR_SEED,
    REPLICATOR_TOML, SECRET, of_replicator, of_site,
};
use super::settings::Settings;
use super::templates::{Facts, MONITORING};
use super::{keys, tokens};
use crate::error::{Failure, Hint};

/// What a region says to a cell that it takes copies from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pass {
    /// Name of the region.
    pub(super) region: String,
    /// Name of the cell, as it stands in subjects.
    pub(super) cell: String,
    /// The region's brokers.
    pub(super) servers: Vec<String>,
    /// Collective of the replies that the cell gets there.
    pub(super) collective: String,
    /// What becomes of each stream of the cell.
    pub(super) streams: BTreeMap<String, Place>,
}

/// Where copies of one stream go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Place {
    pub(super) target_stream: String,
    pub(super) prefix: String,
}

/// The files of a pass, as somebody brought them.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) pass: Pass,
    text: Vec<u8>,
    token: Zeroizing<Vec<u8>>,
    seed: Zeroizing<Vec<u8>>,
    authority: Vec<u8>,
}

const PASS_HEAD: &str = "\
# What cell's replicator needs to know of its region. Made by `overlay cell init`; the directory that it is in goes to the
# cell as it is: `overlay cell init CELL --region DIRECTORY --update`. It holds a key: carry it like one.

";

impl Given {
    /// Reads the directory that a region made for this cell.
    pub(super) fn read(dir: &Path) -> Result<Self, Failure> {
        let file = |name: &str| -> Result<Vec<u8>, Failure> {
            let path = dir.join(name);
            fs::read(&path)
                .with_context(|| format!("cannot read {}", path.display()))
                .hint(
                    "name the directory that the region made: \
                     `overlay cell init REGION --site NAME --update` writes it to REGION/sites/NAME",
                )
        };
        let text = file(PASS)?;
        Ok(Self {
            pass: parse(&text)
                .with_context(|| format!("cannot use {}", dir.join(PASS).display()))?,
            text,
            token: Zeroizing::new(file(PASS_JWT)?),
            seed: Zeroizing::new(file(PASS_SEED)?),
            authority: file(PASS_CA)?,
        })
    }

    /// Whether it is for this cell.
    pub(super) fn suits(&self, settings: &Settings) -> Result<(), Failure> {
        let own = settings.site_name();
        if self.pass.cell == own {
            return Ok(());
        }
        Err(Failure::new(format!(
            "the region's directory is for cell {}, this one is {own}; nothing was changed",
            self.pass.cell
        ))
        .hint(format!(
            "have the region make one: `overlay cell init REGION --site {own} --update`"
        )))
    }

    /// Whether the cell has this one already.
    pub(super) fn is_that_of(&self, layout: &Layout) -> anyhow::Result<bool> {
        for (path, given) in self.files() {
            if super::write::read_if_there(&layout.path(path))?.as_deref() != Some(given) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn files(&self) -> [(&'static str, &[u8]); 4] {
        [
            (REGION_PASS, &self.text),
            (REGION_JWT, &self.token),
            (REGION_SEED, &self.seed),
            (REGION_CA, &self.authority),
        ]
    }
}

fn parse(text: &[u8]) -> anyhow::Result<Pass> {
    let pass: Pass = toml::from_str(str::from_utf8(text)?)?;
    if pass.servers.is_empty() || pass.streams.is_empty() {
        bail!("it names no broker or no stream");
    }
    Ok(pass)
}

/// The pass that the cell has.
pub(super) fn pass(files: &Files<'_>) -> anyhow::Result<Pass> {
    let text = files.content(REGION_PASS)?.ok_or_else(|| {
        anyhow!("{REGION_PASS} is missing; give `--region DIRECTORY` and `--update` again")
    })?;
    parse(&text).with_context(|| format!("cannot use {REGION_PASS}"))
}

/// Adds the files of the cell's replicators; tokens that cannot be signed here become commands in `signing`.
pub(super) fn files(
    files: &mut Files<'_>,
    facts: &Facts<'_>,
    given: Option<&Given>,
    signing: &mut Signing<'_>,
) -> anyhow::Result<()> {
    let (settings, layout) = (facts.settings, facts.layout);
    if let Some(given) = given {
        for (path, content) in given.files() {
            let mode = if path == REGION_CA { PUBLIC } else { SECRET };
            files.add(path, mode, Kind::Brought, content);
        }
    }
    let pass = pass(files)?;
    if let Some(unknown) = settings
        .replication
        .sampled
        .keys()
        .find(|stream| !pass.streams.contains_key(*stream))
    {
        bail!(
            "region {} takes no copies of {unknown}: have it do so with `overlay cell init REGION --site {}={unknown} \
             --update`, and bring what it makes",
            pass.region,
            settings.site_name()
        );
    }
    let text = facts.stream_replicator(&pass)?;
    files.add(REPLICATOR_TOML, SECRET, Kind::Rendered, text);
    for (path, text) in MONITORING {
        files.add(path, PUBLIC, Kind::Rendered, text);
    }
    let own = keys::seed(files, CELL_SOURCE_SEED)?.public();
    let streams: Vec<&str> = pass.streams.keys().map(String::as_str).collect();
    signing.token(
        files,
        CELL_SOURCE_JWT,
        |issuer, now| tokens::replicator_source(settings, &streams, own, issuer, now),
        || tokens::replicator_source_command(settings, layout, &streams, own),
    )?;
    for index in 0..settings.run.replicators {
        let seed = of_replicator(index, REPLICATOR_SEED);
        let path = of_replicator(index, REPLICATOR_JWT);
        let identity = settings.replicator_identity(index);
        signing.service(files, facts, &identity, (&seed, &path))?;
    }
    Ok(())
}

/// Adds the passes of a region: one for each cell that it takes copies from.
pub(super) fn passes(
    files: &mut Files<'_>,
    facts: &Facts<'_>,
    signing: &mut Signing<'_>,
) -> anyhow::Result<()> {
    let (settings, layout) = (facts.settings, facts.layout);
    for (cell, streams) in &settings.replication.sites {
        let pass = Pass {
            region: settings.name.clone(),
            cell: cell.clone(),
            servers: settings.public_urls(),
            collective: settings.main_collective().to_owned(),
            streams: streams
                .iter()
                .map(|stream| {
                    let place = Place {
                        target_stream: subject::copy_stream(cell, stream),
                        prefix: subject::copy_prefix(cell, stream),
                    };
                    (stream.clone(), place)
                })
                .collect(),
        };
        let text = format!("{PASS_HEAD}{}", toml::to_string(&pass)?);
        files.add(&of_site(cell, PASS), PUBLIC, Kind::Rendered, text);
        let authority = files.content(CA_CERT)?.unwrap_or_default();
        files.add(&of_site(cell, PASS_CA), PUBLIC, Kind::Rendered, &*authority);
        let holder = keys::seed(files, &of_site(cell, PASS_SEED))?.public();
        signing.token(
            files,
            &of_site(cell, PASS_JWT),
            |issuer, now| tokens::replicator_target(settings, cell, holder, issuer, now),
            || tokens::replicator_target_command(settings, layout, cell, holder),
        )?;
    }
    Ok(())
}
