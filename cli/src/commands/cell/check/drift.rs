//! Whether files still say what settings and keys give: a change by hand, or an older version's work.

use super::Check;
use crate::commands::cell::build::{self, Brought};
use crate::commands::cell::layout::{CELL, Kind};

impl Check<'_> {
    pub(super) fn drift(&mut self) {
        // Keys that cannot be used have been told.
        let Ok(planned) = build::plan(self.settings, self.layout, &Brought::default(), self.now)
        else {
            return;
        };
        if planned.iter().any(|file| file.kind == Kind::Key) {
            // With new keys everything would differ; what is missing has been told.
            return;
        }
        let root = self.layout.root().display().to_string();
        for file in planned {
            let differs = file.kind == Kind::Rendered
                && file.path != CELL
                && self
                    .read(&file.path)
                    .is_some_and(|content| content != *file.content);
            if differs {
                self.warn(
                    file.path,
                    "it is not what cell.toml gives: changed by hand, or made by another version",
                    format!("leave it if that is meant; `overlay cell init {root} --update` writes it anew"),
                );
            }
        }
    }
}
