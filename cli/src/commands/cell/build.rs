//! Turns settings and keys into the files of a cell. Reads what exists, writes nothing.

use overlay_tokens::{Key, PublicKey};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::layout::{
    BROKER_AUTH_TOML, BROKER_CONF, CELL, CLIENT_CONF, CLIENT_JWT, CLIENT_SEED, CLIENT_TOML, Kind,
    Layout, NODE_CLASSES, NODE_FACTS, NODE_JWT, NODE_SEED, NODE_TOML, PUBLIC, README, SECRET,
    TO_SIGN, of_node,
};
use super::settings::Settings;
use super::{keys, provisioning, replication, signing, templates, tls, tokens, write};

/// A file as it should be.
#[derive(Debug)]
pub(super) struct Planned {
    /// Relative to the cell.
    pub(super) path: String,
    pub(super) mode: u32,
    pub(super) kind: Kind,
    pub(super) content: Zeroizing<Vec<u8>>,
}

/// The files of a cell: those that exist, and those planned.
#[derive(Debug)]
pub(super) struct Files<'a> {
    layout: &'a Layout,
    planned: Vec<Planned>,
}

impl<'a> Files<'a> {
    fn new(layout: &'a Layout) -> Self {
        Self {
            layout,
            planned: Vec::new(),
        }
    }

    /// The content of a file on disk.
    pub(super) fn existing(&self, path: &str) -> anyhow::Result<Option<Zeroizing<Vec<u8>>>> {
        Ok(write::read_if_there(&self.layout.path(path))?.map(Zeroizing::new))
    }

    /// The content of a file, on disk or as planned.
    pub(super) fn content(&self, path: &str) -> anyhow::Result<Option<Zeroizing<Vec<u8>>>> {
        let planned = self.planned.iter().find(|file| file.path == path);
        match planned {
            Some(file) => Ok(Some(file.content.clone())),
            None => self.existing(path),
        }
    }

    pub(super) fn add(&mut self, path: &str, mode: u32, kind: Kind, content: impl AsRef<[u8]>) {
        self.planned.push(Planned {
            path: path.to_owned(),
            mode,
            kind,
            content: Zeroizing::new(content.as_ref().to_vec()),
        });
    }
}

/// Signs the tokens that are missing; without the organisation's key, says with which commands they are made elsewhere.
#[derive(Debug)]
pub(super) struct Signing<'a> {
    issuer: Option<&'a Key>,
    now: OffsetDateTime,
    unsigned: Vec<String>,
}

impl Signing<'_> {
    /// Adds a token unless there is one.
    pub(super) fn token(
        &mut self,
        files: &mut Files<'_>,
        path: &str,
        sign: impl FnOnce(&Key, OffsetDateTime) -> anyhow::Result<String>,
        command: impl FnOnce() -> String,
    ) -> anyhow::Result<()> {
        if files.existing(path)?.is_some() {
            return Ok(());
        }
        match self.issuer {
            Some(issuer) => {
                let token = sign(issuer, self.now)?;
                files.add(path, SECRET, Kind::Signed, token);
            }
            None => self.unsigned.push(command()),
        }
        Ok(())
    }

    /// Adds key and token of a service unless there are any.
    pub(super) fn service(
        &mut self,
        files: &mut Files<'_>,
        facts: &templates::Facts<'_>,
        identity: &str,
        (seed, path): (&str, &str),
    ) -> anyhow::Result<()> {
        let (settings, layout) = (facts.settings, facts.layout);
        let own = keys::seed(files, seed)?.public();
        self.token(
            files,
            path,
            |issuer, now| tokens::service(settings, identity, own, issuer, now),
            || tokens::service_command(settings, layout, path, identity, own),
        )
    }
}

/// What the user brought along.
#[derive(Debug, Default)]
pub(super) struct Brought {
    pub(super) issuer: Option<PublicKey>,
    pub(super) tls: Option<tls::Given>,
    pub(super) region: Option<replication::Given>,
}

/// Plans every file that is rendered, and those keys, certificates and tokens that are missing.
pub(super) fn plan(
    settings: &Settings,
    layout: &Layout,
    brought: &Brought,
    now: OffsetDateTime,
) -> anyhow::Result<Vec<Planned>> {
    let mut files = Files::new(layout);
    let files = &mut files;
    let issuer = keys::issuer(files, brought.issuer)?;
    let broker_keys = keys::broker(files)?;
    keys::passwords(files)?;
    tls::files(files, settings, brought.tls.as_ref(), now)?;

    let facts = templates::Facts {
        settings,
        layout,
        issuer: issuer.public,
        keys: &broker_keys,
    };
    let rendered = Kind::Rendered;
    files.add(BROKER_CONF, SECRET, rendered, facts.broker_conf()?);
    files.add(BROKER_AUTH_TOML, SECRET, rendered, facts.broker_auth()?);
    for (name, text) in facts.units() {
        files.add(&format!("systemd/{name}"), PUBLIC, rendered, text);
    }

    let mut signing = Signing {
        issuer: issuer.key.as_ref(),
        now,
        unsigned: Vec::new(),
    };
    let client = keys::seed(files, CLIENT_SEED)?.public();
    files.add(CLIENT_TOML, PUBLIC, rendered, facts.client_toml()?);
    files.add(CLIENT_CONF, PUBLIC, rendered, facts.client_conf());
    signing.token(
        files,
        CLIENT_JWT,
        |issuer, now| tokens::operator(settings, client, issuer, now),
        || tokens::operator_command(settings, layout, client),
    )?;
    for identity in &settings.run.nodes {
        let node = |file| of_node(identity, file);
        let key = keys::seed(files, &node(NODE_SEED))?.public();
        files.add(
            &node(NODE_TOML),
            PUBLIC,
            rendered,
            facts.server_toml(identity)?,
        );
        for (file, text) in [
            (NODE_FACTS, facts.sample_facts(identity)?),
            (NODE_CLASSES, facts.sample_classes()),
        ] {
            if files.existing(&node(file))?.is_none() {
                files.add(&node(file), PUBLIC, Kind::Sample, text);
            }
        }
        signing.token(
            files,
            &node(NODE_JWT),
            |issuer, now| tokens::node(settings, identity, key, issuer, now),
            || tokens::node_command(settings, layout, identity, key),
        )?;
    }
    if settings.enrols() {
        provisioning::files(files, &facts, &mut signing)?;
    }
    if settings.signs() {
        signing::files(files, &facts, &mut signing)?;
    }
    if settings.replicates() {
        replication::files(files, &facts, brought.region.as_ref(), &mut signing)?;
    }
    replication::passes(files, &facts, &mut signing)?;
    if !signing.unsigned.is_empty() {
        files.add(TO_SIGN, PUBLIC, rendered, facts.to_sign(&signing.unsigned));
    }
    files.add(README, PUBLIC, rendered, facts.readme());
    // Last: its presence says that the cell is complete.
    files.add(CELL, PUBLIC, rendered, settings.render()?);
    Ok(std::mem::take(&mut files.planned))
}
