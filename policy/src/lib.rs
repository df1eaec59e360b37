//! Whether a request may be made, by action list or Rego.
