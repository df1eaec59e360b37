//! Where results go: standard output, or a file.

use std::fmt::Display;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use crate::error::Failure;
use crate::output::Output;

#[derive(Debug)]
pub(super) enum Sink {
    Stdout(Output),
    File(BufWriter<File>),
}

impl Sink {
    pub(super) fn open(file: Option<&Path>, output: &Output) -> Result<Self, Failure> {
        let Some(path) = file else {
            return Ok(Self::Stdout(output.clone()));
        };
        let file = File::create(path).map_err(|error| {
            Failure::from(error).context(format!("failed to create output-file {}", path.display()))
        })?;
        Ok(Self::File(BufWriter::new(file)))
    }

    pub(super) fn text(&mut self, text: impl Display) -> Result<(), Failure> {
        match self {
            Self::Stdout(output) => output.text(text),
            Self::File(file) => {
                write!(file, "{text}")?;
                Ok(file.flush()?)
            }
        }
    }

    pub(super) fn line(&mut self, line: impl Display) -> Result<(), Failure> {
        self.text(format_args!("{line}\n"))
    }
}
