//! The original's files: `sr.yaml`, durations, state.
