//! Tests of whole filters.
