//! The replicator's configuration, and what broker and login service must know of copies.

use std::fmt::Write as _;

use overlay_protocol::subject;
use toml_edit::{Item, Table};

use super::{Facts, Toml, array};
use crate::commands::cell::layout::{
    CA_CERT, CELL_SOURCE_JWT, CELL_SOURCE_SEED, Layout, REGION_CA, REGION_JWT, REGION_SEED,
    REPLICATOR_JWT, REPLICATOR_SEED, REPLICATOR_STATE, of_replicator,
};
use crate::commands::cell::replication::Pass;
use crate::commands::cell::settings::Settings;

const REPLICATOR_TOML: &str = base!("config/stream-replicator.toml");
/// For Grafana and Prometheus, by their path in a cell.
pub(in crate::commands::cell) const MONITORING: [(&str, &str); 2] = [
    (
        "monitoring/stream-replicator.dashboard.json",
        base!("monitoring/stream-replicator.dashboard.json"),
    ),
    (
        "monitoring/stream-replicator.rules.yml",
        base!("monitoring/stream-replicator.rules.yml"),
    ),
];
/// Where word of nodes goes, to be copied like other streams.
const ADVISORIES: &str = "choria.stream-replicator.advisory.%s.%v";
/// What a broker holds without copies, in GB.
const FILE_STORE: usize = 16;

impl Facts<'_> {
    pub(in crate::commands::cell) fn stream_replicator(
        &self,
        pass: &Pass,
    ) -> anyhow::Result<String> {
        let mut file = Toml::parse(REPLICATOR_TOML)?;
        let settings = self.settings;
        let path = |relative: &str| self.layout.text(relative);
        let identity = settings.replicator_identity(0);
        file.set(&["name"], settings.site_name())?;
        file.set(&["state_dir"], path(&of_replicator(0, REPLICATOR_STATE)))?;
        file.set(&["candidate"], identity.as_str())?;
        for table in ["broker", "source"] {
            file.set(&[table, "servers"], array([settings.local_url()]))?;
            file.set(&[table, "ca_file"], path(CA_CERT))?;
        }
        for (table, key, text) in [
            (
                "control",
                "token_file",
                path(&of_replicator(0, REPLICATOR_JWT)),
            ),
            (
                "control",
                "seed_file",
                path(&of_replicator(0, REPLICATOR_SEED)),
            ),
            ("control", "identity", identity.clone()),
            ("control", "collective", self.main_collective().to_owned()),
            ("source", "token_file", path(CELL_SOURCE_JWT)),
            ("source", "seed_file", path(CELL_SOURCE_SEED)),
            ("source", "collective", self.main_collective().to_owned()),
            ("target", "ca_file", path(REGION_CA)),
            ("target", "token_file", path(REGION_JWT)),
            ("target", "seed_file", path(REGION_SEED)),
            ("target", "collective", pass.collective.clone()),
            (
                "admin",
                "listen",
                format!("127.0.0.1:{}", settings.replicator_port(0)),
            ),
        ] {
            file.set(&[table, key], text)?;
        }
        file.set(&["target", "servers"], array(pass.servers.clone()))?;
        file.remove("streams")?;
        self.issuers(&mut file)?;
        let mut text = file.render();
        for (stream, place) in &pass.streams {
            let sampled = settings.replication.sampled.get(stream);
            write!(
                text,
                "\n[[streams]]\nstream = \"{stream}\"\ntarget_stream = \"{}\"\nprefix = \"{}\"\n\
                 # The region made it for this cell alone.\ncreate_target = false\nwriters = \"one\"\n",
                place.target_stream, place.prefix
            )?;
            if let Some(field) = sampled {
                write!(
                    text,
                    "\n# Of each value of the field one message in this time. A silence of half of it is told of.\n\
                     [streams.sampling]\nfield = \"{field}\"\ninterval = \"1h\"\nwarn = \"30m\"\n\
                     # A node that shut down in order has not fallen silent.\nlifecycle = true\n\n\
                     [streams.advisory]\nsubject = \"{ADVISORIES}\"\nreliable = true\n"
                )?;
            }
        }
        Ok(text)
    }

    /// What the login service looks after besides: streams of replication, and for copies of other cells.
    pub(super) fn replicated_streams(&self, file: &mut Toml) -> anyhow::Result<()> {
        file.set(&["streams", "replication"], self.settings.replicates())?;
        if !self.settings.is_region() {
            return Ok(());
        }
        let mut copies = Table::new();
        copies.set_implicit(true);
        for (cell, streams) in &self.settings.replication.sites {
            for stream in streams {
                let mut copy = Table::new();
                let subjects = format!("{}.>", subject::copy_prefix(cell, stream));
                copy.insert("subjects", toml_edit::value(array([subjects])));
                copies.insert(&subject::copy_stream(cell, stream), Item::Table(copy));
            }
        }
        file.table("streams")?.insert("copies", Item::Table(copies));
        Ok(())
    }

    /// The streams for copies, as a line of rights of the user that makes them.
    pub(super) fn rights_to_copies(&self) -> String {
        let mut lines = Vec::new();
        for (cell, streams) in &self.settings.replication.sites {
            for stream in streams {
                let name = subject::copy_stream(cell, stream);
                let calls = ["INFO", "CREATE", "UPDATE"];
                let rights = calls.map(|call| format!("\"$JS.API.STREAM.{call}.{name}\""));
                lines.push(rights.join(", "));
            }
        }
        lines.join("\n            ")
    }

    /// How much the broker may store, in GB: a stream for copies has up to 1 GiB.
    pub(super) fn file_store(&self) -> String {
        let sites = &self.settings.replication.sites;
        let copies: usize = sites.values().map(Vec::len).sum();
        // 1 GiB is 1.074 GB.
        (FILE_STORE + copies + copies.div_ceil(10)).to_string()
    }
}

/// What replicator number `index` (from 0) has otherwise than the first.
pub(in crate::commands::cell) fn stream_replicator_of(
    settings: &Settings,
    layout: &Layout,
    index: u16,
) -> String {
    let path = |file| layout.text(&of_replicator(index, file));
    let identity = settings.replicator_identity(index);
    format!(
        "state_dir = {:?}\ncandidate = {identity:?}\n[control]\ntoken_file = {:?}\nseed_file = {:?}\nidentity = \
         {identity:?}\n[admin]\nlisten = \"127.0.0.1:{}\"\n",
        path(REPLICATOR_STATE),
        path(REPLICATOR_JWT),
        path(REPLICATOR_SEED),
        settings.replicator_port(index)
    )
}
