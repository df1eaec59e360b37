//! A value that works on the disk, away from the threads that must not wait.

use std::fmt;
use std::io;

/// A value that is lent to a thread of its own for each piece of work.
pub(super) struct Blocking<T>(Option<T>);

impl<T: Send + 'static> Blocking<T> {
    pub(super) fn new(value: T) -> Self {
        Self(Some(value))
    }

    /// Does work with the value.
    ///
    /// # Errors
    ///
    /// What the work answers; and, from then on, when it panicked or its caller was dropped in the middle.
    pub(super) async fn run<R: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut T) -> io::Result<R> + Send + 'static,
    ) -> io::Result<R> {
        let lost = || io::Error::other("an earlier piece of work did not end");
        let mut value = self.0.take().ok_or_else(lost)?;
        let done = tokio::task::spawn_blocking(move || {
            let result = work(&mut value);
            (value, result)
        });
        let (value, result) = done.await.map_err(io::Error::other)?;
        self.0 = Some(value);
        result
    }
}

impl<T> fmt::Debug for Blocking<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Blocking").field(&self.0.is_some()).finish()
    }
}
