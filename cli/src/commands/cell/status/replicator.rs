//! What a replicator tells of itself: readiness and metrics.

use std::collections::BTreeMap;

use serde::Serialize;

use super::login::{Sample, Told};

#[derive(Debug, Default, Serialize)]
pub(super) struct Replicator {
    pub(super) port: u16,
    pub(super) ready: bool,
    /// Why it is not ready.
    pub(super) why: Option<String>,
    pub(super) version: Option<String>,
    /// By source stream.
    pub(super) streams: BTreeMap<String, Copied>,
}

/// One stream.
#[derive(Debug, Default, Serialize)]
pub(super) struct Copied {
    /// Messages copied since its start.
    pub(super) copied: u64,
    /// Messages left out by sampling since its start.
    pub(super) skipped: u64,
    /// Messages that wait at the source.
    pub(super) waiting: u64,
    /// Messages kept aside since its start: the region took them for bad.
    pub(super) dead: u64,
    /// Messages that were gone before they could be copied, since its start.
    pub(super) missed: u64,
}

pub(super) async fn ask(port: u16) -> Replicator {
    let told = Told::ask(port).await;
    let mut replicator = Replicator {
        port,
        ready: told.why.is_none(),
        why: told.why,
        ..Replicator::default()
    };
    replicator.read_metrics(&told.metrics);
    replicator
}

impl Replicator {
    fn read_metrics(&mut self, text: &str) {
        for sample in text.lines().filter_map(Sample::parse) {
            if sample.name == "overlay_build_info" {
                self.version = sample.label("version").map(str::to_owned);
                continue;
            }
            let Some(what) = sample.name.strip_prefix("overlay_stream_replicator_") else {
                continue;
            };
            let Some(stream) = sample.label("stream") else {
                continue;
            };
            let copied = self.streams.entry(stream.to_owned()).or_default();
            let count = sample.count();
            match what {
                "handled_messages_total" => match sample.label("outcome") {
                    Some("copied") => copied.copied += count,
                    Some("skipped") => copied.skipped += count,
                    Some(_) | None => {}
                },
                "lag_messages" => copied.waiting += count,
                "dead_letters_total" => copied.dead += count,
                "missed_messages_total" => copied.missed += count,
                _ => {}
            }
        }
    }

    pub(super) fn lines(&self) -> Vec<String> {
        let version = self.version.as_ref().map_or_else(String::new, |version| {
            format!(" (overlay-stream-replicator {version})")
        });
        let state = if self.ready { "ready" } else { "NOT READY" };
        let mut lines = vec![format!(
            "Replicator{version} on port {}: {state}",
            self.port
        )];
        for (stream, copied) in &self.streams {
            let mut line = format!("  {stream}: {} copied", copied.copied);
            for (count, what) in [(copied.skipped, "left out"), (copied.waiting, "waiting")] {
                if count > 0 {
                    line.push_str(&format!(", {count} {what}"));
                }
            }
            for (count, what) in [(copied.dead, "KEPT ASIDE"), (copied.missed, "MISSED")] {
                if count > 0 {
                    line.push_str(&format!(", {count} {what}"));
                }
            }
            lines.push(line);
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_read() {
        let mut replicator = Replicator {
            port: 1,
            ready: true,
            ..Replicator::default()
        };
        let labels = "replicator=\"lon\",stream=\"NODES\",worker=\"lon\"";
        replicator.read_metrics(&format!(
            "overlay_build_info{{commit=\"c\",component=\"stream-replicator\",version=\"1.2.3\"}} 1\n\
             overlay_stream_replicator_handled_messages_total{{outcome=\"copied\",{labels}}} 30\n\
             overlay_stream_replicator_handled_messages_total{{outcome=\"skipped\",{labels}}} 300\n\
             overlay_stream_replicator_handled_messages_total{{outcome=\"looped\",{labels}}} 1\n\
             overlay_stream_replicator_lag_messages{{{labels}}} 4\n\
             overlay_stream_replicator_dead_letters_total{{reason=\"x\",{labels}}} 2\n"
        ));
        assert_eq!(
            replicator.lines(),
            [
                "Replicator (overlay-stream-replicator 1.2.3) on port 1: ready",
                "  NODES: 30 copied, 300 left out, 4 waiting, 2 KEPT ASIDE"
            ]
        );
        replicator.ready = false;
        assert!(replicator.lines()[0].contains("NOT READY"));
    }
}
