//! The command as its users run it.

mod jwt_cli;
mod vectors;
