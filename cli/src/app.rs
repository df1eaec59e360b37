//! What every command gets: global flags, environment, output.

use std::collections::BTreeMap;

use crate::args::Global;
use crate::output::Output;

/// The process as a command sees it.
#[derive(Debug)]
pub(crate) struct App {
    /// Flags that every command has.
    pub(crate) global: Global,
    /// The one way to print.
    pub(crate) output: Output,
    /// The environment as it was at the start; commands and libraries read it from here only.
    pub(crate) environment: BTreeMap<String, String>,
}

impl App {
    pub(crate) fn new(global: Global, output: Output) -> Self {
        let environment = std::env::vars_os()
            .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Self {
            global,
            output,
            environment,
        }
    }
}
