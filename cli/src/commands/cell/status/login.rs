//! What a login service tells of itself: readiness and metrics.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

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
    /// Logins let in since its start.
    pub(super) allowed: u64,
    /// Logins kept out since its start, by reason.
    pub(super) refused: BTreeMap<String, u64>,
}

pub(super) async fn ask(port: u16) -> LoginService {
    let told = Told::ask(port).await;
    let mut service = LoginService {
        port,
        ready: told.why.is_none(),
        why: told.why,
        version: None,
        elected: None,
        allowed: 0,
        refused: BTreeMap::new(),
    };
    service.read_metrics(&told.metrics);
    service
}

/// What any of our services tells on its port.
pub(super) struct Told {
    /// Why it is not ready.
    pub(super) why: Option<String>,
    /// Prometheus text; empty when it did not answer.
    pub(super) metrics: String,
}

impl Told {
    pub(super) async fn ask(port: u16) -> Self {
        let why = match http::get(port, "/ready").await {
            Ok(answer) if answer.status == 200 => None,
            Ok(answer) => Some(not_ready(&answer)),
            Err(error) => Some(format!("{error:#}")),
        };
        let metrics = match http::get(port, "/metrics").await {
            Ok(answer) => String::from_utf8_lossy(&answer.body).into_owned(),
            Err(_) => String::new(),
        };
        Self { why, metrics }
    }
}

impl LoginService {
    fn read_metrics(&mut self, text: &str) {
        for sample in text.lines().filter_map(Sample::parse) {
            match sample.name {
                "overlay_build_info" => self.version = sample.label("version").map(str::to_owned),
                "overlay_broker_auth_leader" => self.elected = Some(sample.value > 0.0),
                "overlay_broker_auth_logins_allowed_total" => self.allowed += sample.count(),
                "overlay_broker_auth_logins_refused_total" => {
                    let reason = sample.label("reason").unwrap_or("unknown");
                    // Its own trial at the start is no login of anybody.
                    if sample.count() > 0 && reason != "self_check" {
                        *self.refused.entry(reason.to_owned()).or_default() += sample.count();
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
        if self.ready {
            parts.push(format!("{} logins let in", self.allowed));
            let refused: Vec<String> = self
                .refused
                .iter()
                .map(|(reason, count)| format!("{count} {reason}"))
                .collect();
            if refused.is_empty() {
                parts.push("none refused".to_owned());
            } else {
                parts.push(format!("refused: {}", refused.join(" + ")));
            }
        }
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

/// The reasons in a report of readiness; its whole text if it has another form.
pub(in crate::commands::cell) fn not_ready(answer: &http::Answer) -> String {
    let report: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let parts = report["parts"].as_object().into_iter().flatten();
    let down: Vec<String> = parts
        .filter(|(_, part)| part["status"] == "down")
        .map(|(name, part)| match part["reason"].as_str() {
            Some(reason) => format!("{name}: {reason}"),
            None => name.clone(),
        })
        .collect();
    if !down.is_empty() {
        return down.join("; ");
    }
    String::from_utf8_lossy(&answer.body)
        .trim()
        .replace('\n', " ")
}

/// One line of the Prometheus text format.
pub(super) struct Sample<'a> {
    pub(super) name: &'a str,
    labels: &'a str,
    pub(super) value: f64,
}

impl<'a> Sample<'a> {
    pub(super) fn parse(line: &'a str) -> Option<Self> {
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
    pub(super) fn label(&self, name: &str) -> Option<&'a str> {
        self.labels.split(',').find_map(|label| {
            let (key, value) = label.split_once('=')?;
            (key == name).then(|| value.trim_matches('"'))
        })
    }

    pub(super) fn count(&self) -> u64 {
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
    fn metrics_are_read() {
        let mut service = LoginService {
            port: 1,
            ready: true,
            why: None,
            version: None,
            elected: None,
            allowed: 0,
            refused: BTreeMap::new(),
        };
        service.read_metrics(
            "# HELP x y\noverlay_build_info{commit=\"c\",component=\"broker-auth\",version=\"1.2.3\"} 1\n\
             overlay_broker_auth_leader 1\n\
             overlay_broker_auth_logins_allowed_total{role=\"client\"} 3\n\
             overlay_broker_auth_logins_allowed_total{role=\"server\"} 4\n\
             overlay_broker_auth_logins_refused_total{reason=\"token_expired\"} 1\n\
             overlay_broker_auth_logins_refused_total{reason=\"leaf_node\"} 0\nnonsense\n",
        );
        assert_eq!(
            service.line(),
            "Login service (overlay-broker-auth 1.2.3) on port 1: ready, keeps the streams, \
             7 logins let in, refused: 1 token_expired"
        );
    }

    #[test]
    fn the_parts_that_are_down_are_named() {
        let answer = http::Answer {
            status: 503,
            body: br#"{"ready":false,"parts":{"broker":{"status":"down","reason":"no route"},"streams":{"status":"up"}}}"#.to_vec(),
        };
        assert_eq!(not_ready(&answer), "broker: no route");
        let answer = http::Answer {
            status: 503,
            body: b"stopping\n".to_vec(),
        };
        assert_eq!(not_ready(&answer), "stopping");
    }
}
