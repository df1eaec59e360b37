//! Raw to checked.

use overlay_runtime::{Fault, FileConfig, Settings};

use super::{Config, RawConfig};

impl FileConfig for Config {
    type Raw = RawConfig;

    fn check(_raw: RawConfig) -> Result<Self, Vec<Fault>> {
        Err(vec![Fault::new("name", "is required")])
    }

    fn reference() -> String {
        String::new()
    }

    fn runtime(&self) -> Settings {
        self.runtime.clone()
    }
}
