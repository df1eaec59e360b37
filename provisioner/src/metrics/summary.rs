//! Sum and count without quantiles, which the library does not have: the form of the original's times.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus::Opts;
use prometheus::core::{Collector, Desc, Describer as _};
use prometheus::proto::{LabelPair, Metric, MetricFamily, MetricType, Summary as Sample};

/// Sums and counts, by the value of at most one label.
#[derive(Clone, Debug)]
pub(super) struct Summary {
    desc: Desc,
    label: Option<&'static str>,
    values: Arc<Mutex<BTreeMap<String, (f64, u64)>>>,
}

impl Summary {
    pub(super) fn new(opts: Opts, label: Option<&'static str>) -> Result<Self, prometheus::Error> {
        let mut opts = opts;
        if let Some(label) = label {
            opts = opts.variable_label(label);
        }
        Ok(Self {
            desc: opts.describe()?,
            label,
            values: Arc::default(),
        })
    }

    /// Adds a time; `value` is the label's.
    pub(super) fn observe(&self, value: &str, took: Duration) {
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        if !values.contains_key(value) {
            values.insert(value.to_owned(), (0.0, 0));
        }
        if let Some((sum, count)) = values.get_mut(value) {
            *sum += took.as_secs_f64();
            *count += 1;
        }
    }
}

impl Collector for Summary {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        let metrics: Vec<_> = values
            .iter()
            .map(|(value, (sum, count))| {
                let mut sample = Sample::default();
                sample.set_sample_sum(*sum);
                sample.set_sample_count(*count);
                let mut labels = self.desc.const_label_pairs.clone();
                if let Some(label) = self.label {
                    let mut pair = LabelPair::default();
                    pair.set_name(label.to_owned());
                    pair.set_value(value.clone());
                    labels.push(pair);
                }
                labels.sort_by(|one, other| one.name().cmp(other.name()));
                let mut metric = Metric::default();
                metric.set_label(labels);
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
