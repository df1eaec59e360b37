//! `--filter-replies`.

use crate::error::Failure;
use crate::results::Row;

/// An expression over one reply.
#[derive(Debug)]
pub(super) struct ReplyFilter(std::convert::Infallible);

pub(super) fn compile(text: Option<&str>) -> Result<Option<ReplyFilter>, Failure> {
    match text {
        None => Ok(None),
        Some(_) => Err(Failure::usage(
            "--filter-replies is not available in this version",
        )),
    }
}

impl ReplyFilter {
    pub(super) fn wants(&self, _row: &Row) -> Result<bool, Failure> {
        match self.0 {}
    }
}
