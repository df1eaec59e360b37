//! What is copied to where: of a cell that has a region, and of a region.

use std::collections::BTreeMap;

use overlay_protocol::id::AgentName;
use overlay_protocol::subject::{self, stream};
use serde::{Deserialize, Serialize};

use super::Settings;
use crate::error::Failure;

/// What a region takes of every cell.
const ALWAYS: [&str; 3] = [
    stream::EVENTS,
    stream::MACHINE,
    stream::REPLICATION_ADVISORIES,
];

/// What is copied to where.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(in crate::commands::cell) struct ReplicationSettings {
    /// Streams of which samples are copied, with the field of their JSON that says what a message is about.
    pub(in crate::commands::cell) sampled: BTreeMap<String, String>,
    /// Cells that this one takes copies from, and which streams.
    pub(in crate::commands::cell) sites: BTreeMap<String, Vec<String>>,
}

impl ReplicationSettings {
    pub(in crate::commands::cell) fn is_empty(&self) -> bool {
        self.sampled.is_empty() && self.sites.is_empty()
    }

    pub(super) fn told_sites(&self) -> String {
        let told =
            |(cell, streams): (&String, &Vec<String>)| format!("{cell} ({})", streams.join(", "));
        listed(self.sites.iter().map(told).collect())
    }

    pub(super) fn told_samples(&self) -> String {
        let told = |(stream, field): (&String, &String)| format!("{stream} by {field}");
        listed(self.sampled.iter().map(told).collect())
    }

    /// Adds a cell as `--site` names it: `NAME` or `NAME=STREAM,...`.
    pub(super) fn add_site(&mut self, text: &str) {
        let (cell, more) = text.split_once('=').unwrap_or((text, ""));
        let streams = self.sites.entry(one_token(cell)).or_default();
        let more = more.split(',').filter(|stream| !stream.is_empty());
        for stream in ALWAYS.into_iter().chain(more) {
            if !streams.iter().any(|known| known == stream) {
                streams.push(stream.to_owned());
            }
        }
    }

    /// Adds a stream as `--sample` names it: `STREAM=FIELD`.
    pub(super) fn add_sample(&mut self, text: &str) {
        let (stream, field) = text.split_once('=').unwrap_or((text, ""));
        self.sampled.insert(stream.to_owned(), field.to_owned());
    }
}

impl Settings {
    /// Whether streams of this cell are copied to a region.
    pub(in crate::commands::cell) fn replicates(&self) -> bool {
        self.run.replicators > 0
    }

    /// Whether it takes copies from other cells.
    pub(in crate::commands::cell) fn is_region(&self) -> bool {
        !self.replication.sites.is_empty()
    }

    /// The cell's name as it stands in subjects: one token.
    pub(in crate::commands::cell) fn site_name(&self) -> String {
        one_token(&self.name)
    }

    /// The identity of replicator number `index` (from 0).
    pub(in crate::commands::cell) fn replicator_identity(&self, index: u16) -> String {
        format!("replicator-{}.{}", u32::from(index) + 1, self.name)
    }

    /// Where replicator number `index` (from 0) tells its health and metrics.
    pub(in crate::commands::cell) fn replicator_port(&self, index: u16) -> u16 {
        self.run.replicator_port.saturating_add(index)
    }

    pub(super) fn validate_replication(&self) -> Result<(), Failure> {
        for (cell, streams) in &self.replication.sites {
            if AgentName::new(cell.as_str()).is_err() {
                return Err(Failure::usage(format!(
                    "site {cell:?} is no name of a cell"
                )));
            }
            for stream in streams {
                stream_name(stream)?;
            }
        }
        let mut copies = BTreeMap::new();
        for (cell, streams) in &self.replication.sites {
            for stream in streams {
                // `lon` with `A_B`, and `lon_A` with `B`.
                let name = subject::copy_stream(cell, stream);
                if let Some(other) = copies.insert(name.clone(), cell) {
                    return Err(Failure::usage(format!(
                        "copies of sites {other} and {cell} would go into one stream, {name}"
                    ))
                    .hint("rename one of the cells or streams"));
                }
            }
        }
        for (stream, field) in &self.replication.sampled {
            stream_name(stream)?;
            if field.is_empty() || field.contains(['"', '\\', '\n']) {
                return Err(Failure::usage(format!(
                    "{stream:?} is to be sampled by field {field:?}, which is none"
                ))
                .hint(
                    "write `--sample STREAM=FIELD`, for example --sample NODE_DOCUMENTS=sender",
                ));
            }
        }
        if !self.replication.sampled.is_empty() && !self.replicates() {
            return Err(
                Failure::usage("there is nothing to sample without a region")
                    .hint("add `--region DIRECTORY`: what the region made for this cell"),
            );
        }
        Ok(())
    }
}

fn stream_name(text: &str) -> Result<(), Failure> {
    if AgentName::new(text).is_ok() {
        return Ok(());
    }
    Err(Failure::usage(format!("{text:?} is no name of a stream")))
}

fn listed(parts: Vec<String>) -> String {
    if parts.is_empty() {
        "none".to_owned()
    } else {
        parts.join(", ")
    }
}

/// Dots would part it.
fn one_token(name: &str) -> String {
    name.replace('.', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_has_what_every_site_has_and_more_is_added() {
        let mut settings = ReplicationSettings::default();
        settings.add_site("lon.example");
        settings.add_site("lon.example=NODE_DOCUMENTS,CHORIA_EVENTS");
        settings.add_site("lon.example=NODE_DOCUMENTS");
        assert_eq!(
            settings.sites["lon_example"],
            [
                "CHORIA_EVENTS",
                "CHORIA_MACHINE",
                "OVERLAY_REPLICATION_ADVISORIES",
                "NODE_DOCUMENTS"
            ]
        );
    }
}
