//! Sum and count without quantiles, which the library does not have: the form of Go programs' times.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus::Opts;
use prometheus::core::{Collector, Desc, Describer as _};
use prometheus::proto::{LabelPair, Metric, MetricFamily, MetricType, Summary as Sample};

/// Sums and counts of times, by the values of its labels; clones share them.
#[derive(Clone, Debug)]
pub struct Summary {
    desc: Desc,
    values: Arc<Mutex<BTreeMap<Vec<String>, Times>>>,
}

/// The times of one set of values; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Times {
    inner: Arc<Mutex<(f64, u64)>>,
}

impl Summary {
    /// Describes a summary with these labels; it shows nothing before its first [`Self::times`].
    ///
    /// # Errors
    ///
    /// When a name is none that the format allows.
    pub fn new(opts: Opts, labels: &[&str]) -> Result<Self, prometheus::Error> {
        let opts = labels
            .iter()
            .fold(opts, |opts, label| opts.variable_label(*label));
        Ok(Self {
            desc: opts.describe()?,
            values: Arc::default(),
        })
    }

    /// The times with these values, one for each label in their order.
    #[must_use]
    pub fn times(&self, values: &[&str]) -> Times {
        debug_assert_eq!(values.len(), self.desc.variable_labels.len());
        let values = values.iter().map(|&value| value.to_owned()).collect();
        lock(&self.values).entry(values).or_default().clone()
    }

    fn labels(&self, values: &[String]) -> Vec<LabelPair> {
        let mut labels = self.desc.const_label_pairs.clone();
        for (name, value) in self.desc.variable_labels.iter().zip(values) {
            let mut pair = LabelPair::default();
            pair.set_name(name.clone());
            pair.set_value(value.clone());
            labels.push(pair);
        }
        labels.sort_by(|one, other| one.name().cmp(other.name()));
        labels
    }
}

impl Times {
    /// Adds a time.
    pub fn observe(&self, took: Duration) {
        let mut sum = lock(&self.inner);
        sum.0 += took.as_secs_f64();
        sum.1 += 1;
    }
}

impl Collector for Summary {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let values = lock(&self.values);
        let metrics: Vec<_> = values
            .iter()
            .map(|(values, times)| {
                let (sum, count) = *lock(&times.inner);
                let mut sample = Sample::default();
                sample.set_sample_sum(sum);
                sample.set_sample_count(count);
                let mut metric = Metric::default();
                metric.set_label(self.labels(values));
                metric.set_summary(sample);
                metric
            })
            .collect();
        if metrics.is_empty() {
            return Vec::new();
        }
        let mut family = MetricFamily::default();
        family.set_name(self.desc.fq_name.clone());
        family.set_help(self.desc.help.clone());
        family.set_field_type(MetricType::SUMMARY);
        family.set_metric(metrics);
        vec![family]
    }
}

fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use prometheus::Registry;

    use super::*;

    #[test]
    fn sums_and_counts_are_shown_by_label() {
        let registry = Registry::new();
        let opts = Opts::new("took", "How long").const_label("site", "S");
        let summary = Summary::new(opts, &["to", "from"]).unwrap();
        registry.register(Box::new(summary.clone())).unwrap();
        assert_eq!(crate::metrics::text(&registry).unwrap(), "");
        let times = summary.times(&["a", "b"]);
        times.observe(Duration::from_millis(1500));
        summary.times(&["a", "b"]).observe(Duration::from_secs(1));
        let text = crate::metrics::text(&registry).unwrap();
        assert!(text.contains("# TYPE took summary"), "{text}");
        let labels = r#"{from="b",site="S",to="a"}"#;
        assert!(text.contains(&format!("took_sum{labels} 2.5")), "{text}");
        assert!(text.contains(&format!("took_count{labels} 2")), "{text}");
    }
}
