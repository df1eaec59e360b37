//! What a failing test shows.
#![expect(
    clippy::print_stderr,
    reason = "the harness captures standard error and shows it with the failure"
)]

/// Shows `text` with the test's failure.
pub(crate) fn show(text: &str) {
    eprintln!("{text}");
}
