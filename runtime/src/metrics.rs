//! Metrics of the process itself, and the text that Prometheus reads.
//!
//! A component registers its own into [`crate::Context::registry`], named
//! `overlay_<component>_<what>_<unit>`.

mod summary;

use std::collections::HashMap;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Encoder as _, Gauge, Opts, Registry, TextEncoder};

pub use summary::{Summary, Times};

/// The kernel's unit of process times; it is 100 on every platform that we support.
const TICKS_PER_SECOND: f64 = 100.0;

/// All metrics in Prometheus' text format.
///
/// # Errors
///
/// When two collectors contradict each other.
pub fn text(registry: &Registry) -> Result<String, prometheus::Error> {
    let mut bytes = Vec::new();
    TextEncoder::new().encode(&registry.gather(), &mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Registers what is known of every process: its build, memory, processor time and files.
///
/// # Errors
///
/// When the registry has them already.
pub fn register_process(
    registry: &Registry,
    component: &str,
    version: &str,
    commit: &str,
) -> Result<(), prometheus::Error> {
    let build = Opts::new("overlay_build_info", "1, labelled with what is running")
        .const_label("component", component)
        .const_label("version", version)
        .const_label("commit", commit);
    let build = Gauge::with_opts(build)?;
    build.set(1.0);
    registry.register(Box::new(build))?;
    registry.register(Box::new(Process::new()?))
}

/// Figures of `/proc/self`, read when they are asked for.
#[derive(Debug)]
struct Process {
    resident: Gauge,
    virtual_: Gauge,
    processor: Gauge,
    threads: Gauge,
    files: Gauge,
}

impl Process {
    fn new() -> Result<Self, prometheus::Error> {
        Ok(Self {
            resident: Gauge::new(
                "process_resident_memory_bytes",
                "Resident memory of the process",
            )?,
            virtual_: Gauge::new(
                "process_virtual_memory_bytes",
                "Virtual memory of the process",
            )?,
            processor: Gauge::new(
                "process_cpu_seconds_total",
                "Processor time used by the process, user and system",
            )?,
            threads: Gauge::new("process_threads", "Threads of the process")?,
            files: Gauge::new("process_open_fds", "Open files of the process")?,
        })
    }

    fn gauges(&self) -> [&Gauge; 5] {
        [
            &self.resident,
            &self.virtual_,
            &self.processor,
            &self.threads,
            &self.files,
        ]
    }

    fn refresh(&self) {
        let read = |name: &str| std::fs::read_to_string(format!("/proc/self/{name}"));
        if let Ok(status) = read("status") {
            let figures = status_figures(&status);
            let figure = |name: &str| figures.get(name).copied().unwrap_or_default();
            self.resident.set(figure("VmRSS") * 1024.0);
            self.virtual_.set(figure("VmSize") * 1024.0);
            self.threads.set(figure("Threads"));
        }
        if let Some(ticks) = read("stat").ok().as_deref().and_then(processor_ticks) {
            self.processor.set(ticks / TICKS_PER_SECOND);
        }
        if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
            // Reading the directory holds one of its own.
            let open = files.count().saturating_sub(1);
            self.files
                .set(f64::from(u32::try_from(open).unwrap_or(u32::MAX)));
        }
    }
}

impl Collector for Process {
    fn desc(&self) -> Vec<&Desc> {
        self.gauges().into_iter().flat_map(Gauge::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.refresh();
        self.gauges().into_iter().flat_map(Gauge::collect).collect()
    }
}

/// The lines `Name: number [kB]`.
fn status_figures(status: &str) -> HashMap<&str, f64> {
    status
        .lines()
        .filter_map(|line| {
            let (name, rest) = line.split_once(':')?;
            Some((name, rest.split_whitespace().next()?.parse().ok()?))
        })
        .collect()
}

/// User and system time: fields 14 and 15, counted after the name, which may hold anything.
fn processor_ticks(stat: &str) -> Option<f64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_names_build_and_process() {
        let registry = Registry::new();
        register_process(&registry, "broker-auth", "0.1.0", "abc").unwrap();
        let text = text(&registry).unwrap();
        let build = r#"overlay_build_info{commit="abc",component="broker-auth",version="0.1.0"} 1"#;
        assert!(text.contains(build), "{text}");
        let resident = text
            .lines()
            .find_map(|line| line.strip_prefix("process_resident_memory_bytes "))
            .unwrap();
        assert!(resident.parse::<f64>().unwrap() > 100_000.0, "{resident}");
    }

    #[test]
    fn processor_time_is_found_behind_any_name() {
        let stat = "7 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 1 0 100";
        assert_eq!(processor_ticks(stat), Some(200.0));
        assert_eq!(processor_ticks("7 (a"), None);
    }

    #[test]
    fn registering_twice_is_refused() {
        let registry = Registry::new();
        register_process(&registry, "a", "1", "x").unwrap();
        assert!(register_process(&registry, "a", "1", "x").is_err());
    }
}
