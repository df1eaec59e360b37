//! Says who asked and whether they may, signs, and leaves a record.
