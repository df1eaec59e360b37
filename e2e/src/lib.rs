//! Proves that the components meet.
