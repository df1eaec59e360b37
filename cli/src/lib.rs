//! Asks, shows, and exits with the right code.
