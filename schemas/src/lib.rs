//! The published form of our documents: JSON Schemas by area and version, with examples.
//!
//! What must hold: each schema has valid and invalid examples, the decoders of `overlay-protocol` agree with them, and
//! a schema that is published under a version never changes its meaning.
#![warn(missing_docs)]

mod registry;

pub use registry::{Example, Schema, by_id, by_path, schemas};
