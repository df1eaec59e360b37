//! A node that does only what a verified request asks.
