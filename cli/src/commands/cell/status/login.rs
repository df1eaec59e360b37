//! What a login service tells of itself: readiness and metrics.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::commands::cell::http;

#[derive(Debug, Serialize)]
pub(super) struct LoginService {
    pub(super) port: u16,
    pub(super) ready: bool,
    /// Why it is not ready.
    pub(super) why: Option<String>,
    pub(super) version: Option<String>,
    /// Whether it is the one that keeps the streams.
    pub(super) elected: Option<bool>,
    /// Decisions since its start, by outcome.
    pub(super) decisions: BTreeMap<String, u64>,
}

pub(super) async fn ask(port: u16) -> LoginService {
    let mut service = LoginService {
        port,
        ready: false,
        why: None,
        version: None,
        elected: None,
        decisions: BTreeMap::new(),
    };
    match http::get(port, "/ready").await {
        Ok(answer) if answer.status == 200 => service.ready = true,
        Ok(answer) => {
            service.why = Some(
                String::from_utf8_lossy(&answer.body)
                    .trim()
                    .replace('\n', "; "),
            );
        }
        Err(error) => service.why = Some(format!("{error:#}")),
    }
    if let Ok(answer) = http::get(port, "/metrics").await {
        service.read_metrics(&String::from_utf8_lossy(&answer.body));
    }
    service
}

impl LoginService {
    fn read_metrics(&mut self, text: &str) {
        for sample in text.lines().filter_map(Sample::parse) {
            match sample.name {
                "overlay_build_info" => self.version = sample.label("version").map(str::to_owned),
                "overlay_broker_auth_elected" => self.elected = Some(sample.value > 0.0),
                "overlay_broker_auth_decisions_total" => {
                    if let Some(outcome) = sample.label("outcome") {
                        *self.decisions.entry(outcome.to_owned()).or_default() += sample.count();
                    }
                }
                _ => {}
            }
        }
    }

    pub(super) fn line(&self) -> String {
        let mut parts = vec![if self.ready { "ready" } else { "NOT READY" }.to_owned()];
        if self.elected == Some(true) {
            parts.push("keeps the streams".to_owned());
        }
        parts.extend(
            self.decisions
                .iter()
                .map(|(outcome, count)| format!("{count} {outcome}")),
        );
        format!(
            "Login service{} on port {}: {}",
            self.version
                .as_ref()
                .map_or_else(String::new, |version| format!(
                    " (overlay-broker-auth {version})"
                )),
            self.port,
            parts.join(", ")
        )
    }
}

/// One line of the Prometheus text format.
struct Sample<'a> {
    name: &'a str,
    labels: &'a str,
    value: f64,
}

impl<'a> Sample<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        if line.starts_with('#') {
            return None;
        }
        let (series, value) = line.rsplit_once(' ')?;
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        Some(Self {
            name,
            labels: labels.trim_end_matches('}'),
            value: value.parse().ok()?,
        })
    }

    /// Our labels hold words without quotes and commas.
    fn label(&self, name: &str) -> Option<&'a str> {
        self.labels.split(',').find_map(|label| {
            let (key, value) = label.split_once('=')?;
            (key == name).then(|| value.trim_matches('"'))
        })
    }

    fn count(&self) -> u64 {
        // Counters are whole numbers written as floats.
        format!("{:.0}", self.value.max(0.0))
            .parse()
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_read_and_summed_by_outcome() {
        let mut service = LoginService {
            port: 1,
            ready: true,
            why: None,
            version: None,
            elected: None,
            decisions: BTreeMap::new(),
        };
        service.read_metrics(
            "# HELP x y\noverlay_build_info{component=\"broker_auth\",version=\"1.2.3\"} 1\n\
             overlay_broker_auth_elected 1\n\
             overlay_broker_auth_decisions_total{outcome=\"allowed\",purpose=\"client\"} 3\n\
             overlay_broker_auth_decisions_total{outcome=\"allowed\",purpose=\"server\"} 4\n\
             overlay_broker_auth_decisions_total{outcome=\"refused\",purpose=\"server\"} 1\nnonsense\n",
        );
        assert_eq!(
            service.line(),
            "Login service (overlay-broker-auth 1.2.3) on port 1: ready, keeps the streams, \
             7 allowed, 1 refused"
        );
    }
}
