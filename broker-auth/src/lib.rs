//! Turns a connection attempt into a permission set or a refusal.
