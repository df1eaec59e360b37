//! The published form of our documents.
