//! Who may claim what, proved by signatures.
