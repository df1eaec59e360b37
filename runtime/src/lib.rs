//! One way to be a process.
