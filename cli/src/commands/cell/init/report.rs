//! What `init` did, for people and programs.

use std::path::PathBuf;

use serde::Serialize;

use crate::app::App;
use crate::commands::cell::layout::TO_SIGN;
use crate::commands::cell::settings::Change;
use crate::error::Failure;

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Fate {
    Made,
    Updated,
    Unchanged,
    /// Not as settings and keys would have it; left alone.
    Differs,
}

/// What `init` did, also as JSON.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) directory: PathBuf,
    pub(super) name: String,
    pub(super) files: Vec<(String, Fate)>,
    pub(super) changes: Vec<Change>,
}

impl Report {
    pub(super) fn print(&self, app: &App) -> Result<(), Failure> {
        if app.output.is_json() {
            return app.output.json(&serde_json::json!({
                "directory": self.directory,
                "name": self.name,
                "files": self.files.iter().map(|(path, fate)| serde_json::json!({
                    "path": path,
                    "result": fate,
                })).collect::<Vec<_>>(),
                "changes": self.changes,
            }));
        }
        let count = |wanted| {
            self.files
                .iter()
                .filter(|(_, fate)| *fate == wanted)
                .count()
        };
        let (made, unchanged) = (count(Fate::Made), count(Fate::Unchanged));
        let shown = self.directory.display();
        let name = &self.name;
        for change in &self.changes {
            app.output.line(format!(
                "{}: {} -> {}",
                change.setting, change.is, change.wanted
            ))?;
        }
        for (path, fate) in &self.files {
            match fate {
                Fate::Made if unchanged > 0 => app.output.line(format!("made     {path}"))?,
                Fate::Updated => app.output.line(format!("updated  {path}"))?,
                Fate::Differs => app.output.line(format!(
                    "differs  {path}: changed by hand and left as it is; `--update` puts it back"
                ))?,
                Fate::Made | Fate::Unchanged => {}
            }
        }
        if unchanged == 0 {
            app.output
                .line(format!("Made cell {name} in {shown}: {made} files"))?;
        } else if made == 0 && count(Fate::Updated) == 0 {
            app.output.line(format!(
                "Cell {name} in {shown} is complete: nothing was changed"
            ))?;
        }
        if self.directory.join(TO_SIGN).exists() {
            app.output.note(format!(
                "The issuer's key is elsewhere: have the tokens signed that {} lists",
                self.directory.join(TO_SIGN).display()
            ));
        }
        app.output.note(format!(
            "Next: `overlay cell check {shown}`, then `overlay cell up {shown}`"
        ));
        Ok(())
    }
}
